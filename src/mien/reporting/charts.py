"""Draws numbers as inline SVG, a panel per function; text alternatives and tables are up to the caller.

Panels are small (about 260 units wide): side by side on a wide page, one below the other and legible on a phone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator, NullLocator

from mien.reporting.drawing import Sheet, paint, sheet

Array = npt.NDArray[np.float64]

FEW = 400
"""Above this many points, a scatter plot shades squares by their number of points."""
SQUARES = 28
SHADES = 5

Span = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve: ``dash`` as in SVG (``"4 3"``); ``low`` and ``high`` make a band around it."""

    y: Sequence[float]
    colour: str = "accent"
    dash: str = ""
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bar:
    """A bar from 0, with an interval around its end unless it is ``nan``."""

    name: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    colour: str = "accent"


def best_first(rows: Iterable[Bar]) -> list[Bar]:
    """Bars by value; those without one come last.

    >>> [bar.name for bar in best_first([Bar("a", float("nan")), Bar("b", 0.1), Bar("c", 0.2)])]
    ['c', 'b', 'a']
    """
    return sorted(rows, key=lambda bar: (not np.isfinite(bar.value), -bar.value))


@dataclass(frozen=True)
class Effect:
    """A difference with two intervals: ``thin`` with a dot, and ``thick``."""

    name: str
    value: float
    thin: Span
    thick: Span
    colour: str


def scatter(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    colour: str,
    title: str,
    labels: tuple[str, str],
    span: Span,
    diagonal: bool = True,
) -> str:
    """A scatter plot, or squares shaded by their number of points when there are more than ``FEW``.

    Args:
        x, y: ``(N,)``; pairs with ``nan`` are left out.
        colour: of ``drawing.TOKENS``.
        labels: of both axes.
        span: of both axes.
        diagonal: draw the line of equality.
    """
    x, y = _known(x, y)
    with sheet(260, 250) as made:
        _square(made, title, labels, span)
        if diagonal:
            made.axes.plot(span, span, color=paint("axis"), linewidth=0.9, dashes=(4, 3))
        if len(x) <= FEW:
            made.axes.plot(x, y, "o", color=paint(colour), markersize=4, alpha=0.5, markeredgewidth=0)
        else:
            _density(made, x, y, colour, span)
    return made.svg


def calibration(predicted: Array, rated: Array, colour: str, title: str, labels: tuple[str, str], span: Span) -> str:
    """Mean rating against mean prediction by bin (``calibrated``), with two standard errors."""
    x, y, error, _ = calibrated(predicted, rated)
    with sheet(260, 250) as made:
        _square(made, title, labels, span)
        made.axes.plot(span, span, color=paint("axis"), linewidth=0.9, dashes=(4, 3))
        made.axes.errorbar(
            x, y, 2 * error, fmt="o-", color=paint(colour), markersize=5, linewidth=1.4, elinewidth=1.2, capsize=0
        )
    return made.svg


def calibrated(predicted: npt.ArrayLike, rated: npt.ArrayLike, bins: int = 8) -> tuple[Array, Array, Array, list[int]]:
    """Calibration bins of equal size, in order of the prediction.

    Returns:
        By bin: mean prediction, mean rating, standard error of the mean rating (``nan`` for one clip), and clips. At
        least 5 clips per bin, so there may be fewer than ``bins``.

    >>> x, y, error, count = calibrated(np.arange(10) / 10, np.arange(10) / 5, bins=2)
    >>> x.round(2).tolist(), y.round(2).tolist(), count
    ([0.2, 0.7], [0.4, 1.4], [5, 5])
    """
    p, r = _known(predicted, rated)
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(p) // 5)))
    parts = [part for part in parts if len(part)]
    error = [r[part].std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else np.nan for part in parts]
    mean_p, mean_r = ([v[part].mean() for part in parts] for v in (p, r))
    return np.array(mean_p), np.array(mean_r), np.array(error), [len(part) for part in parts]


def bars(rows: Sequence[Bar], label: str, width: int = 360, mark: float = float("nan")) -> str:
    """Horizontal bars, the first on top, with their values; ``mark`` draws a reference line."""
    ends = [float(np.nanmax([row.value, row.high, 0.0])) for row in rows]
    starts = [float(np.nanmin([row.value, row.low, 0.0])) for row in rows]
    most = max([*ends, mark if np.isfinite(mark) else 0.0], default=0.0) or 1.0
    with sheet(width, 46 + 23 * len(rows)) as made:
        axes, places = made.axes, np.arange(len(rows))[::-1]
        axes.grid(False, axis="y")
        for colours, alpha in (([paint("surface")] * len(rows), 1.0), ([paint(row.colour) for row in rows], 0.66)):
            axes.barh(places, [row.value for row in rows], 0.62, color=colours, alpha=alpha)  # no grid shines through
        for place, row, end in zip(places, rows, ends, strict=True):
            if np.isfinite(row.low):
                axes.plot([row.low, row.high], [place, place], color=paint("ink"), linewidth=1.3)
            text = f"{row.value:z.3f}" if np.isfinite(row.value) else "–"
            axes.text(end + 0.02 * most, float(place), text, va="center", fontsize=9, color=paint("soft"))
        if np.isfinite(mark):
            axes.axvline(mark, color=paint("ink"), linewidth=1.1, dashes=(4, 3))
        axes.set_xlim(1.1 * min(starts, default=0.0), 1.16 * most)
        axes.set_yticks(places, [row.name for row in rows])
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=paint("axis"), linewidth=0.9)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(_ticks(5))
        axes.xaxis.set_major_formatter("{x:g}")
    return made.svg


