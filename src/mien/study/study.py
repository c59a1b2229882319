"""Runs a study: trains the cells that are missing, by several processes, compares all and writes the report."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mien.features.layers import inputs_of
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.model.heads import HEADS
from mien.scale import Cluster, Failed, Pool, run
from mien.schema import Manifest
from mien.storage.exclusive import exclusive_writer
from mien.study.cells import CellBatch, EncoderJob, StudyContext, Work, check_out, parts, plan_work
from mien.study.plan import Cell, Plan
from mien.study.report import write_report
from mien.study.results import Results, compare_cells
from mien.study.reviewer_questions import review_questions
from mien.study.trials import cells_by_context, how_tuned, trials_of, with_best_trials, write_trials
from mien.study.tune import how_chosen
from mien.study.worker import Workers
from mien.training.adapt import adapted_modalities
from mien.training.run_folder import write_split

Done = tuple[Work, tuple[str, ...] | Failed]
Progress = Callable[[Iterable[Done], int], Iterable[Done]]
"""Passes on pieces of work as they complete; the second argument is their number. For progress."""

EPOCHS = 25
"""Epochs that a training is expected to take with early stopping."""

SHARE = 0.5
"""Speed of training relative to bare matrix products."""


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a study.

    Attributes:
        cells: number of cells.
        done: number of cells that are reused.
        trainings: batches of models that are still to be trained, stage 1 and fusion.
        models: number of models in each of them.
        seconds: rough estimate for this machine, from the operations of the trainings and its speed.
        damaged: cells whose stored results are damaged, so that they are computed again.
        backbones: trainings with backbones, one for each seed; their time is not in ``seconds``.
        trials: of all cells, on an inner split; what is still to be trained of them is in the other numbers.
    """

    cells: int
    done: int
    trainings: int
    models: tuple[int, ...]
    seconds: float
    damaged: int = 0
    backbones: int = 0
    trials: int = 0


def estimate(plan: Plan, manifest: Manifest, features: Path, out: Path) -> Estimate:
    """Estimate the cost of a study without training anything."""
    context = StudyContext(manifest, features, out)
    works: list[tuple[StudyContext, Work]] = []
    tried: list[CellBatch] = []
    trials = trials_of(plan, context)
    for inner, cells in cells_by_context(trials):
        tried_encoders, batches = plan_work(inner, cells)
        works += [(inner, work) for work in (*tried_encoders, *batches)]
        tried += batches
    if not tried:
        plan = with_best_trials(plan, trials)
    encoders, batches = plan_work(context, plan.cells)
    pending = sum(len(batch.cells) for batch in batches)
    works += [(context, work) for work in (*encoders, *batches)]
    store = Store(features)
    costs = [_operations(where, store, work) for where, work in works]
    models = tuple(_models(work) for _, work in works)
    cells = [cell for batch in (*batches, *tried) for cell in batch.cells]
    backbones = sum(len(cell.settings.seeds) for cell in cells if adapted_modalities(cell.settings))
    return Estimate(
        len(plan.cells), len(plan.cells) - pending, len(models), models, sum(costs) / _speed() if costs else 0.0,
        context.damaged(plan.cells), backbones, len(trials),
    )  # fmt: skip


def run_study(
    plan: Plan,
    manifest: Manifest,
    features: Path,
    out: Path,
    workers: Pool = 0,
    progress: Progress = lambda work, _: iter(work),
) -> tuple[Results, tuple[str, ...], Path]:
    """Compute what is missing, compare, and write ``study.json``, from which ``mien.reporting`` makes the report.

    Args:
        plan: from ``read_study``.
        manifest: rated clips with splits.
        features: the store of their features.
        out: folder of the study; the same call continues an interrupted one.
        workers: processes, each with its own copy of the features, or a cluster; 0 works in this one.
        progress: wraps the pieces of work as they complete, to show progress.

    Returns:
        The results, why cells failed (a line each), and ``study.json``.

    Raises:
        DataError: clips were replaced since their features were extracted, or a result cannot be checked.
        InUse: another process is writing to the study.
        OutputError: its folder cannot be written; finished cells stay.
    """
    check_unchanged(Store(features), manifest.clips, plan.reference.settings.modalities)
    check_out(out)
    with exclusive_writer(out):
        return _run_study(plan, manifest, features, out, workers, progress)


