"""The numbers of a study's charts: differences with their intervals, subsets of modalities, robustness.

``mien.reporting`` draws them. The name of a chart is that of its SVG file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mien.metrics import Interval
from mien.storage.documents import plain
from mien.study.learning_curve import learning_curve
from mien.study.results import DRAWS, CellResult, Difference, Results
from mien.study.wording import changed
from mien.wording import plural

MAX_ROWS = 45
"""Differences in the forest plot, at most."""


@dataclass(frozen=True)
class Chart:
    """The name of an SVG file, its caption, and the numbers to draw."""

    file: str
    caption: str
    numbers: dict[str, Any]


def charts(results: Results) -> list[Chart]:
    """The charts for which there are numbers, in the order of the report."""
    made = []
    if rows := one_step(results):
        caption = f"Differences from the reference ({results.plan.reference.name})"
        made.append(
            Chart(
                "forest.svg",
                caption,
                {
                    "n": _basis(results, [results.outcome(row.cell) for row in rows]),
                    "rows": [_effect(row) for row in rows],
                },
            )
        )
    if points := learning_curve(results):
        caption = "Mean r against the number of training clips, over seeds and draws, with 95 % intervals over draws"
        numbers = [{"series": p.series, "clips": p.clips, "draws": p.draws, "r": _ends(p.r)} for p in points]
        made.append(Chart("curve.svg", caption, {"n": _basis(results, results.outcomes), "rows": numbers}))
    if len(found := subsets(results)) > 2:
        caption = "Mean r by modalities, with 95 % intervals; the dots below a bar are its modalities"
        numbers = [{"modalities": [*o.cell.settings.modalities], "r": _ends(o.ensemble)} for o in found]
        names = [*results.plan.reference.settings.modalities]
        made.append(Chart("subsets.svg", caption, {"n": _basis(results, found), "names": names, "rows": numbers}))
    if curves := [outcome for outcome in nearby(results) if outcome.missing]:
        caption = "Mean r of the mean over seeds when a share of the clips loses a modality"
        numbers = [
            {"cell": _label(outcome), "modality": name, "r": plain(r)}
            for outcome in curves
            for name, r in outcome.missing.items()
        ]
        made.append(
            Chart(
                "missing.svg", caption, {"n": _basis(results, curves), "shares": [*curves[0].shares], "rows": numbers}
            )
        )
    return made


def one_step(results: Results) -> list[Difference]:
    """Differences from the reference of cells that differ from it on one axis only, other than the draw of clips."""
    home = dict(results.plan.reference.labels)
    odd = [(d, [axis for axis, label in d.cell.labels if home[axis] != label]) for d in results.against_reference]
    return [d for d, axes in odd if len(axes) == 1 and axes != [DRAWS]][:MAX_ROWS]


def nearby(results: Results) -> list[CellResult]:
    """The reference, and the cells that differ from it on one axis other than the modalities."""
    home = dict(results.plan.reference.labels)
    odd = {o.cell.labels: [a for a, label in o.cell.labels if home[a] != label] for o in results.outcomes}
    return [
        o
        for o in results.outcomes
        if not o.failed and len(odd[o.cell.labels]) <= 1 and not {"modalities", DRAWS} & {*odd[o.cell.labels]}
    ]


def subsets(results: Results) -> list[CellResult]:
    """Cells along the axis of modalities that equal the reference in everything else; best first."""
    home = {axis: label for axis, label in results.plan.reference.labels if axis != "modalities"}
    found = []
    for outcome in results.outcomes:
        labels = dict(outcome.cell.labels)
        if not outcome.failed and labels.pop("modalities", None) and labels == home:
            found.append(outcome)
    return sorted(found, key=lambda outcome: -outcome.ensemble.value)


def _basis(results: Results, outcomes: Sequence[CellResult]) -> str:
    """How many clips, participants and seeds are behind a chart."""
    clips = sorted({outcome.clips for outcome in outcomes})
    most = plural(clips[-1], "validation clip")
    counted = most if len(clips) == 1 else f"{clips[0]:,} to {most}"
    people = {outcome.participants for outcome in outcomes}
    who = next(iter(people)) if len(people) == 1 else None
    of = f" of {plural(who, 'participant')}" if who else ""
    return f"{counted}{of}, {plural(len(results.plan.reference.settings.seeds), 'seed')}"


def _effect(d: Difference) -> dict[str, Any]:
    return {"name": changed(d), "clips": _ends(d.clips), "seeds": _ends(d.seeds), "verdict": d.verdict}


def _label(outcome: CellResult) -> str:
    return " · ".join(value for _, value in outcome.cell.labels)


def _ends(found: Interval) -> list[float | None]:
    """Value, low and high end."""
    return plain([found.value, found.low, found.high])
