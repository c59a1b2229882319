"""A picture of a stand-in corpus for people to look at: eight moments of four clips, one clip a row.

It is drawn anew from the corpus' settings, so that it can be made without the films.
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


def gallery(corpus: Path, picture: Path) -> None:
    """Draw the gallery of the corpus in ``corpus`` into a ``.png`` or ``.jpg`` file.

    Shown are clips whose faces show one emotion much more than the others, of four people.

    Raises:
        DataError: as ``read_plan``.
    """
    clips = _choose(read_plan(corpus).clips)
    rows = [np.concatenate(_moments(clip), 1) for clip in clips]
    with atomic_file(picture) as part:
        _, encoded = cv2.imencode(picture.suffix, cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
        part.write_bytes(encoded.tobytes())


def _choose(clips: Sequence[ClipSpec]) -> list[ClipSpec]:
    """The clearest face of each emotion shown, of a new person each time."""
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
    """Evenly spaced pictures of a clip."""
    script = write_script(clip)
    head = head_of(script.person)
    moments = np.linspace(0, len(script.actions) - 1, COLUMNS + 2).round().astype(int)[1:-1]
    pictures = (head.draw(script.actions[moment].astype(np.float32), int(moment)) for moment in moments)
    return [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
