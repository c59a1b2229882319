"""An evaluation in figures and tables: agreement, calibration, subsets, robustness, worst clips, what is missing."""

import itertools
import re
from typing import Any

import numpy as np
import pyarrow as pa

from mien.evaluation.results import Evaluation
from mien.metrics import mean_defined
from mien.reporting.blocks import Column, Figure, Key, Prose, Row, Table
from mien.reporting.charts import FEW, Bar, Line, bars, calibrated, calibration, lines, memberships, scatter
from mien.reporting.drawing import series
from mien.reporting.rundata import Array, Run, matrix
from mien.reporting.wording import between, number, plural
from mien.subsets import modalities_of

WORST = 20
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 2", "10 4")


def result_table(judged: Evaluation) -> Table:
    """A row per emotion and their mean."""
    columns = [
        Column("emotion"), Column("rated", ",", "clips that count"), Column("r", ".3f", "Pearson's correlation"),
        Column("95 % interval", ".3f"), Column("CCC", ".3f", "concordance: less than r for a wrong mean or spread"),
        Column("MAE", ".3f", "mean absolute error"), Column("RMSE", ".3f", "root mean square error"),
    ]  # fmt: skip
    rows: list[Row] = [(t.target, t.rated, t.r.value, between(t.r), t.ccc, t.mae, t.rmse) for t in judged.targets]
    means = (float(mean_defined([getattr(t, name) for t in judged.targets])) for name in ("ccc", "mae", "rmse"))
    of = "" if judged.defined == len(judged.targets) else f" of {judged.defined}"
    rows.append((f"mean{of}", judged.clips, judged.mean_r.value, between(judged.mean_r), *means))
    return Table("results", "Agreement by emotion", columns, rows, strong=[len(rows) - 1])


def result_figure(judged: Evaluation) -> list[Figure]:
    """r by emotion with its interval."""
    rows = [Bar(t.target, t.r.value, t.r.low, t.r.high, series(e)) for e, t in enumerate(judged.targets)]
    known = sorted((t for t in judged.targets if np.isfinite(t.r.value)), key=lambda t: -t.r.value)
    alt = "; ".join(f"{t.target} {t.r.value:.3f} ({t.r.low:.3f} to {t.r.high:.3f})" for t in known) or "undefined"
    columns = [Column("emotion"), Column("r", ".4f"), Column("low", ".4f"), Column("high", ".4f")]
    table = Table("r-numbers", "r by emotion", columns, [(b.name, b.value, b.low, b.high) for b in rows])
    caption = f"Bars end at r of the mean of all models; lines are 95 % intervals over {judged.resampled}."
    return [Figure("r", "Pearson's r by emotion", caption, f"r, best first: {alt}.", [bars(rows, "r")], table)]


def groups(judged: Evaluation) -> list[Table]:
    """Results by group of people, where there are some."""
    columns = [
        Column("group"), Column("clips", ","), Column("participants", ","), Column("r", ".3f"),
        Column("95 % interval", ".3f"), Column("mean error", "+.3f", "above 0, the model scores the group too high"),
        Column("95 % interval of the error", "+.3f"),
    ]  # fmt: skip
    rows = [
        (g.group, g.clips, g.participants, g.r.value, between(g.r), g.error.value, between(g.error, "+.3f"))
        for g in judged.groups
    ]
    caption = "By group of people; a small group has a wide interval, and that is its result"
    return [Table("groups", caption, columns, rows)] if rows else []


def agreement(judged: Evaluation) -> list[Figure]:
    """Every clip, and the mean rating at each height of prediction."""
    names = [t.target for t in judged.targets]
    rated, predicted = matrix(judged.table, "rated", names), matrix(judged.table, "predicted", names)
    span = _span(rated, predicted)
    axes = ("predicted", "rated")
    panels = [scatter(predicted[:, e], rated[:, e], series(e), n, axes, span) for e, n in enumerate(names)]
    thinned = (
        f" With {judged.clips:,} clips, each square is shaded by how many lie in it, not every clip drawn."
        if judged.clips > FEW else ""
    )  # fmt: skip
    spread = [
        (n, float(np.nanmean(predicted[:, e])), float(np.nanstd(predicted[:, e])), float(np.nanmean(rated[:, e])),
         float(np.nanstd(rated[:, e])))
        for e, n in enumerate(names)
    ]  # fmt: skip
    columns = [Column("emotion"), Column("mean predicted", ".4f"), Column("SD predicted", ".4f"),
               Column("mean rated", ".4f"), Column("SD rated", ".4f")]  # fmt: skip
    narrow = sum(row[2] < row[4] for row in spread)
    return [
        Figure(
            "scatter", "Every clip", f"A clip each: what was predicted, and what raters said.{thinned}",
            f"Predictions spread less than ratings for {narrow} of {len(names)} emotions; "
            + "; ".join(f"{t.target}: r {number(t.r.value)}" for t in judged.targets) + ".",
            panels, Table("scatter-numbers", "Means and standard deviations of both axes", columns, spread),
        ),
        _calibration(names, predicted, rated, axes),
    ]  # fmt: skip


