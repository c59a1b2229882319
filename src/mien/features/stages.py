"""Which worker does what with a clip: each one everything, or some decode and others run the backbones.

    for job, outcome in outcomes(plan(settings), jobs, workers=16): ...

On CPUs a worker takes a clip all the way: that keeps all cores busy, and no frames are sent between processes. A GPU
would wait for its worker to decode, which takes most of a second of a core. So beside one, there are two stages:

    workers             job ──▶ decoding, faces, speech ──▶ inputs in files
    backbone workers    inputs ──▶ features                                     hold the backbones; never decode

Each stage is a ``scale.run``, and the second one's items are the results of the first; so a worker is at most two clips
ahead of the backbones, and what waits on the disk is bounded. The files are kept inputs (``kept_inputs.py``), which are
exact: features are those of a worker that does both. Inputs that are not to be kept are removed by their reader.

The trade-offs: a clip is read and hashed twice, and its crops are packed and unpacked. A clip whose inputs cannot be
read is decoded by the backbone worker. While all backbone workers wait for clips, results arrive with the next clip.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mien.compute.device import choose_backbone_workers, resolve_compute
from mien.config import with_changes
from mien.features.jobs import ClipJob, ClipOutcome, failed
from mien.features.load_inputs import InputPlan
from mien.features.worker import Extraction, with_arithmetic
from mien.scale import Cluster, Failed, Pool, WorkerFactory, run
from mien.scale.cluster import connected
from mien.storage.files import PART
from mien.storage.temporary import temporary_folder

MakeWorker = Callable[[Extraction], WorkerFactory[ClipOutcome]]


def outcomes(
    extraction: Extraction,
    jobs: Iterable[ClipJob],
    workers: Pool,
    make: MakeWorker = lambda extraction: extraction,
    scratch: Path | None = None,
) -> Iterator[tuple[ClipJob, ClipOutcome]]:
    """The outcome of each clip, in order of completion; a clip whose worker dies fails like any other.

    Without workers, the time limit of a clip applies to hashing and decoding only, which run in another process. With
    workers, it applies to everything; they get a little more, so that the decoder's own error comes first. With stages
    of their own, it applies to each.

    Args:
        extraction: what is computed. One that only reads kept inputs has one stage.
        jobs: the clips; consumed lazily.
        workers: as for ``scale.run``; backbone workers come on top (``compute.backbone_workers``).
        make: from an extraction, what makes the function of the workers.
        scratch: a folder for inputs on their way, which all workers see; by default the temporary one.
    """
    reads_only = extraction.inputs is not None and not extraction.inputs.keep
    backbones = 0 if reads_only else choose_backbone_workers(extraction.settings.compute, workers)
    if backbones == 0:
        found = run(make(extraction), jobs, workers=workers, seconds_each=extraction.seconds_for)
    else:
        found = _in_two_stages(extraction, jobs, (workers, backbones), make, scratch)
    for job, result in found:
        yield job, failed_outcome(extraction, job, result) if isinstance(result, Failed) else result


def failed_outcome(extraction: Extraction, job: ClipJob, lost: Failed) -> ClipOutcome:
    """The outcome of a clip whose worker died or ran out of time."""
    return failed(job, extraction.stored_features, f"{job.clip.file_name}: {lost.reason}")


@dataclass(frozen=True)
class _Handed:
    """A clip between the stages, with the result of the first: final, unless it is ``prepared``."""

    job: ClipJob
    result: ClipOutcome | Failed


@dataclass(frozen=True)
class _Second:
    """The second stage; final results pass through it."""

    make: WorkerFactory[ClipOutcome]

    def __call__(self) -> Callable[[_Handed], ClipOutcome | Failed]:
        function = self.make()

        def finish(handed: _Handed) -> ClipOutcome | Failed:
            before = handed.result
            if isinstance(before, Failed) or not before.prepared:
                return before
            return _joined(before, function(handed.job))

        return finish


def _in_two_stages(
    extraction: Extraction, jobs: Iterable[ClipJob], pools: tuple[Pool, Pool], make: MakeWorker, scratch: Path | None
) -> Iterator[tuple[ClipJob, ClipOutcome | Failed]]:
    workers, backbones = pools
    with ExitStack() as stack:
        on_the_way = InputPlan(stack.enter_context(_folder_in(scratch)), keep=True, temporary=True)
        extraction = replace(extraction, inputs=extraction.inputs or on_the_way)
        if isinstance(workers, Cluster):
            stack.enter_context(connected(workers))  # by both stages
            workers = replace(workers, gpus=0)
        limit = extraction.seconds_for
        first = stack.enter_context(closing(run(preparing(extraction), jobs, workers=workers, seconds_each=limit)))
        handed = (_Handed(job, result) for job, result in first)
        second = run(_Second(make(extraction)), handed, workers=backbones, seconds_each=lambda one: limit(one.job))
        for one, result in stack.enter_context(closing(second)):
            yield one.job, result


@contextmanager
def _folder_in(scratch: Path | None) -> Iterator[Path]:
    """A folder for inputs on their way; what a killed process left is removed by the next one."""
    if scratch is None:
        with temporary_folder() as folder:
            yield folder
    else:
        with TemporaryDirectory(prefix=".inputs.", suffix=PART, dir=scratch, ignore_cleanup_errors=True) as made:
            yield Path(made)


def preparing(extraction: Extraction) -> Extraction:
    """The first stage: it needs no GPU, but the keys of features that are computed on one."""
    settings = with_arithmetic(extraction.settings, resolve_compute(extraction.settings.compute))
    return replace(extraction, settings=with_changes(settings, {"compute.device": "cpu"}, "decoding"), prepares=True)


def _joined(before: ClipOutcome, after: ClipOutcome) -> ClipOutcome:
    """The outcome of the second stage, with what the first one did."""
    stages = {**before.seconds_taken, **after.seconds_taken}
    taken = {stage: before.seconds_taken.get(stage, 0) + after.seconds_taken.get(stage, 0) for stage in stages}
    written = {file.key for file in before.kept if file.new}
    kept = tuple(file._replace(new=file.new or file.key in written) for file in after.kept)
    return replace(after, seconds_taken=taken, kept=kept, remarks=(*before.remarks, *after.remarks))
