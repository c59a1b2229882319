"""How much of the stand-in corpus extraction recovers: faces found, words recognised, planted signals.

The corpus is useful only if decoder, landmarker, recogniser and backbones recover from its files what was planted in
them. This compares a store of its features with its plan: the actions drawn and the words spoken at every moment.

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
from mien.synthetic.media import FPS, NOISE, ClipSpec, read_plan, spoken_words, write_script
from mien.synthetic.published import Bound

FACES, MOVEMENT, WORD_ERRORS, RECOVERED = 0.95, 0.6, 0.25, 0.3
"""Thresholds: frames with a face, r of drawn and measured actions, word error rate, mean r of a ridge regression."""

MEASURED = {
    "smile": (("smile",), (44, 45)),
    "brow raise": (("brow_inner", "brow_outer"), (3, 4, 5)),
    "open jaw": (("jaw",), (25,)),
}
"""Actions drawn, and the blendshapes that measure them (mouthSmile, browInnerUp and browOuterUp, jawOpen)."""

ACTED_CLIPS = 100
"""At most so many clips are acted again to compare every frame."""

FOLDS = 5
RECOVERY_NEEDS = 60
"""Clips that the regression needs: with them the standard error of r over six emotions is about .05."""

PENALTIES = np.logspace(0, 5, 12)


def check_recovery(corpus: Path, root: Path) -> list[Bound]:
    """Compare the store at ``root`` with the signals planted in the clean clips of a media corpus.

    Args:
        corpus: folder made by ``synth`` in media mode.
        root: store made from it by ``extract`` with the landmarker's own motion.

    Raises:
        DataError: the folder is not a media corpus of this version, or the store holds none of its clips.
        StoreError: there is no store at ``root``.
    """
    store = Store(root)
    clips = [clip for clip in read_plan(corpus).clips if not clip.fault and clip.id in store.clips]
    if not clips:
        raise DataError(f"{root}: holds no clean clip of {corpus}; extract them: mien extract {corpus} --out {root}")
    rows: list[Bound] = []
    if "motion" in store.modalities:
        rows += [Bound("frames with a face", FACES, _faces_found(store, clips)), *_movement(store, clips)]
    if "text" in store.modalities:
        rows.append(Bound("word error rate", WORD_ERRORS, _word_errors(store, clips), at_least=False))
    return rows + [_recovery(store, clips, name) for name in NOISE if name in store.modalities]


def _faces_found(store: Store, clips: Sequence[ClipSpec]) -> float:
    """The share of analysed frames in which a face was found."""
    found = analysed = 0
    for clip in clips:
        row = store.row(clip.id, "motion")
        if row:
            remark = re.search(r"(\d+) frames", row.reason)  # "face in 12 of 28 frames"; nothing when it was in all
            found += row.steps
            analysed += int(remark[1]) if remark else row.steps
    return found / analysed


def _movement(store: Store, clips: Sequence[ClipSpec]) -> list[Bound]:
    """Pearson r between drawn actions and measured blendshapes over all frames."""
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
        target = every_drawn[:, [ACTIONS.index(action) for action in actions]].sum(1)
        seen = every_measured[:, list(shapes)].sum(1)
        rows.append(Bound(f"{name}: r of drawn and measured", MOVEMENT, float(np.corrcoef(target, seen)[0, 1])))
    return rows


def _recovery(store: Store, clips: Sequence[ClipSpec], modality: str) -> Bound:
    """Mean r over the emotions between a modality's signal and a ridge regression on its features."""
    available = [clip for clip in clips if (row := store.row(clip.id, modality)) and row.steps]
    r = float("nan")
    if len(available) >= RECOVERY_NEEDS:
        features = np.stack([pool(store.array(clip.id, modality)) for clip in available])
        signals = np.array([clip.signals[modality] for clip in available])
        people = [clip.participant for clip in available]
        r = float(ridge_recovery(features, signals, people).mean())
    name = f"{modality}: r of its signal, from {len(available)} clips"
    return Bound(name, RECOVERED, r, clips=len(available), needs=RECOVERY_NEEDS)


def _word_errors(store: Store, clips: Sequence[ClipSpec]) -> float:
    """Substituted, deleted and inserted words as a share of the words spoken."""
    wrong = said = 0
    for clip in clips:
        heard = store.clips[clip.id]["transcript"]
        errors, words = word_errors(spoken_words(clip), heard.text if heard else "")
        wrong, said = wrong + errors, said + words
    return wrong / said


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Edit distance in words, and the number of words spoken; case and punctuation are ignored.

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


def pool(steps: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Mean and standard deviation over time of ``(T, F)``: ``(2F,)``; a single step as it is."""
    values = steps.astype(float)
    return values[0] if len(values) == 1 else np.concatenate([values.mean(0), values.std(0)])


def ridge_recovery(
    features: npt.NDArray[np.float64], signals: npt.NDArray[np.float64], people: Sequence[int]
) -> npt.NDArray[np.float64]:
    """r per emotion, ``(E,)``, between ``signals (N, E)`` and a ridge regression on ``features (N, F)``.

    Cross-validated by participant: a clip is predicted by a regression fitted without its participant.
    """
    regression = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    predicted = np.asarray(cross_val_predict(regression, features, signals, groups=list(people), cv=GroupKFold(FOLDS)))
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(predicted.T, signals.T, strict=True)])