def _calibration(names: list[str], predicted: Array, rated: Array, axes: tuple[str, str]) -> Figure:
    found = [calibrated(predicted[:, e], rated[:, e]) for e in range(len(names))]
    span = _span(*(part for x, y, _, _ in found for part in (x, y)))
    panels = [calibration(predicted[:, e], rated[:, e], series(e), n, axes, span) for e, n in enumerate(names)]
    rows = [
        (name, place + 1, n, float(x[place]), float(y[place]), float(error[place]))
        for name, (x, y, error, count) in zip(names, found, strict=True)
        for place, n in enumerate(count)
    ]
    columns = [Column("emotion"), Column("bin", "d"), Column("clips", ","), Column("mean predicted", ".4f"),
               Column("mean rated", ".4f"), Column("standard error", ".4f")]  # fmt: skip
    off = {name: float(np.abs(x - y).mean()) for name, (x, y, _, _) in zip(names, found, strict=True) if len(x)}
    return Figure(
        "calibration", "Are predictions right on average?",
        "Clips in order of their prediction, in bins of equally many: mean rating against mean prediction, with two "
        "standard errors (which take clips as independent). The axes end where the bins do.",
        "Mean distance from the line: " + "; ".join(f"{name} {number(value)}" for name, value in off.items()) + ".",
        panels, Table("calibration-numbers", "Bins of the calibration", columns, rows),
    )  # fmt: skip


def coverage(judged: Evaluation) -> list[Figure]:
    """How often the prediction intervals held the rating."""
    found = judged.coverage
    if found is None:
        return []
    names = [t.target for t in judged.targets]
    rows = [Bar(name, value, colour=series(e)) for e, (name, value) in enumerate(zip(names, found.found, strict=True))]
    columns = [Column("emotion"), Column("held", ".1%"), Column("stated", ".0%"), Column("mean width", ".3f")]
    numbers = [(n, f, found.level, w) for n, f, w in zip(names, found.found, found.width, strict=True)]
    note = " The intervals were calibrated on the validation clips, so on these they hold by construction."
    return [
        Figure(
            "coverage", "Do the prediction intervals hold?",
            f"Share of ratings inside the {found.level:.0%} interval of their prediction; the dashed line is what is "
            f"stated.{note if judged.split == 'valid' else ''}",
            "Share held: " + "; ".join(f"{n} {number(f)}" for n, f in zip(names, found.found, strict=True)) + ".",
            [bars(rows, "share of ratings held", mark=found.level)],
            Table("coverage-numbers", "Coverage and width of the intervals", columns, numbers),
        )
    ]  # fmt: skip


def subsets(judged: Evaluation, run: Run) -> list[Any]:
    """Mean r from some of the modalities, and of each encoder trained alone."""
    alone = [Bar(name, float(mean_defined(r).mean())) for name, r in run.r.items() if name in run.modalities]
    made: list[Any] = []
    if judged.subsets:
        given = {" + ".join(modalities_of(name)): r for name, r in judged.subsets.items()}
        rows = sorted(itertools.starmap(Bar, given.items()), key=lambda b: -b.value)
        members = [frozenset(bar.name.split(" + ")) for bar in rows]
        table = Table("subsets-numbers", "Mean r by modalities given", [Column("given"), Column("mean r", ".4f")],
                      [(bar.name, bar.value) for bar in rows])  # fmt: skip
        singles = sorted((bar for bar in rows if " + " not in bar.name), key=lambda b: -b.value)
        said = ", ".join(f"{bar.name} {number(bar.value)}" for bar in singles)
        made.append(Figure(
            "subsets", f"All {len(rows)} subsets of the modalities",
            "Mean r over the emotions when the fused model is given only the modalities with a dark dot.",
            f"Best with {rows[0].name} ({number(rows[0].value)}). One modality only: {said}.",
            [memberships(rows, members, run.modalities, "mean r")], table,
        ))  # fmt: skip
    if alone:
        columns = [Column("modality"), Column("mean r", ".4f")]
        table = Table("alone-numbers", "Mean r of encoders trained alone", columns, [(b.name, b.value) for b in alone])
        made.append(Figure(
            "alone", "Each encoder alone, after stage 1",
            "Mean over emotions, then over seeds, on the validation clips.",
            "; ".join(f"{bar.name} {number(bar.value)}" for bar in alone) + ".", [bars(alone, "mean r")], table,
        ))  # fmt: skip
    return made


