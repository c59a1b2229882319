"""A whole study: what is still missing is trained, by several processes, and everything is compared and reported."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.compute.device import choose_threads
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.model.heads import HEADS
from mien.scale import Failed, run
from mien.schema import Manifest
from mien.storage.exclusive import exclusive_writer
from mien.study.cells import CellBatch, EncoderJob, StudyContext, Work, check_place, parts, plan_work
from mien.study.plan import Plan
from mien.study.report import write_report
from mien.study.results import Results, judge
from mien.study.reviewer_questions import referee
from mien.study.tune import chosen_by
from mien.training.run_folder import write_split

Done = tuple[Work, tuple[str, ...] | Failed]
Watch = Callable[[Iterable[Done], int], Iterable[Done]]
"""Passes on pieces of work as they are done, and may count them; told how many there are."""

EPOCHS = 25
"""How many epochs a training takes until patience ends it."""

SHARE = 0.5
"""How much of the speed of bare matrix products a training reaches."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        cells: all of them.
        done: those that need not be computed again.
        trainings: batches of models that are still to be trained, stage 1 and fusion.
        models: in each of them.
        seconds: roughly, on this machine, by the arithmetic of the trainings and how fast it is done here.
        damaged: cells that were done, but are damaged on the disk and so are done again.
    """

    cells: int
    done: int
    trainings: int
    models: tuple[int, ...]
    seconds: float
    damaged: int = 0


def estimate(plan: Plan, manifest: Manifest, features: Path, out: Path) -> Estimate:
    """Say what a study will take, without computing anything."""
    laboratory = StudyContext(manifest, features, out)
    encodings, batches = plan_work(laboratory, plan.cells)
    store = Store(features)
    costs = [_arithmetic(laboratory, store, work) for work in (*encodings, *batches)]
    still = sum(len(batch.cells) for batch in batches)
    models = tuple(_models(work) for work in (*encodings, *batches))
    return Estimate(
        len(plan.cells), len(plan.cells) - still, len(models), models, sum(costs) / _speed() if costs else 0.0,
        laboratory.damaged(plan.cells),
    )  # fmt: skip


def run_study(
    plan: Plan,
    manifest: Manifest,
    features: Path,
    out: Path,
    workers: int = 0,
    watch: Watch = lambda work, _: iter(work),
) -> tuple[Results, tuple[str, ...], Path]:
    """Compute what is missing, compare, and write ``study.json``, from which ``mien.reporting`` makes the report.

    Args:
        plan: from ``read_study``.
        manifest: rated clips with splits.
        features: the store of their features.
        out: folder of the study; the same call continues an interrupted one.
        workers: processes, each with its own copy of the features; 0 works in this one.
        watch: told of every piece of work that is done.

    Returns:
        The results, why cells failed (a line each), and ``study.json``.

    Raises:
        DataError: clips were replaced since their features were made, or a result cannot be checked.
        InUse: another process is writing to the study.
        OutputError: its folder cannot be written; finished cells stay.
    """
    check_unchanged(Store(features), manifest.clips, plan.reference.settings.modalities)
    check_place(out)
    with exclusive_writer(out):
        return _run_study(plan, manifest, features, out, workers, watch)


def _run_study(
    plan: Plan, manifest: Manifest, features: Path, out: Path, workers: int, watch: Watch
) -> tuple[Results, tuple[str, ...], Path]:
    compute = plan.reference.settings.compute
    threads = choose_threads(compute, workers) if workers or compute.threads else 0
    laboratory = StudyContext(manifest, features, out, threads)
    encodings, batches = plan_work(laboratory, plan.cells)
    reasons: list[str] = []
    for work, failed in watch(_all(laboratory, encodings, batches, workers), len(encodings) + len(batches)):
        reasons += [f"{_name(work)}: {failed.reason}"] if isinstance(failed, Failed) else failed
    results, split = judge(plan, laboratory), laboratory.split(plan.reference.settings)
    write_split(out, split)
    return results, tuple(reasons), write_report(results, referee(results, split, chosen_by(plan.recipe)), out)


def _all(
    laboratory: StudyContext, encodings: list[EncoderJob], batches: list[CellBatch], workers: int
) -> Iterator[Done]:
    """Stage 1 before what rests on it; the largest batches first, so that no process is left alone at the end."""
    yield from _run_twice(laboratory, encodings, workers)
    store = Store(laboratory.features)
    yield from _run_twice(laboratory, sorted(batches, key=lambda b: -_arithmetic(laboratory, store, b)), workers)


def _run_twice(laboratory: StudyContext, works: Sequence[Work], workers: int) -> Iterator[Done]:
    """What a process died at is tried once more, cell by cell and with nothing beside it: memory was short, perhaps."""
    died: list[Work] = []
    for work, outcome in run(laboratory, works, workers=workers):
        if isinstance(outcome, Failed):
            died.append(work)
        else:
            yield work, outcome
    yield from run(laboratory, [part for work in died for part in parts(work)], workers=1)


def _models(work: Work) -> int:
    settings = work.settings if isinstance(work, EncoderJob) else work.cells[0].settings
    return len(settings.seeds) * (1 if isinstance(work, EncoderJob) else len(work.cells))


def _arithmetic(laboratory: StudyContext, store: Store, work: Work) -> float:
    """Floating-point operations, roughly: all clips, forward and back, in every epoch."""
    settings = work.settings if isinstance(work, EncoderJob) else work.cells[0].settings
    if isinstance(work, CellBatch) and work.cells[0].method != "train":
        return 1e12 * len(work.cells)
    names = (work.modality,) if isinstance(work, EncoderJob) else settings.modalities
    stage = settings.stage1 if isinstance(work, EncoderJob) else settings.stage2
    rows = [row for (_, name), row in store.rows.items() if name in names and row.steps]
    most = settings.stage1.longest_steps
    pooling = 4.0 * sum(min(row.steps, most) * row.width for row in rows)  # scores and averages
    parameters = sum({row.width for row in rows}) * settings.stage1.embedding
    if isinstance(work, CellBatch):
        fusion = len(names) * settings.stage1.embedding * settings.stage2.hidden
        if HEADS[settings.stage2.head].reads_steps:
            parameters, pooling = parameters * most, 0.0
        still = settings.stage2.adaptation == "frozen"
        parameters, pooling = (fusion, 0.0) if still else (fusion + parameters, pooling)
    clips = len(laboratory.split(settings).train) + len(laboratory.split(settings).valid) / 3
    epochs = min(stage.epochs, EPOCHS) if stage.patience else stage.epochs
    return 3 * epochs * _models(work) * (2 * clips * parameters + pooling)


def _speed() -> float:
    """Floating-point operations per second that training reaches here, from a moment of batched matrix products."""
    x, weights, offsets = torch.ones(8, 256, 1024), torch.ones(8, 1024, 384), torch.zeros(8, 1, 384)
    begin, times = time.monotonic(), 0
    while times < 3 or time.monotonic() - begin < 0.3:
        torch.baddbmm(offsets, x, weights)
        times += 1
    return SHARE * times * 2 * x.numel() * weights.shape[2] / (time.monotonic() - begin)


def _name(work: Work) -> str:
    return work.modality if isinstance(work, EncoderJob) else "; ".join(cell.name for cell in work.cells)
