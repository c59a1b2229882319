"""The pictures of a study, as SVG: differences with their intervals, subsets of modalities, robustness.

Each comes with the numbers that it was drawn from, for those who draw it again in another way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from mien.metrics import Interval
from mien.storage.documents import plain
from mien.storage.files import atomic_file
from mien.study.results import CellResult, Difference, Results
from mien.study.wording import changed

matplotlib.use("svg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

COLOURS = {"better": "#1b7f5c", "worse": "#b5432e", "open": "#777777"}
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mien",  # the same results give the same bytes
    "text.parse_math": False,  # names of cells and targets are no formulas
}
MOST_ROWS = 45


def draw(results: Results, folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Draw what there is to draw into ``folder``: names of files, each with what it shows, and its numbers."""
    drawn = []
    with plt.rc_context(STYLE):
        if rows := one_step(results):
            _save(forest(rows), folder / "forest.svg")
            caption = f"Differences from the reference ({results.plan.reference.name})"
            drawn.append(("forest.svg", caption, {"rows": [_effect(row) for row in rows]}))
        if len(found := subsets(results)) > 2:
            _save(bars(results), folder / "subsets.svg")
            caption = "Mean r by modalities; dots say which, whiskers are 95 % intervals"
            bare = [{"modalities": [*o.cell.settings.modalities], "r": _ends(o.ensemble)} for o in found]
            drawn.append(
                ("subsets.svg", caption, {"names": [*results.plan.reference.settings.modalities], "rows": bare})
            )
        curves = [outcome for outcome in nearby(results) if outcome.missing]
        if curves:
            _save(robustness(curves), folder / "missing.svg")
            caption = "Mean r of the mean over seeds when a share of the clips loses a modality"
            bare = [
                {"cell": _label(outcome), "modality": name, "r": plain(r)}
                for outcome in curves
                for name, r in outcome.missing.items()
            ]
            drawn.append(("missing.svg", caption, {"shares": [*curves[0].shares], "rows": bare}))
    return drawn


def _effect(d: Difference) -> dict[str, Any]:
    return {"name": changed(d), "clips": _ends(d.clips), "seeds": _ends(d.seeds), "verdict": d.verdict}


def _label(outcome: CellResult) -> str:
    return " · ".join(value for _, value in outcome.cell.labels)


def _ends(found: Interval) -> list[float | None]:
    """Value, low and high end."""
    return plain([found.value, found.low, found.high])


def one_step(results: Results) -> list[Difference]:
    """Differences from the reference of the cells that differ from it on one axis only."""
    home = dict(results.plan.reference.labels)
    return [d for d in results.against_reference if sum(home[a] != label for a, label in d.cell.labels) == 1][
        :MOST_ROWS
    ]


def nearby(results: Results) -> list[CellResult]:
    """The reference, and the cells that differ from it on one axis other than the modalities."""
    home = dict(results.plan.reference.labels)
    odd = {o.cell.labels: [a for a, label in o.cell.labels if home[a] != label] for o in results.outcomes}
    return [
        o
        for o in results.outcomes
        if not o.failed and len(odd[o.cell.labels]) <= 1 and "modalities" not in odd[o.cell.labels]
    ]


def subsets(results: Results) -> list[CellResult]:
    """Along the axis of modalities, as the reference in everything else; best first."""
    home = {axis: label for axis, label in results.plan.reference.labels if axis != "modalities"}
    found = []
    for outcome in results.outcomes:
        labels = dict(outcome.cell.labels)
        if not outcome.failed and labels.pop("modalities", None) and labels == home:
            found.append(outcome)
    return sorted(found, key=lambda outcome: -outcome.ensemble.value)


def forest(rows: Sequence[Difference]) -> Figure:
    """Every difference as a dot with both its intervals: thick over seeds, thin over clips."""
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.24 * len(rows)), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        colour = COLOURS[row.verdict]
        axes.plot([row.clips.low, row.clips.high], [place, place], color=colour, linewidth=1)
        axes.plot([row.seeds.low, row.seeds.high], [place, place], color=colour, linewidth=4, solid_capstyle="butt")
        axes.plot(row.clips.value, place, "o", color=colour, markersize=4)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [changed(row) for row in reversed(rows)])
    axes.set_xlabel("difference of mean r: thick over seeds, thin and dot over clips, 95 %")
    return figure


def bars(results: Results) -> Figure:
    """A bar per subset of modalities, and below it which modalities are in it."""
    rows = subsets(results)
    names = results.plan.reference.settings.modalities
    figure, (top, bottom) = plt.subplots(
        2, 1, sharex=True, figsize=(7, 4), layout="constrained", height_ratios=(3, 0.3 * len(names))
    )
    values = np.array([row.ensemble.value for row in rows])
    spread = np.abs(np.array([[row.ensemble.low, row.ensemble.high] for row in rows]).T - values)
    top.bar(range(len(rows)), values, yerr=spread, color="#4c72b0", error_kw={"elinewidth": 1}, width=0.7)
    top.set_ylabel("mean r")
    for place, row in enumerate(rows):
        here = [y for y, name in enumerate(names) if name in row.cell.settings.modalities]
        bottom.plot([place] * len(names), range(len(names)), "o", color="#dddddd", markersize=5)
        bottom.plot([place] * len(here), here, "o-", color="black", markersize=5, linewidth=1)
    bottom.set_yticks(range(len(names)), names)
    bottom.set_xticks([])
    bottom.invert_yaxis()
    for side in bottom.spines.values():
        side.set_visible(False)
    return figure


def robustness(rows: Sequence[CellResult]) -> Figure:
    """r against the share of clips that lack a modality: a panel per modality, a line per cell."""
    names = list(dict.fromkeys(name for row in rows for name in row.missing))
    figure, panels = plt.subplots(
        1, len(names), sharey=True, squeeze=False, figsize=(2 * len(names) + 1, 3), layout="constrained"
    )
    for panel, name in zip(panels[0], names, strict=True):
        for row in rows:
            if name in row.missing:
                label = _label(row)
                panel.plot(row.shares, row.missing[name], "o-", markersize=3, linewidth=1, label=label)
        panel.set_title(f"without {name}", fontsize=9)
        panel.set_xlabel("share of clips")
    panels[0][0].set_ylabel("mean r")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
    plt.close(figure)