def _run_study(
    plan: Plan, manifest: Manifest, features: Path, out: Path, workers: Pool, progress: Progress
) -> tuple[Results, tuple[str, ...], Path]:
    compute = plan.reference.settings.compute
    context = StudyContext(manifest, features, out)
    reasons: list[str] = []
    if trials := trials_of(plan, context):
        for inner, cells in cells_by_context(trials):
            reasons += _compute(Workers.of_pool(inner, compute, workers), cells, workers, progress)
        write_trials(out / "trials.csv", trials)
        plan = with_best_trials(plan, trials)
    reasons += _compute(Workers.of_pool(context, compute, workers), plan.cells, workers, progress)
    results, split = compare_cells(plan, context), context.split(plan.reference.settings)
    write_split(out, split, Store(features))
    return (
        results,
        tuple(reasons),
        write_report(results, review_questions(results, split, how_chosen(plan.recipe, split) + how_tuned(plan)), out),
    )


def _compute(make_worker: Workers, cells: Sequence[Cell], workers: Pool, progress: Progress) -> list[str]:
    """Compute the cells that are missing; returns why cells failed."""
    encoders, batches = plan_work(make_worker.context, cells)
    reasons: list[str] = []
    done = _all(make_worker, encoders, batches, workers)
    for work, failed in progress(done, len(encoders) + len(batches)):
        reasons += [f"{_name(work)}: {failed.reason}"] if isinstance(failed, Failed) else failed
    return reasons


def _all(make_worker: Workers, encoders: list[EncoderJob], batches: list[CellBatch], workers: Pool) -> Iterator[Done]:
    """Stage 1 first; then the largest batches first, so that the processes finish at about the same time."""
    yield from _run_twice(make_worker, encoders, workers)
    context = make_worker.context
    store = Store(context.features)
    yield from _run_twice(make_worker, sorted(batches, key=lambda b: -_operations(context, store, b)), workers)


def _run_twice(make_worker: Workers, works: Sequence[Work], workers: Pool) -> Iterator[Done]:
    """Work that killed its process (perhaps out of memory) is retried once, cell by cell in a single process."""
    died: list[Work] = []
    for work, outcome in run(make_worker, works, workers=workers if works else 0):  # no cluster for nothing
        if isinstance(outcome, Failed):
            died.append(work)
        else:
            yield work, outcome
    if died:
        single = replace(workers, workers=1) if isinstance(workers, Cluster) else 1
        yield from run(make_worker, [part for work in died for part in parts(work)], workers=single)


def _models(work: Work) -> int:
    settings = work.settings if isinstance(work, EncoderJob) else work.cells[0].settings
    return len(settings.seeds) * (1 if isinstance(work, EncoderJob) else len(work.cells))


def _operations(context: StudyContext, store: Store, work: Work) -> float:
    """Rough number of floating-point operations: all clips, forward and backward, in every epoch."""
    settings = work.settings if isinstance(work, EncoderJob) else work.cells[0].settings
    if isinstance(work, CellBatch) and work.cells[0].method != "train":
        return 1e12 * len(work.cells)
    names = (work.modality,) if isinstance(work, EncoderJob) else settings.modalities
    stage = settings.stage1 if isinstance(work, EncoderJob) else settings.stage2
    read = [one.feature for one in inputs_of(store, settings.backbone, names).values()]
    rows = [row for (_, name), row in store.rows.items() if name in read and row.steps]
    longest = settings.stage1.longest_steps
    pooling = 4.0 * sum(min(row.steps, longest) * row.width for row in rows)  # scores and averages
    parameters = sum({row.width for row in rows}) * settings.stage1.embedding
    if isinstance(work, CellBatch):
        fusion = len(names) * settings.stage1.embedding * settings.stage2.hidden
        if HEADS[settings.stage2.head].reads_steps:
            parameters, pooling = parameters * longest, 0.0
        frozen = settings.stage2.adaptation == "frozen"
        parameters, pooling = (fusion, 0.0) if frozen else (fusion + parameters, pooling)
    clips = len(context.split(settings).train) + len(context.split(settings).valid) / 3
    epochs = min(stage.epochs, EPOCHS) if stage.patience else stage.epochs
    return 3 * epochs * _models(work) * (2 * clips * parameters + pooling)


def _speed() -> float:
    """Floating-point operations per second of training, measured with batched matrix products."""
    x, weights, offsets = torch.ones(8, 256, 1024), torch.ones(8, 1024, 384), torch.zeros(8, 1, 384)
    begin, times = time.monotonic(), 0
    while times < 3 or time.monotonic() - begin < 0.3:
        torch.baddbmm(offsets, x, weights)
        times += 1
    return SHARE * times * 2 * x.numel() * weights.shape[2] / (time.monotonic() - begin)


def _name(work: Work) -> str:
    return work.modality if isinstance(work, EncoderJob) else "; ".join(cell.name for cell in work.cells)
