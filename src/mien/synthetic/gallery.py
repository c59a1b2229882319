"""An image of a stand-in corpus: eight moments of four clips, one clip a row.

It is drawn from the corpus's settings, so that it can be made without the videos.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mien.schema import EMOTIONS
from mien.storage.files import atomic_file
from mien.synthetic.drawing import head_of
from mien.synthetic.media import ClipSpec, read_plan, write_script

SHOWN = ("Joy", "Determination", "Excitement", "Empathic Pain")
COLUMNS, SIDE = 8, 200


def gallery(corpus: Path, out: Path) -> None:
    """Draw the gallery of the corpus in ``corpus`` into a ``.png`` or ``.jpg`` file.

    The clips are those of four people that show one emotion most clearly.

    Raises:
        DataError: as ``read_plan``.
    """
    clips = _choose(read_plan(corpus).clips)
    rows = [np.concatenate(_moments(clip), 1) for clip in clips]
    with atomic_file(out) as part:
        _, encoded = cv2.imencode(out.suffix, cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
        part.write_bytes(encoded.tobytes())


def _choose(clips: Sequence[ClipSpec]) -> list[ClipSpec]:
    """The clip with the clearest expression of each emotion, of a new person each time."""
    chosen: list[ClipSpec] = []
    for emotion in SHOWN:
        which = EMOTIONS.index(emotion)
        people = {clip.participant for clip in chosen}
        new = [clip for clip in clips if not clip.fault and clip.participant not in people]
        if new:
            margins = [2 * clip.signals["vision"][which] - sum(clip.signals["vision"]) for clip in new]
            chosen.append(new[margins.index(max(margins))])
    return chosen


def _moments(clip: ClipSpec) -> list[np.ndarray]:
    """Evenly spaced frames of a clip."""
    script = write_script(clip)
    head = head_of(script.person)
    moments = np.linspace(0, len(script.actions) - 1, COLUMNS + 2).round().astype(int)[1:-1]
    frames = (head.draw(script.actions[moment].astype(np.float32), int(moment)) for moment in moments)
    return [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]
