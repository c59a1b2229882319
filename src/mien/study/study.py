"""A whole study: what is still missing is trained, by several processes, and everything is compared and reported."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.features.store import Store
from mien.model.heads import READS_STEPS
from mien.scale import Failed, cores, run
from mien.schema import Manifest
from mien.study.cells import Batch, Encoding, Laboratory, Work, plan_work
from mien.study.plan import Plan
from mien.study.report import write_report
from mien.study.results import Results, judge

Done = tuple[Work, tuple[str, ...] | Failed]
Watch = Callable[[Iterable[Done], int], Iterable[Done]]
"""Passes on pieces of work as they are done, and may count them; told how many there are."""

SECONDS_PER_PARAMETER, SECONDS_PER_NUMBER, EPOCHS = 4e-9, 3e-9, 20
"""Of one step of one model, and of one number of the features in one epoch of a batch of models, measured on two cores;
and how many epochs a training takes until it stops. For an estimate only."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        cells: all of them.
        done: those that need not be computed again.
        trainings: batches of models that are still to be trained, stage 1 and fusion.
        models: in each of them.
        seconds: roughly, on two cores.
    """

    cells: int
    done: int
    trainings: int
    models: tuple[int, ...]
    seconds: float


def estimate(plan: Plan, manifest: Manifest, features: Path, out: Path) -> Estimate:
    """Say what a study will take, without computing anything."""
    laboratory = Laboratory(manifest, features, out)
    encodings, batches = plan_work(laboratory, plan.cells)
    store = Store(features)
    costs = [_cost(laboratory, store, work) for work in (*encodings, *batches)]
    still = sum(len(batch.cells) for batch in batches)
    models = tuple(_models(work) for work in (*encodings, *batches))
    return Estimate(len(plan.cells), len(plan.cells) - still, len(models), models, sum(costs))


def run_study(
    plan: Plan,
    manifest: Manifest,
    features: Path,
    out: Path,
    workers: int = 0,
    watch: Watch = lambda work, _: iter(work),
) -> tuple[Results, tuple[str, ...], Path]:
    """Compute what is missing, compare, and write the report.

    Args:
        plan: from ``read_study``.
        manifest: rated clips with splits.
        features: the store of their features.
        out: folder of the study; the same call continues an interrupted one.
        workers: processes, each with its own copy of the features; 0 works in this one.
        watch: told of every piece of work that is done.

    Returns:
        The results, why cells failed (a line each), and the report's file.
    """
    out.mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(manifest, features, out, max(1, cores() // workers) if workers else 0)
    encodings, batches = plan_work(laboratory, plan.cells)
    reasons: list[str] = []
    for work, failed in watch(_all(laboratory, encodings, batches, workers), len(encodings) + len(batches)):
        reasons += [f"{_name(work)}: {failed.reason}"] if isinstance(failed, Failed) else failed
    results = judge(plan, laboratory)
    return results, tuple(reasons), write_report(results, out)


def _all(laboratory: Laboratory, encodings: list[Encoding], batches: list[Batch], workers: int) -> Iterator[Done]:
    """Stage 1 before what rests on it; the largest batches first, so that no process is left alone at the end."""
    yield from run(laboratory, encodings, workers=workers)
    store = Store(laboratory.features)
    yield from run(laboratory, sorted(batches, key=lambda b: -_cost(laboratory, store, b)), workers=workers)


def _models(work: Work) -> int:
    settings = work.settings if isinstance(work, Encoding) else work.cells[0].settings
    return len(settings.seeds) * (1 if isinstance(work, Encoding) else len(work.cells))


def _cost(laboratory: Laboratory, store: Store, work: Work) -> float:
    """Seconds, roughly."""
    settings = work.settings if isinstance(work, Encoding) else work.cells[0].settings
    names = (work.modality,) if isinstance(work, Encoding) else settings.modalities
    stage = settings.stage1 if isinstance(work, Encoding) else settings.stage2
    if isinstance(work, Batch) and work.cells[0].method != "train":
        return 10.0 * len(work.cells)
    rows = [row for (_, name), row in store.rows.items() if name in names and row.steps]
    widths = {name: row.width for (_, name), row in store.rows.items() if name in names and row.steps}
    numbers = sum(min(row.steps, settings.stage1.longest_steps) * row.width for row in rows)
    parameters = sum(widths.values()) * settings.stage1.embedding
    if isinstance(work, Batch):
        still = settings.stage2.adaptation == "frozen"
        parameters = (0 if still else parameters) + len(names) * settings.stage1.embedding * settings.stage2.hidden
        numbers = 0 if still else numbers
        if settings.stage2.head in READS_STEPS:
            numbers *= 8
    steps = max(8, len(laboratory.split(settings).train) // stage.batch_size)
    return EPOCHS * (steps * parameters * _models(work) * SECONDS_PER_PARAMETER + numbers * SECONDS_PER_NUMBER)


def _name(work: Work) -> str:
    return work.modality if isinstance(work, Encoding) else "; ".join(cell.name for cell in work.cells)
