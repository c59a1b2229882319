"""The results of ``evaluate``, as plain records.

Shapes: ``N`` clips, ``E`` emotions, ``K`` models of a run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mien.evaluation.subgroups import GroupResult
from mien.metrics import Interval
from mien.wording import plural

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TargetResult:
    """The metrics of one emotion over the whole split.

    Attributes:
        target: its name.
        rated: number of rated clips.
        r: Pearson with its interval; ``nan`` where undefined.
        ccc, mae, rmse: of the same clips.
        why_undefined: the reason if r is undefined, else empty.
        people: participants in the rated clips; ``None`` unless all are known.
    """

    target: str
    rated: int
    r: Interval
    ccc: float
    mae: float
    rmse: float
    why_undefined: str
    people: int | None = None


@dataclass(frozen=True)
class LevelCoverage:
    """Coverage of the prediction intervals where the score, or the rating, lies in a part of the rating scale.

    Attributes:
        of: ``score`` or ``rating``.
        low, high: the part, ``low`` included; the last part includes ``high``.
        rated: number of ratings, over all emotions.
        found: share of them inside their interval; ``None`` without any.
        width: mean width of the intervals; ``None`` without any.
    """

    of: str
    low: float
    high: float
    rated: int
    found: float | None
    width: float | None


@dataclass(frozen=True)
class Coverage:
    """Coverage of the prediction intervals: target ``level``, and per emotion the share found and the mean width,
    ``nan`` for one without a rating.

    ``calibration_clips`` of the clips also calibrated the intervals: on these, the coverage is near the target by
    construction. ``levels`` are by level of the score, which intervals are calibrated for, and of the rating, which
    they are not.
    """

    level: float
    found: tuple[float, ...]
    width: tuple[float, ...]
    calibration_clips: int = 0
    levels: tuple[LevelCoverage, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a model on a split.

    Attributes:
        split: its name.
        clips: number of rated clips.
        resampled: ``participants`` or ``clips``: the unit of the bootstrap.
        targets: by emotion, in order.
        mean_r: the score of the challenge with its interval: the mean over emotions for which r is defined.
        defined: number of emotions with a defined r.
        mean_ccc: mean over emotions for which CCC is defined.
        seeds: mean r of each of the K models alone, ``(K,)``.
        subsets: mean r with only some modalities at test time, by name (``"text+audio"``).
        missing: by modality, mean r when each of ``shares`` of the clips lacks it.
        shares: in [0, 1].
        coverage: of the model's prediction intervals; ``None`` if it has none.
        table: a row per clip: labels, predictions, and its modalities.
        notes: caveats, one line each.
        groups: by group of people, if the manifest has groups.
        modalities: of the model.
        trained_on: number of clips that the model was trained on; the results are no estimate for new clips then.
        validated_on: number of clips that chose the best epoch of its training, validation clips or those of an inner
            split; r is slightly optimistic on them.
    """

    split: str
    clips: int
    resampled: str
    targets: tuple[TargetResult, ...]
    mean_r: Interval
    defined: int
    mean_ccc: float
    seeds: Array
    subsets: Mapping[str, float]
    missing: Mapping[str, Array]
    shares: tuple[float, ...]
    coverage: Coverage | None
    table: pa.Table
    notes: tuple[str, ...]
    groups: tuple[GroupResult, ...] = ()
    modalities: tuple[str, ...] = ()
    trained_on: int = 0
    validated_on: int = 0

    @property
    def people(self) -> int | None:
        """Number of participants; ``None`` unless all are known."""
        names = self.table["participant"].to_pylist()
        return len(set(names)) if names and all(names) else None

    @property
    def coverage_note(self) -> str:
        """What coverage means on clips that calibrated the intervals; empty if none of these did."""
        count = self.coverage.calibration_clips if self.coverage else 0
        if not count:
            return ""
        of = "these clips" if count == self.clips else f"{count:,} of these {plural(self.clips, 'clip')}"
        return f"the widths of the intervals were set on {of} so that they hold the target; coverage of them is no test"

    @property
    def basis(self) -> str:
        """The basis of the results as text: split, clips and whether the model has seen them, targets, modalities."""
        names = ", ".join(target.target for target in self.targets)
        given = f"; from {', '.join(self.modalities)}, where available" if self.modalities else ""
        return (
            f"split {self.split}: {people_and_clips(self.clips, self.table['participant'].to_pylist())}"
            f"{seen(self.clips, self.trained_on, self.validated_on)}; {names}{given}"
        )


def seen(clips: int, trained_on: int, validated_on: int) -> str:
    """How many clips the model was trained on, and how many chose its best epoch, as text.

    >>> seen(58, 55, 3)
    ', 55 of which the model was trained on, and 3 of which chose the best epoch'
    >>> seen(58, 0, 58), seen(58, 0, 0)
    (', all of which chose the best epoch', '')
    """
    parts = ((trained_on, "the model was trained on"), (validated_on, "chose the best epoch"))
    texts = [f"{'all' if count == clips else f'{count:,}'} of which {what}" for count, what in parts if count]
    return f", {', and '.join(texts)}" if texts else ""


def people_and_clips(clips: int, people: Sequence[str | None]) -> str:
    """The number of clips and of participants, as text.

    >>> people_and_clips(3, ["a", "a", "b"])
    '3 rated clips of 2 participants'
    >>> people_and_clips(2, [None, "b"])
    '2 rated clips, participants known of 1 only; clips treated as independent'
    >>> people_and_clips(2, [None, None])
    '2 rated clips, participants unknown; clips treated as independent'
    """
    known = [name for name in people if name]
    if len(known) == len(people):
        return f"{plural(clips, 'rated clip')} of {plural(len(set(known)), 'participant')}"
    found = f"known of {len(known):,} only" if known else "unknown"
    return f"{plural(clips, 'rated clip')}, participants {found}; clips treated as independent"
