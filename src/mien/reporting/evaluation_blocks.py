"""Figures and tables of an evaluation: agreement, calibration, subsets, robustness, largest errors."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from mien.evaluation.results import Coverage, Evaluation
from mien.metrics import mean_defined
from mien.reporting.blocks import Column, Figure, Key, Prose, Row, Table
from mien.reporting.charts import (
    FEW,
    Bar,
    Line,
    bars,
    best_first,
    calibrated,
    calibration,
    lines,
    memberships,
    scatter,
)
from mien.reporting.drawing import series
from mien.reporting.rundata import Array, Run, matrix
from mien.reporting.wording import best_of, between, number
from mien.subsets import modalities_of
from mien.wording import kind_of, plural

MAX_CLIPS = 20
"""Clips in the table of largest errors."""
COUNTS = (Column("clips", ","), Column("people", ",", "participants in them; a dash if unknown"))
"""The columns beside figures: of the whole split (``_counts``), or of the rated clips of an emotion."""
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 2", "10 4")


def result_table(evaluation: Evaluation) -> Table:
    """A row per emotion and their mean."""
    columns = [
        Column("emotion"), Column("rated", ",", "rated clips"), Column("people", ",", "participants in them"),
        Column("r", ".3f", "Pearson's correlation"),
        Column("95 % interval", ".3f"), Column("CCC", ".3f", "concordance: below r if mean or spread is off"),
        Column("MAE", ".3f", "mean absolute error"), Column("RMSE", ".3f", "root mean square error"),
    ]  # fmt: skip
    rows: list[Row] = [
        (t.target, t.rated, t.people, t.r.value, between(t.r), t.ccc, t.mae, t.rmse) for t in evaluation.targets
    ]
    means = (float(mean_defined([getattr(t, name) for t in evaluation.targets])) for name in ("ccc", "mae", "rmse"))
    of = "" if evaluation.defined == len(evaluation.targets) else f" of {evaluation.defined}"
    rows.append(
        (f"mean{of}", evaluation.clips, evaluation.people, evaluation.mean_r.value, between(evaluation.mean_r), *means)
    )
    return Table("results", "Agreement by emotion", columns, rows, strong=[len(rows) - 1])


def _counts(evaluation: Evaluation) -> tuple[int, int | None]:
    return evaluation.clips, evaluation.people


def result_figure(evaluation: Evaluation) -> list[Figure]:
    """r by emotion with its interval."""
    rows = [Bar(t.target, t.r.value, t.r.low, t.r.high, series(e)) for e, t in enumerate(evaluation.targets)]
    known = sorted((t for t in evaluation.targets if np.isfinite(t.r.value)), key=lambda t: -t.r.value)
    alt = "; ".join(f"{t.target} {number(t.r.value)} ({between(t.r).text})" for t in known) or "undefined"
    columns = [
        Column("emotion"),
        Column("r", ".4f"),
        Column("low", ".4f"),
        Column("high", ".4f"),
        Column("rated", ","),
    ]
    numbers = [(b.name, b.value, b.low, b.high, t.rated) for b, t in zip(rows, evaluation.targets, strict=True)]
    table = Table("r-numbers", "r by emotion", columns, numbers)
    caption = f"Bars are r of the mean over all models; lines are 95 % intervals over {evaluation.resampled}."
    return [Figure("r", "Pearson's r by emotion", caption, f"r, best first: {alt}.", [bars(rows, "r")], table)]


def groups(evaluation: Evaluation) -> list[Table]:
    """Results by subgroup, if there are any."""
    columns = [
        Column("group"), Column("clips", ","), Column("participants", ","), Column("r", ".3f"),
        Column("95 % interval", ".3f"), Column("mean error", "+.3f", "above 0: scored too high"),
        Column("95 % interval of the error", "+.3f"),
    ]  # fmt: skip
    rows = [
        (g.group, g.clips, g.participants, g.r.value, between(g.r), g.error.value, between(g.error, "+.3f"))
        for g in evaluation.groups
    ]
    caption = "Subgroups of people; small groups have wide intervals"
    return [Table("groups", caption, columns, rows)] if rows else []


def agreement(evaluation: Evaluation) -> list[Figure]:
    """Every clip, and the mean rating by predicted score."""
    names = [t.target for t in evaluation.targets]
    rated, predicted = matrix(evaluation.table, "rated", names), matrix(evaluation.table, "predicted", names)
    span = _span(rated, predicted)
    axes = ("predicted", "rated")
    panels = [scatter(predicted[:, e], rated[:, e], series(e), n, axes, span) for e, n in enumerate(names)]
    thinned = (
        f" For {evaluation.clips:,} clips, squares are shaded by their number of clips."
        if evaluation.clips > FEW else ""
    )  # fmt: skip
    spread = [
        (t.target, *_mean_and_sd(predicted[known, e]), *_mean_and_sd(rated[known, e]), t.rated, t.people)
        for e, t in enumerate(evaluation.targets)
        for known in [np.isfinite(rated[:, e])]
    ]
    columns = [Column("emotion"), Column("mean predicted", ".4f"), Column("SD predicted", ".4f"),
               Column("mean rated", ".4f"), Column("SD rated", ".4f"), *COUNTS]  # fmt: skip
    narrow, defined = sum(row[2] < row[4] for row in spread), sum(t.rated > 0 for t in evaluation.targets)
    return [
        Figure(
            "scatter", "Predicted and rated, by clip", f"A point per clip.{thinned}",
            f"The spread of predictions is smaller than that of ratings for {narrow} of {defined} emotions; "
            + "; ".join(f"{t.target}: r {number(t.r.value)}" for t in evaluation.targets) + ".",
            panels, Table("scatter-numbers", "Mean and standard deviation of both axes", columns, spread),
        ),
        _calibration(names, predicted, rated, axes),
    ]  # fmt: skip


def _mean_and_sd(values: Array) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (np.nan, np.nan)


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
        "calibration", "Calibration",
        "Mean rating against mean prediction in bins of equal size, ordered by prediction, with two standard errors "
        "(clips treated as independent). The axes end at the outer bins.",
        "Mean distance from the diagonal: " + "; ".join(f"{name} {number(value)}" for name, value in off.items()) + ".",
        panels, Table("calibration-numbers", "Calibration bins", columns, rows),
    )  # fmt: skip


def coverage(evaluation: Evaluation) -> list[Any]:
    """Coverage of the prediction intervals, by emotion and by level."""
    found = evaluation.coverage
    if found is None:
        return []
    names = [t.target for t in evaluation.targets]
    rows = [Bar(name, value, colour=series(e)) for e, (name, value) in enumerate(zip(names, found.found, strict=True))]
    columns = [
        Column("emotion"),
        Column("coverage", ".1%"),
        Column("target", ".0%"),
        Column("mean width", ".3f"),
        *COUNTS,
    ]
    numbers = [
        (t.target, f, found.level, w, t.rated, t.people)
        for t, f, w in zip(evaluation.targets, found.found, found.width, strict=True)
    ]
    own = evaluation.coverage_note
    return [
        Figure(
            "coverage", "Coverage of the prediction intervals",
            f"Share of ratings inside the {found.level:.0%} interval of their prediction. Dashed: the target."
            f"{f' {own[0].upper()}{own[1:]}.' if own else ''}",
            "Coverage: " + "; ".join(f"{n} {number(f)}" for n, f in zip(names, found.found, strict=True)) + ".",
            [bars(rows, "coverage", mark=found.level)],
            Table("coverage-numbers", "Coverage and width of the intervals", columns, numbers),
        ),
        *_coverage_levels(found),
    ]  # fmt: skip


def _coverage_levels(found: Coverage) -> list[Table]:
    """Coverage where scores, or ratings, are low or high. A model states it for scores; ratings are not known to it."""
    columns = [
        Column("level of the"), Column("from", ".2f"), Column("to", ".2f"), Column("coverage", ".1%"),
        Column("mean width", ".3f"), Column("ratings", ",d"),
    ]  # fmt: skip
    rows = [(one.of, one.low, one.high, one.found, one.width, one.rated) for one in found.levels if one.rated]
    title = "Coverage by level of the score, which intervals are calibrated for, and of the rating, which they are not"
    return [Table("coverage-levels", title, columns, rows)] if rows else []


def subsets(evaluation: Evaluation, run: Run) -> list[Any]:
    """Mean r with subsets of the modalities, and of each encoder trained alone."""
    alone = [Bar(name, float(mean_defined(r).mean())) for name, r in run.r.items() if name in run.modalities]
    made: list[Any] = []
    if evaluation.subsets:
        given = {" + ".join(modalities_of(name)): r for name, r in evaluation.subsets.items()}
        rows = best_first(itertools.starmap(Bar, given.items()))
        members = [frozenset(bar.name.split(" + ")) for bar in rows]
        columns = [Column("given"), Column("mean r", ".4f"), *COUNTS]
        numbers = [(bar.name, bar.value, *_counts(evaluation)) for bar in rows]
        table = Table("subsets-numbers", "Mean r by modalities given", columns, numbers)  # fmt: skip
        alone_in_model = ", ".join(f"{bar.name} {number(bar.value)}" for bar in rows if " + " not in bar.name)
        made.append(Figure(
            "subsets", f"All {len(rows)} subsets of the modalities",
            "Mean r over the emotions of the fused model with only the modalities marked by a dark dot.",
            f"{best_of(rows[0].name, rows[0].value)}. Single modalities: {alone_in_model}.",
            [memberships(rows, members, run.modalities, "mean r")], table,
        ))  # fmt: skip
    if alone:
        people = run.split["participants"]
        columns = [Column("modality"), Column("mean r", ".4f"), *COUNTS]
        numbers = [(bar.name, bar.value, run.split["valid"], people[1] if people else None) for bar in alone]
        table = Table("alone-numbers", "Mean r of encoders trained alone", columns, numbers)
        made.append(Figure(
            "alone", "Encoders of stage 1",
            "Mean over emotions, then over seeds, on the validation clips.",
            "; ".join(f"{bar.name} {number(bar.value)}" for bar in alone) + ".", [bars(alone, "mean r")], table,
        ))  # fmt: skip
    return made


def robustness(evaluation: Evaluation) -> list[Figure]:
    """Mean r when a modality is removed from a share of the clips."""
    if not evaluation.missing:
        return []
    curves = [Line(list(r), series(m), DASHES[m % len(DASHES)]) for m, r in enumerate(evaluation.missing.values())]
    keys = [Key(f"without {name}", c.colour, c.dash) for name, c in zip(evaluation.missing, curves, strict=True)]
    known = [float(value) for r in evaluation.missing.values() for value in r if np.isfinite(value)]
    low, high = min([0.0, *known]), max(known, default=1.0)
    columns = [
        Column("modality removed"),
        *(Column(f"from {share:.0%}", ".4f") for share in evaluation.shares),
        *COUNTS,
    ]
    fall = {name: float(r[-1] - r[0]) for name, r in evaluation.missing.items()}
    labels, span = ("share of clips without it", "mean r"), (low, high * 1.06)
    return [
        Figure(
            "missing", "Robustness to missing modalities",
            "Mean r over all clips of the split when one modality is removed from a random share of them.",
            _matters_most(fall),
            [lines(evaluation.shares, curves, "", labels, 400, 270, span, dots=True, share=True)],
            Table("missing-numbers", "Mean r by share of clips without a modality", columns,
                  [(name, *map(float, r), *_counts(evaluation)) for name, r in evaluation.missing.items()]), keys,
        )
    ]  # fmt: skip


def _matters_most(fall: Mapping[str, float]) -> str:
    """The change of mean r by modality removed, the largest loss first; a modality whose removal changes nothing, as
    one that no clip has, does not matter most."""
    worst = min((name for name in fall if round(fall[name], 3) < 0), key=lambda name: fall[name], default=None)
    others = ", ".join(f"{name} {number(value, '+.3f')}" for name, value in fall.items() if name != worst)
    if worst is None:
        return f"When it is removed from every clip: {others}."
    most = f"{worst.capitalize()} matters most: {number(fall[worst], '+.3f')} when it is removed from every clip"
    return f"{most}; {others}." if others else f"{most}."


def missing(evaluation: Evaluation, whole: bool) -> list[Any]:
    """Missing modalities, by reason."""
    if not whole or "absent" not in evaluation.table.column_names:
        return []
    clips: dict[tuple[str, str], list[str]] = {}
    wording: dict[tuple[str, str], set[str]] = {}
    for clip, text in zip(evaluation.table["clip"].to_pylist(), evaluation.table["absent"].to_pylist(), strict=True):
        for part in filter(None, text.split("; ")):
            modality, _, reason = part.partition(": ")
            kind = (modality, kind_of(reason))  # "no face in 40 frames" is one reason with another number
            clips.setdefault(kind, []).append(clip)
            wording.setdefault(kind, set()).add(reason)
    if not clips:
        return [Prose([f"No modality was missing from any of the {plural(evaluation.clips, 'clip')}."])]
    columns = [Column("modality"), Column("reason"), Column("clips", ","), Column("share", ".1%"), Column("first")]
    rows = [
        (
            kind[0],
            wording[kind].pop() if len(wording[kind]) == 1 else kind[1],
            len(found),
            len(found) / evaluation.clips,
            found[0],
        )
        for kind, found in sorted(clips.items(), key=lambda item: -len(item[1]))
    ]
    return [Table("absent", "Missing modalities of the evaluated clips, by reason", columns, rows)]


def worst(evaluation: Evaluation) -> Table:
    """The clips with the largest errors."""
    names = [t.target for t in evaluation.targets]
    rated, predicted = matrix(evaluation.table, "rated", names), matrix(evaluation.table, "predicted", names)
    off = predicted - rated
    mean = np.where(np.isfinite(off).any(1), mean_defined(np.abs(off)), -1.0)
    order = np.argsort(-mean, kind="stable")[:MAX_CLIPS]
    explained = "absent" in evaluation.table.column_names
    columns = [
        Column("clip"), Column("participant"), Column("mean error", ".3f"), Column("largest error"),
        Column("predicted", ".3f"), Column("rated", ".3f"), *([Column("missing")] if explained else []),
    ]  # fmt: skip
    rows = []
    for place in (int(n) for n in order if mean[n] >= 0):
        most = int(np.nanargmax(np.abs(off[place])))
        way = "too high" if off[place, most] > 0 else "too low"
        row = _row(evaluation.table, place)
        lacks = [row["absent"] or "none"] if explained else []
        rows.append((
            row["clip"], row["participant"] or "–", float(mean[place]), f"{names[most]}, {way}",
            float(predicted[place, most]), float(rated[place, most]), *lacks,
        ))  # fmt: skip
    return Table("worst", f"The {len(rows)} clips with the largest mean absolute error", columns, rows)


def _row(table: pa.Table, place: int) -> dict[str, Any]:
    return table.slice(place, 1).to_pylist()[0]


def _span(*values: Array) -> tuple[float, float]:
    """Limits of both axes: from 0 or below to the largest value, rounded outwards."""
    known = np.concatenate([np.ravel(value) for value in values])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    step = 10.0 ** np.floor(np.log10(max(high - min(low, 0.0), 1e-9))) / 5
    return min(0.0, float(np.floor(low / step) * step)), float(np.ceil(high / step) * step)