def robustness(judged: Evaluation) -> list[Figure]:
    """Mean r when a growing share of the clips loses a modality."""
    if not judged.missing:
        return []
    curves = [Line(list(r), series(m), DASHES[m % len(DASHES)]) for m, r in enumerate(judged.missing.values())]
    keys = [Key(f"without {name}", c.colour, c.dash) for name, c in zip(judged.missing, curves, strict=True)]
    low = min(0.0, *(float(np.nanmin(r)) for r in judged.missing.values()))
    high = max(float(np.nanmax(r)) for r in judged.missing.values())
    columns = [Column("modality taken away"), *(Column(f"from {share:.0%}", ".4f") for share in judged.shares)]
    fall = {name: float(r[-1] - r[0]) for name, r in judged.missing.items()}
    worst = min(fall, key=lambda name: fall[name])
    labels, span = ("share of clips without it", "mean r"), (low, high * 1.06)
    return [
        Figure(
            "missing", "A modality is taken from some of the clips",
            "Mean r over all clips of the split, when a random share of them loses one modality; the others stay.",
            f"Losing {worst} costs most: {fall[worst]:+.3f} when no clip has it; "
            + ", ".join(f"{name} {value:+.3f}" for name, value in fall.items() if name != worst) + ".",
            [lines(judged.shares, curves, "", labels, 400, 270, span, dots=True, share=True)],
            Table("missing-numbers", "Mean r by share of clips without a modality", columns,
                  [(name, *map(float, r)) for name, r in judged.missing.items()]), keys,
        )
    ]  # fmt: skip


def missing(judged: Evaluation, whole: bool) -> list[Any]:
    """Which clips lacked what, by reason."""
    if not whole or "absent" not in judged.table.column_names:
        return []
    clips: dict[tuple[str, str], list[str]] = {}
    wording: dict[tuple[str, str], set[str]] = {}
    for clip, text in zip(judged.table["clip"].to_pylist(), judged.table["absent"].to_pylist(), strict=True):
        for part in filter(None, text.split("; ")):
            modality, _, reason = part.partition(": ")
            kind = (modality, re.sub(r"\d+", "…", reason))  # "no face in 40 frames" is one reason with another number
            clips.setdefault(kind, []).append(clip)
            wording.setdefault(kind, set()).add(reason)
    if not clips:
        return [Prose([f"No modality was missing from any of the {plural(judged.clips, 'clip')}."])]
    columns = [Column("modality"), Column("reason"), Column("clips", ","), Column("share", ".1%"), Column("first")]
    rows = [
        (
            kind[0],
            wording[kind].pop() if len(wording[kind]) == 1 else kind[1],
            len(found),
            len(found) / judged.clips,
            found[0],
        )
        for kind, found in sorted(clips.items(), key=lambda item: -len(item[1]))
    ]
    return [Table("absent", "What was missing from the judged clips, and why", columns, rows)]


def worst(judged: Evaluation) -> Table:
    """Clips whose scores are furthest from their ratings."""
    names = [t.target for t in judged.targets]
    rated, predicted = matrix(judged.table, "rated", names), matrix(judged.table, "predicted", names)
    off = predicted - rated
    mean = np.where(np.isfinite(off).any(1), mean_defined(np.abs(off)), -1.0)
    order = np.argsort(-mean, kind="stable")[:WORST]
    explained = "absent" in judged.table.column_names
    columns = [
        Column("clip"), Column("participant"), Column("mean error", ".3f"), Column("most off"),
        Column("predicted", ".3f"), Column("rated", ".3f"), *([Column("missing")] if explained else []),
    ]  # fmt: skip
    rows = []
    for place in (int(n) for n in order if mean[n] >= 0):
        most = int(np.nanargmax(np.abs(off[place])))
        way = "too high" if off[place, most] > 0 else "too low"
        row = _row(judged.table, place)
        lacks = [row["absent"] or "nothing"] if explained else []
        rows.append((
            row["clip"], row["participant"] or "–", float(mean[place]), f"{names[most]}, {way}",
            float(predicted[place, most]), float(rated[place, most]), *lacks,
        ))  # fmt: skip
    return Table("worst", f"The {len(rows)} clips with the largest mean absolute error", columns, rows)


def _row(table: pa.Table, place: int) -> dict[str, Any]:
    return table.slice(place, 1).to_pylist()[0]


def _span(*values: Array) -> tuple[float, float]:
    """Of both axes: from 0, or below, to the largest value, rounded up to a tenth of the scale."""
    known = np.concatenate([np.ravel(value) for value in values])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    step = 10.0 ** np.floor(np.log10(max(high - min(low, 0.0), 1e-9))) / 5
    return min(0.0, float(np.floor(low / step) * step)), float(np.ceil(high / step) * step)