def forest(rows: Sequence[Effect], label: str, width: int = 400) -> str:
    """A forest plot: differences as dots with both intervals, and the line at 0."""
    with sheet(width, 46 + 22 * len(rows)) as made:
        axes, places = made.axes, np.arange(len(rows))[::-1]
        axes.grid(False, axis="y")
        axes.axvline(0, color=paint("ink"), linewidth=1)
        for place, row in zip(places, rows, strict=True):
            colour = paint(row.colour)
            axes.plot(row.thick, [place, place], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
            axes.plot(row.thin, [place, place], color=colour, linewidth=1.4)
            axes.plot([row.value], [place], "o", color=colour, markersize=5)
        axes.set_yticks(places, [row.name for row in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
    return made.svg


def lines(
    x: Sequence[float], curves: Sequence[Line], title: str, labels: tuple[str, str], width: int = 260,
    height: int = 220, span: Span | None = None, dots: bool = False, share: bool = False, log: bool = False,
) -> str:  # fmt: skip
    """Curves over a common ``x``; shorter ones end earlier. ``share`` formats ``x`` in per cent, ``log`` spaces it by
    its logarithm, with a tick at each value."""
    with sheet(width, height) as made:
        axes = made.axes
        for curve in curves:
            here = x[: len(curve.y)]
            if len(curve.low):
                axes.fill_between(here, curve.low, curve.high, color=paint(curve.colour), alpha=0.16, linewidth=0)
            (drawn,) = axes.plot(
                here, curve.y, "o-" if dots else "-", color=paint(curve.colour), linewidth=1.7, markersize=3.5
            )
            if curve.dash:
                drawn.set_dashes([float(part) for part in curve.dash.split()])
        axes.set_title(title)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(list(x), [f"{value:,}" for value in x])
        else:
            axes.xaxis.set_major_locator(_ticks(5, not share))
        if share:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.yaxis.set_major_locator(_ticks(5))
        if span:
            axes.set_ylim(*span)
    return made.svg


def histogram(
    values: npt.ArrayLike,
    title: str,
    labels: tuple[str, str],
    colour: str = "accent",
    bins: int = 20,
    span: Span | None = None,
) -> str:
    """A histogram; ``nan`` is left out."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    with sheet(260, 200) as made:
        made.axes.hist(known, bins, range=span, color=paint(colour), alpha=0.85, rwidth=0.9)
        made.axes.set_title(title)
        made.axes.set_xlabel(labels[0])
        made.axes.set_ylabel(labels[1])
        made.axes.yaxis.set_major_locator(_ticks(4, True))
        made.axes.grid(False, axis="x")
    return made.svg


def memberships(rows: Sequence[Bar], members: Sequence[frozenset[str]], names: Sequence[str], label: str) -> str:
    """An UpSet plot: a vertical bar for each set, and below it its members as dark dots."""
    with sheet(620, 300, rows=2, sharex=True, height_ratios=(3, 0.28 * len(names))) as made:
        top, bottom = made.all
        places = np.arange(len(rows))
        top.grid(False, axis="x")
        for colours, alpha in (([paint("surface")] * len(rows), 1.0), ([paint(row.colour) for row in rows], 0.66)):
            top.bar(places, [row.value for row in rows], 0.68, color=colours, alpha=alpha)
        for place, row in zip(places, rows, strict=True):
            if np.isfinite(row.low):
                top.plot([place, place], [row.low, row.high], color=paint("ink"), linewidth=1.3)
            end = float(np.nanmax([row.value, row.high, 0.0]))
            text = f"{row.value:z.2f}" if np.isfinite(row.value) else "–"
            top.text(float(place), end, text, ha="center", va="bottom", fontsize=8.5, color=paint("soft"))
        top.set_ylabel(label)
        top.margins(y=0.12)
        for place, inside in enumerate(members):
            here = [y for y, name in enumerate(names) if name in inside]
            bottom.plot([place] * len(names), range(len(names)), "o", color=paint("grid"), markersize=6)
            bottom.plot([place] * len(here), here, "o-", color=paint("ink"), markersize=6, linewidth=1.4)
        bottom.grid(False)
        bottom.set_yticks(range(len(names)), names)
        bottom.set_xticks([])
        bottom.set_ylim(len(names) - 0.5, -0.5)
        bottom.spines[:].set_visible(False)
    return made.svg


def _ticks(most: int, whole: bool = False) -> MaxNLocator:
    """Ticks at round numbers."""
    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10] if not whole else [1, 2, 5, 10], integer=whole)


def _known(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _square(made: Sheet, title: str, labels: tuple[str, str], span: Span) -> None:
    axes = made.axes
    axes.set_title(title)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_xlim(*span)
    axes.set_ylim(*span)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_ticks(4))
        axis.set_major_formatter("{x:g}")


def _density(made: Sheet, x: Array, y: Array, colour: str, span: Span) -> None:
    """Shaded squares, one path for each shade, so that the size of the SVG does not depend on ``N``."""
    count, xs, ys = np.histogram2d(x, y, SQUARES, (span, span))
    level = np.ceil(np.log1p(count) / np.log1p(count.max()) * SHADES).astype(int)
    side = xs[1] - xs[0]
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * side
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    for shade in range(1, SHADES + 1):
        corners = np.stack(np.nonzero(level == shade), 1)
        if len(corners):
            vertices = (np.stack([xs[corners[:, 0]], ys[corners[:, 1]]], 1)[:, None] + square).reshape(-1, 2)
            outline = Outline(vertices, np.tile(codes, len(corners)))
            patch = PathPatch(outline, facecolor=paint(colour), linewidth=0, alpha=shade / SHADES)
            made.axes.add_patch(patch)
