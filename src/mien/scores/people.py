"""Who counts in a summary, and each person's mean in each condition.

Shapes: ``N`` clips, ``P`` people, ``C`` conditions, ``E`` targets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.errors import DataError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredClips:
    """Scored clips, with who is in them and under which condition they were filmed.

    Attributes:
        targets: names of the scores.
        clips: ``N`` names.
        scores: ``(N, E)``; ``nan`` where there is none.
        participants: who is in each; ``None`` when unknown: such a clip counts as a person of its own.
        conditions: of each; ``None`` when unknown: such a clip is left out, and counted.
        errors: why a clip was not scored; ``None`` where it was.
    """

    targets: tuple[str, ...]
    clips: tuple[str, ...]
    scores: Array
    participants: tuple[str | None, ...]
    conditions: tuple[str | None, ...]
    errors: tuple[str | None, ...]


@dataclass(frozen=True)
class Excluded:
    """Clips that do not count: why, how many, and the first of them."""

    reason: str
    clips: int
    first: str


@dataclass(frozen=True)
class Cells:
    """Each person's mean in each condition.

    Attributes:
        people, conditions: names; conditions in order of appearance, the baseline first.
        means: ``(P, C, E)``; ``nan`` where a person has no score.
        clips: ``(P, C, E)`` how many clips each mean is of.
    """

    people: tuple[str, ...]
    conditions: tuple[str, ...]
    means: Array
    clips: npt.NDArray[np.int64]


def why_not(scored: ScoredClips, place: int) -> str | None:
    """Why a clip does not count; the same words for the same reason, without the name of the file."""
    if error := scored.errors[place]:
        return re.sub(rf"^{re.escape(scored.clips[place])}[^:]*: |^[^:\s]+\.\w+: ", "", error)
    if not bool(np.isfinite(scored.scores[place]).any()):
        return "without a score"
    return None if scored.conditions[place] else "without a condition"


def left_out(scored: ScoredClips, reasons: Sequence[str | None]) -> tuple[Excluded, ...]:
    """Clips that do not count, by reason."""
    found: dict[str, list[str]] = {}
    for clip, reason in zip(scored.clips, reasons, strict=True):
        if reason is not None:
            found.setdefault(reason, []).append(clip)
    return tuple(Excluded(reason, len(clips), clips[0]) for reason, clips in found.items())


def nobody(scored: ScoredClips, here: Sequence[int]) -> list[str]:
    """A note on clips of which nobody knows who is in them."""
    unknown = [scored.clips[place] for place in here if scored.participants[place] is None]
    if not unknown:
        return []
    return [f"{len(unknown)} clips are of nobody known; each counts as a person of its own (first: {unknown[0]})"]


def cells_of(scored: ScoredClips, here: Sequence[int], baseline: str | None) -> Cells:
    """Each person's mean in each condition, of the clips that count.

    Raises:
        DataError: none of them is of the baseline.
    """
    conditions = list(dict.fromkeys(str(scored.conditions[place]) for place in here))
    if baseline is not None:
        if baseline not in conditions:
            raise DataError(f"no clip is of the baseline {baseline!r} (conditions: {', '.join(conditions)})")
        conditions.sort(key=lambda name: name != baseline)
    who = [scored.participants[place] or f"clip {scored.clips[place]}" for place in here]
    people = list(dict.fromkeys(who))
    p = _places(people, who)
    c = _places(conditions, [str(scored.conditions[place]) for place in here])
    values = scored.scores[list(here)]
    shape = (len(people), len(conditions), len(scored.targets))
    sums, clips = np.zeros(shape), np.zeros(shape, np.int64)
    np.add.at(sums, (p, c), np.where(np.isfinite(values), values, 0))
    np.add.at(clips, (p, c), np.isfinite(values))
    with np.errstate(invalid="ignore"):
        return Cells(tuple(people), tuple(conditions), sums / clips, clips)


def _places(names: Sequence[str], which: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {name: n for n, name in enumerate(names)}
    return np.array([place[name] for name in which])


def less_baseline(cells: Cells, baseline: str) -> tuple[Cells, list[str]]:
    """Less each person's baseline; and who has none."""
    level = cells.means[:, cells.conditions.index(baseline)]  # (P, E)
    have = np.isfinite(level).sum(-1) > 0
    lost = [name for name, has in zip(cells.people, have, strict=True) if not has]
    kept = Cells(tuple(name for name, has in zip(cells.people, have, strict=True) if has), cells.conditions,
                 (cells.means - level[:, None])[have], cells.clips[have])  # fmt: skip
    if not lost:
        return kept, []
    named = ", ".join(lost[:10]) + (" …" if len(lost) > 10 else "")
    return kept, [f"{len(lost)} people have no clip of the baseline {baseline!r} and are left out: {named}"]
