"""Which clips a summary includes, and each person's mean in each condition.

Shapes: ``N`` clips, ``P`` people, ``C`` conditions, ``E`` targets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.scores.differences import ROUNDING, without_rounding
from mien.wording import plural

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredClips:
    """Scored clips with their participants and conditions.

    Attributes:
        targets: names of the scores.
        clips: ``N`` names.
        scores: ``(N, E)``; ``nan`` if missing.
        participants: of each clip; ``None`` if unknown: such a clip counts as a separate person.
        conditions: of each clip; ``None`` if unknown: such a clip is excluded, and counted.
        errors: why a clip was not scored; ``None`` if it was.
    """

    targets: tuple[str, ...]
    clips: tuple[str, ...]
    scores: Array
    participants: tuple[str | None, ...]
    conditions: tuple[str | None, ...]
    errors: tuple[str | None, ...]


@dataclass(frozen=True)
class Excluded:
    """Excluded clips: the reason, their number, and the first."""

    reason: str
    clips: int
    first: str


@dataclass(frozen=True)
class Cells:
    """Each person's mean in each condition.

    Attributes:
        people, conditions: names; conditions in order of appearance, the baseline first.
        means: ``(P, C, E)``; ``nan`` where a person has no score.
        clips: ``(P, C, E)`` number of clips in each mean.
        largest: ``(E,)`` absolute means, before a baseline is subtracted.
    """

    people: tuple[str, ...]
    conditions: tuple[str, ...]
    means: Array
    clips: npt.NDArray[np.int64]
    largest: Array


def exclusion(scored: ScoredClips, place: int) -> str | None:
    """Why a clip is excluded, without the name of its file, so that equal reasons are equal; ``None`` if included."""
    if error := scored.errors[place]:
        return re.sub(rf"^{re.escape(scored.clips[place])}[^:]*: |^[^:\s]+\.\w+: ", "", error)
    if not bool(np.isfinite(scored.scores[place]).any()):
        return "without a score"
    return None if scored.conditions[place] else "without a condition"


def excluded_clips(scored: ScoredClips, reasons: Sequence[str | None]) -> tuple[Excluded, ...]:
    """Excluded clips by reason."""
    found: dict[str, list[str]] = {}
    for clip, reason in zip(scored.clips, reasons, strict=True):
        if reason is not None:
            found.setdefault(reason, []).append(clip)
    return tuple(Excluded(reason, len(clips), clips[0]) for reason, clips in found.items())


def unknown_participants(scored: ScoredClips, included: Sequence[int]) -> list[str]:
    """A note on clips without a participant."""
    unknown = [scored.clips[place] for place in included if scored.participants[place] is None]
    if not unknown:
        return []
    count = plural(len(unknown), "clip")
    return [f"{count} without a participant; each counts as a separate person (first: {unknown[0]})"]


def cells_of(scored: ScoredClips, included: Sequence[int], baseline: str | None) -> Cells:
    """Each person's mean in each condition, of the included clips.

    Raises:
        DataError: none of them is in the baseline condition.
    """
    conditions = list(dict.fromkeys(str(scored.conditions[place]) for place in included))
    if baseline is not None:
        if baseline not in conditions:
            raise DataError(f"no clip is in the baseline {baseline!r} (conditions: {', '.join(conditions)})")
        conditions.sort(key=lambda name: name != baseline)
    names = [scored.participants[place] or f"clip {scored.clips[place]}" for place in included]
    people = list(dict.fromkeys(names))
    p = _places(people, names)
    c = _places(conditions, [str(scored.conditions[place]) for place in included])
    values = scored.scores[list(included)]
    shape = (len(people), len(conditions), len(scored.targets))
    sums, clips = np.zeros(shape), np.zeros(shape, np.int64)
    np.add.at(sums, (p, c), np.where(np.isfinite(values), values, 0))
    np.add.at(clips, (p, c), np.isfinite(values))
    with np.errstate(invalid="ignore"):
        means = sums / clips
    return Cells(tuple(people), tuple(conditions), means, clips, np.nan_to_num(np.abs(means)).max((0, 1)))


def _places(names: Sequence[str], which: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {name: n for n, name in enumerate(names)}
    return np.array([place[name] for name in which])


def less_baseline(cells: Cells, baseline: str) -> tuple[Cells, list[str]]:
    """Subtract each person's baseline; with a note on people without one."""
    level = cells.means[:, cells.conditions.index(baseline)]  # (P, E)
    have = np.isfinite(level).sum(-1) > 0
    without = [name for name, has in zip(cells.people, have, strict=True) if not has]
    people = tuple(name for name, has in zip(cells.people, have, strict=True) if has)
    means = without_rounding(cells.means - level[:, None], ROUNDING * cells.largest)
    kept = Cells(people, cells.conditions, means[have], cells.clips[have], cells.largest)
    if not without:
        return kept, []
    named = ", ".join(without[:10]) + (" …" if len(without) > 10 else "")
    return kept, [
        f"{plural(len(without), 'person', 'people')} without a clip in the baseline {baseline!r}, excluded: {named}"
    ]
