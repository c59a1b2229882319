"""Tables that training and evaluation print: metrics with their uncertainty."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from mien import terminal
from mien.cli.printing import console
from mien.metrics import FEWEST, mean_defined
from mien.storage.files import read_json
from mien.subsets import modalities_of
from mien.wording import decimal, plural

if TYPE_CHECKING:
    from mien.evaluation.results import Evaluation
    from mien.metrics import Interval, PairedTest
    from mien.scores.summary import Summary
    from mien.study.plan import Plan
    from mien.study.results import Results
    from mien.study.study import Estimate
    from mien.study.tune import Search
    from mien.training import RunSummary
    from mien.training.pooled import CrossValidation


def print_run(summary: "RunSummary") -> None:
    """Validation r of every model of a run: mean and standard deviation over seeds."""
    table = Table("validation r", *summary.targets, "mean", "± seeds", box=None)
    for name, r in summary.r.items():
        means = np.array([np.mean(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in r])
        spread = f"{means.std(ddof=1):.4f}" if len(means) > 1 else "–"
        table.add_row(name, *cells(r.mean(0)), number(float(means.mean())), spread)
    console.print(table)
    split = read_json(summary.folder / "split.json")
    people = split["participants"]
    of = f"of {plural(people[1], 'participant')}" if people else "of unknown participants, treated as independent"
    inner = split.get("inner")
    use = "which training did not use" if inner else "which chose the best epoch"
    console.print(f"on {plural(split['valid'], 'validation clip')} {of}, {use}; split rule: {split['rule']}")
    if inner:
        console.print(
            f"of the training clips, {inner['train']:,} trained the models and {inner['valid']:,} chose the epochs and "
            f"calibrated scores and intervals: {inner['rule']}"
        )
    if summary.refit:
        console.print(
            f"then trained again on all {split['train'] + split['valid']:,} clips; r is of the models before that, and "
            f"{summary.folder / 'stage2'} is their fused one"
        )
    for note in summary.dips:
        console.print(f"note: {note}")
    console.print(f"{summary.folder}: trained in {summary.seconds:.0f} s; the model is in {summary.folder / 'model'}")


def print_cross_validation(result: "CrossValidation") -> None:
    """Pooled r with intervals, r per fold, and the files."""
    title = f"pooled over {len(result.folds)} folds"
    table = Table(title, "r", "95 % interval", "CCC", "MAE", "rated", "people", box=None)
    for target in result.targets:
        table.add_row(target.target, number(target.r.value), between(target.r), number(target.ccc), number(target.mae),
                      str(target.rated), known(target.people))  # fmt: skip
    table.add_row("mean", number(result.mean_r.value), between(result.mean_r), "", "", str(result.clips),
                  known(result.people))  # fmt: skip
    console.print(table)
    names = [target.target for target in result.targets]
    table = Table("fold", *names, "mean", "clips", "people", box=None)
    for fold in result.folds:
        table.add_row(str(fold.fold), *cells(fold.r), number(fold.mean_r), str(fold.clips), known(fold.people))
    console.print(table)
    console.print(f"r of out-of-fold scores; intervals over {result.resampled}. Epochs were chosen on other clips")
    for target in result.targets:
        if target.why_undefined:
            console.print(f"{target.target}: r undefined, {target.why_undefined}")
    for note in result.notes:
        console.print(f"note: {note}")
    console.print(f"{result.folder}: predictions.parquet, predictions.csv and results.json written")


def print_estimate(estimate: "Estimate", plan: "Plan") -> None:
    """Work and time of a study."""
    console.print(
        f"{plan.title}: {plural(estimate.cells, 'cell')} along {', '.join(plan.axes)}; {estimate.done} done, "
        f"{plural(estimate.trainings, 'training')} to do"
    )  # fmt: skip
    if estimate.trials:
        console.print(f"before that, {plural(estimate.trials, 'trial')} on an inner split, the same for every cell")
    if estimate.damaged:
        console.print(f"{estimate.damaged} cells are damaged on disk and are computed again")
    if estimate.trainings:
        most, fewest = max(estimate.models), min(estimate.models)
        console.print(
            f"{sum(estimate.models)} models, {fewest} to {most} at once; roughly {estimate.seconds / 60:.0f} minutes "
            "on this machine"
        )
    if estimate.backbones:
        console.print(
            f"not counted: {plural(estimate.backbones, 'training')} of backbones, minutes to hours each; mien train "
            "with the settings of a cell says its cost before it starts"
        )


def print_study(results: "Results", failed: Sequence[str], report: Path) -> None:
    """A row per cell, the failures, and the path of the report."""
    from mien.study.report import cells_table, statements

    header, rows = cells_table(results)
    shown = len(results.plan.axes) + 8
    table = Table(*header[:shown], box=None)
    for row in rows:
        table.add_row(*row[:shown])
    console.print(table)
    for line in (*statements(results), *(f"failed: {reason}" for reason in failed)):
        console.print(f"- {line}")
    console.print(f"report: {report}")


def print_search(search: "Search", recipe: Path) -> None:
    """The best trials, and the path of the recipe."""
    names = list(search.space.file.space)
    table = Table("trial", *names, "r on the inner split", box=None)
    ranked = sorted((trial for trial in search.done if trial.r is not None), key=lambda trial: -(trial.r or 0.0))
    for trial in ranked[:10]:
        chosen = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial.chosen.values())
        table.add_row(str(trial.number), *chosen, number(trial.r or 0.0))
    console.print(table)
    trials = plural(len(search.done), "trial")
    console.print(f"the best of {trials} is in {recipe}; to evaluate it: mien train … --config {recipe}")


def print_evaluation(result: "Evaluation") -> None:
    """What it is based on, a table per question, and the notes."""
    terminal.say(result.basis)
    title = f"{result.split}: {plural(result.clips, 'rated clip')}, intervals over {result.resampled}"
    table = Table(title, "r", "95 % interval", "CCC", "MAE", "RMSE", "rated", "people", box=None)
    for target in result.targets:
        table.add_row(
            target.target, number(target.r.value), between(target.r), number(target.ccc), number(target.mae),
            number(target.rmse), str(target.rated), known(target.people),
        )  # fmt: skip
    mean = f"mean of {result.defined}"
    table.add_row(mean, number(result.mean_r.value), between(result.mean_r), number(result.mean_ccc), "", "",
                  str(result.clips), known(result.people))  # fmt: skip
    console.print(table)
    if len(result.seeds) > 1:
        console.print(
            f"the {len(result.seeds)} models alone: r {np.mean(result.seeds):.4f} ± {np.std(result.seeds, ddof=1):.4f}"
        )
    _print_subsets(result)
    for group in result.groups:
        people = "" if group.participants is None else f" of {plural(group.participants, 'participant')}"
        console.print(
            f"group {group.group}: {plural(group.clips, 'clip')}{people}, r {number(group.r.value)} "
            f"{between(group.r)}, mean error {number(group.error.value)} {between(group.error)}"
        )  # fmt: skip
    if result.coverage is not None:
        share, width = (float(mean_defined(values)) for values in (result.coverage.found, result.coverage.width))
        console.print(
            f"prediction intervals: {number(share, '.1%')} coverage (target {result.coverage.level:.0%}), "
            f"width {number(width)}"
        )
        if result.coverage_note:
            console.print(f"note: {result.coverage_note}")
    for target in result.targets:
        if target.why_undefined:
            console.print(f"{target.target}: r undefined, {target.why_undefined}")
    for note in result.notes:
        console.print(f"note: {note}")


def _print_subsets(result: "Evaluation") -> None:
    """r by subset of modalities, and with a modality missing from a share of the clips."""
    if not result.subsets:
        return
    table = Table("only", "mean r", box=None)
    for name, r in result.subsets.items():
        table.add_row(" + ".join(modalities_of(name)), number(r))
    console.print(table)
    table = Table("mean r, missing from", *(f"{share:.0%}" for share in result.shares), box=None)
    for name, curve in result.missing.items():
        table.add_row(name, *cells(curve))
    console.print(table)


def print_comparison(tests: "Mapping[str, PairedTest]") -> None:
    """Second model minus first, by emotion and in the mean."""
    table = Table("second - first", "r", "95 % interval", "p", "clips", "people", box=None)
    for name, test in tests.items():
        table.add_row(name, number(test.difference.value, "+.4f"), between(test.difference, "+.4f"), p_value(test.p),
                      f"{test.clips:,}", known(test.participants))  # fmt: skip
    console.print(table)
    if few := [name for name, test in tests.items() if not np.isfinite(test.p)]:
        console.print(
            f"note: no interval and no p for {', '.join(few)}: they need rated clips of {FEWEST} participants (of "
            f"unknown ones, {FEWEST} clips), and an r that is defined in both models"
        )
    if any(test.participants is None for test in tests.values()):
        console.print("note: participants are not all known: intervals resample clips and may be too narrow")


def print_summary(made: "Summary") -> None:
    """Means, differences, then excluded clips and notes."""
    less = f", less that in {made.baseline}" if made.baseline else ""
    table = Table("condition", "target", f"mean over people{less}", "95 % interval", "people", "clips", box=None)
    for mean in made.means:
        found = mean.mean
        table.add_row(
            mean.condition, mean.target, number(found.value), between(found), str(mean.people), str(mean.clips)
        )
    console.print(table)
    table = Table("difference", "target", "value", "95 % interval", "people", "clips", "effect", "p", "q",
                  box=None)  # fmt: skip
    for c in made.contrasts:
        name, found = f"{c.second} - {c.first} ({c.design})", c.difference
        table.add_row(name, c.target, number(found.value, "+.3f"), between(found, "+.3f"), str(c.people), str(c.clips),
                      number(c.effect, ".2f"), p_value(c.p), p_value(c.q))  # fmt: skip
    if made.contrasts:
        console.print(table)
    for entry in made.excluded:
        console.print(f"{plural(entry.clips, 'clip')} excluded: {entry.reason} (first: {entry.first})")
    for note in made.notes:
        console.print(f"note: {note}")


def between(found: "Interval", digits: str = ".3f") -> str:
    """The two ends of an interval."""
    return f"{decimal(found.low, digits)} to {decimal(found.high, digits)}" if np.isfinite(found.low) else "–"


def cells(values: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers for a row of a table."""
    return [number(float(value)) for value in values]


def known(people: int | None) -> str:
    """A number of participants, or that they are unknown."""
    return "unknown" if people is None else f"{people:,}"


def p_value(value: float) -> str:
    """Four decimals; a smaller p is not 0.

    >>> p_value(0.00314), p_value(2e-7), p_value(float("nan"))
    ('0.0031', '<0.0001', '–')
    """
    return "<0.0001" if value < 0.0001 else number(value, ".4f")


def number(value: float, digits: str = ".3f") -> str:
    """Three decimals, or a dash where there is no number.

    >>> number(float("nan"))
    '–'
    """
    return decimal(value, digits) if np.isfinite(value) else "–"
