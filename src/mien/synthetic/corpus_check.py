"""What the real parts make of the stand-in corpus: faces found, words heard, and planted signals recovered.

The corpus is worth something only if decoder, landmarker, recogniser and backbones read from its files what was put
into them. So this compares a store of its features with its plan: what was drawn and said at every moment.

Shapes: ``N`` clips, ``E`` emotions, ``T`` steps, ``F`` feature width.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.errors import DataError
from mien.features.store import Store
from mien.schema import MOTION_WIDTH
from mien.synthetic.drawing import ACTIONS
from mien.synthetic.labels import Bound
from mien.synthetic.media import FPS, NOISE, ClipSpec, read_plan, spoken_words, write_script

FACES, MOVEMENT, WORD_ERRORS, RECOVERED = 0.95, 0.6, 0.25, 0.3
"""What is asked: frames with a face, r of drawn and measured actions, word errors, mean r of a ridge regression."""

MEASURED = {
    "smile": (("smile",), (44, 45)),
    "brow raise": (("brow_inner", "brow_outer"), (3, 4, 5)),
    "open jaw": (("jaw",), (25,)),
}
"""Actions drawn, and the blendshapes that should measure them (mouthSmile, browInnerUp and browOuterUp, jawOpen)."""

ACTED_CLIPS = 100
"""Of a larger corpus, this many clips are acted out again to compare every frame."""

FOLDS = 5
PENALTIES = np.logspace(0, 5, 12)


def check_understood(corpus: Path, root: Path) -> list[Bound]:
    """What the store at ``root`` holds of what was planted in the clean clips of a filmed corpus.

    Args:
        corpus: folder made by ``synth`` in media mode.
        root: store made from it by ``extract`` with the landmarker's own motion.

    Raises:
        DataError: the folder is no filmed corpus of this version, or the store holds none of its clips.
        StoreError: there is no store at ``root``.
    """
    store = Store(root)
    clips = [clip for clip in read_plan(corpus).clips if not clip.fault and clip.id in store.clips]
    if len(clips) < 2 * FOLDS:
        raise DataError(f"{root}: holds {len(clips)} clean clips of {corpus}; extract them with: mien extract {corpus}")
    rows: list[Bound] = []
    if "motion" in store.modalities:
        rows += [Bound("frames with a face", FACES, _faces_found(store, clips)), *_movement(store, clips)]
    if "text" in store.modalities:
        rows.append(Bound("words heard wrongly", WORD_ERRORS, _word_errors(store, clips), at_least=False))
    return rows + [_recovery(store, clips, name) for name in NOISE if name in store.modalities]


def _faces_found(store: Store, clips: Sequence[ClipSpec]) -> float:
    """The share of all frames looked at."""
    found = looked = 0
    for clip in clips:
        row = store.row(clip.id, "motion")
        if row:
            remark = re.search(r"(\d+) frames", row.reason)  # "face in 12 of 28 frames"; nothing when it was in all
            found += row.steps
            looked += int(remark[1]) if remark else row.steps
    return found / looked


def _movement(store: Store, clips: Sequence[ClipSpec]) -> list[Bound]:
    """r over all frames between what was drawn and the blendshapes measured."""
    drawn, measured = [], []
    for clip in clips[:: -(-len(clips) // ACTED_CLIPS)]:
        actions, steps = write_script(clip).actions, store.array(clip.id, "motion")
        if steps.shape[1] != MOTION_WIDTH:
            return []  # OpenFace's descriptors, not the landmarker's
        moments = np.rint(store.seconds(clip.id, "motion") * FPS).astype(int).clip(0, len(actions) - 1)
        drawn.append(actions[moments])
        measured.append(steps.astype(float))
    every_drawn, every_measured = np.concatenate(drawn), np.concatenate(measured)
    rows = []
    for name, (actions, shapes) in MEASURED.items():
        put = every_drawn[:, [ACTIONS.index(action) for action in actions]].sum(1)
        seen = every_measured[:, list(shapes)].sum(1)
        rows.append(Bound(f"{name}: r of drawn and measured", MOVEMENT, float(np.corrcoef(put, seen)[0, 1])))
    return rows


def _recovery(store: Store, clips: Sequence[ClipSpec], modality: str) -> Bound:
    """Mean r over the emotions of what a ridge regression reads of a modality's signal."""
    heard = [clip for clip in clips if (row := store.row(clip.id, modality)) and row.steps]
    features = np.stack([summary(store.array(clip.id, modality)) for clip in heard])
    signals = np.array([clip.signals[modality] for clip in heard])
    r = recovered(features, signals, [clip.participant for clip in heard])
    return Bound(f"{modality}: r of its signal, from {len(heard)} clips", RECOVERED, float(r.mean()))


def _word_errors(store: Store, clips: Sequence[ClipSpec]) -> float:
    """Wrong, missing and invented words, as a share of the words said."""
    wrong = said = 0
    for clip in clips:
        heard = store.clips[clip.id]["transcript"]
        errors, words = word_errors(spoken_words(clip), heard.text if heard else "")
        wrong, said = wrong + errors, said + words
    return wrong / said


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """The least number of words to change, add and drop, and the number of words said; case and stops do not count.

    >>> word_errors("Well, I feel it.", "i feel eaten")
    (2, 4)
    """
    first, second = (re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split() for text in (said, heard))
    row = list(range(len(second) + 1))
    for i, word in enumerate(first, 1):
        above, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1], len(first)


def summary(steps: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Mean and deviation over time of ``(T, F)``: ``(2F,)``; the steps themselves when there is only one."""
    values = steps.astype(float)
    return values[0] if len(values) == 1 else np.concatenate([values.mean(0), values.std(0)])


def recovered(
    features: npt.NDArray[np.float64], signals: npt.NDArray[np.float64], people: Sequence[int]
) -> npt.NDArray[np.float64]:
    """r per emotion, ``(E,)``, between ``signals (N, E)`` and what a ridge regression reads from ``features (N, F)``.

    Every clip is read by a regression that has seen none of the participant's clips.
    """
    reader = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    read = np.asarray(cross_val_predict(reader, features, signals, groups=list(people), cv=GroupKFold(FOLDS)))
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(read.T, signals.T, strict=True)])
