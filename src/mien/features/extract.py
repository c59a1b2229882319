"""Feature extraction into a store: features that are missing or out of date are computed, the others are reused.

    for outcome in extract(manifest, store, settings, workers=2): ...

The features of a clip (``worker.py``) are on the disk before its outcome is yielded: its worker has written them
(``storing.py``).

A feature's key is a hash of everything it depends on: the bytes and the range of the clip, the settings, the weights,
the version of the code, the engine and its number format. A feature whose key is already in the store is reused; one
that failed is tried again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mien.config import Settings, with_local_limits
from mien.errors import DataError, SettingsError, StoreError
from mien.features.fetch import fetched
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.kept_inputs import KeptFile, KeptInputs, find_kept
from mien.features.load_inputs import InputPlan
from mien.features.source_files import SourceFile
from mien.features.stages import outcomes
from mien.features.storing import StoringExtraction, without_repeated_failure
from mien.features.trained_backbones import SETTINGS, training_records
from mien.features.worker import Extraction, plan
from mien.features.writer import StoreWriter
from mien.scale import Pool
from mien.schema import Clip, Manifest
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.exclusive import exclusive_writer
from mien.weights import Weights
from mien.weights.own import OwnBackbone, own_backbones

SECTIONS = ("media", "faces", "speech")

REPLACED = "not the clips that they were"
DAMAGED = "damaged in the store"


def extract(
    manifest: Manifest,
    store: Path,
    settings: Settings,
    *,
    workers: Pool = 0,
    keep_inputs: bool = False,
    inputs: Path | None = None,
) -> Iterator[ClipOutcome]:
    """Compute the features of every clip that does not have them yet.

    Args:
        manifest: the clips; the store keeps their order.
        store: the folder of the feature store; created if needed.
        settings: weights, modalities, rates, limits.
        workers: number of worker processes, or a cluster whose nodes see clips and store under the same paths; 0 works
            in this one. Files are always decoded in other processes.
        keep_inputs: keep what is decoded of each clip in the store (``kept_inputs.py``), also of clips whose features
            are all there. Kept inputs of the store are always read instead of decoding.
        inputs: another store whose kept inputs are read.

    Yields:
        The outcome of every clip, in order of completion, after its features are on the disk.

    Raises:
        WeightsMissing: see ``plan``.
        InUse: another process writes to the store.
        OutputError: it cannot be written.
        SettingsError: both ``keep_inputs`` and ``inputs``.
        StoreError: it is foreign, or of another version, or ``inputs`` has no kept inputs.
    """
    planned = _input_plan(store, keep_inputs, inputs)
    extraction = replace(plan(settings, workers), inputs=planned)
    kept: dict[str, tuple[KeptFile, ...]] = {}
    with StoreWriter(store, [clip.id for clip in manifest.clips]) as writer:
        records = training_records(dict(extraction.weights), store / SETTINGS)
        write_checksummed(store / SETTINGS, extraction_record(settings, extraction) | records)
        jobs = (_job(clip, writer) for clip in manifest.clips)
        try:
            storing = partial(StoringExtraction, store=store)
            for job, result in fetched(
                extraction, jobs, manifest.fetch_from, lambda here: outcomes(extraction, here, workers, storing, store)
            ):
                outcome = replace(result, recompute_reason=_recompute_reason(job, result, writer))
                kept[job.clip.id] = outcome.kept
                if outcome.made.features and not outcome.stored:  # not fetched, or its worker died
                    outcome = without_repeated_failure(job, outcome)
                    writer.add(outcome.made)
                else:
                    writer.take(job.clip.id)
                yield outcome
        finally:
            if keep_inputs and any(kept.values()):
                KeptInputs(store).write_index(kept)


def prune(store: Path, clips: Iterable[str]) -> tuple[int, int]:
    """Remove the kept inputs of clips that are not among ``clips``, and those of other settings or older files.

    Returns:
        Number of files that were removed, and their bytes.

    Raises:
        Damaged: their index is damaged, so it is unknown what may go.
        InUse: another process writes to the store.
        OutputError: a file cannot be removed.
        StoreError: there are no kept inputs.
    """
    kept = find_kept(store)
    with exclusive_writer(store):
        return kept.prune(clips)


def with_extraction_settings(settings: Settings, store: Path) -> Settings:
    """Settings with the sections on the preparation of clips replaced by those of a store.

    A model must prepare new clips as its training clips were prepared. A store without recorded settings (imported or
    synthetic features) changes nothing. Limits of the machine stay those of ``settings``.

    Raises:
        StoreError: the record is damaged.
    """
    if not (store / SETTINGS).exists():
        return settings
    try:
        made = read_checksummed(store / SETTINGS)
        made = {name: made[name] for name in (*SECTIONS, "weights")}
        return with_local_limits(Settings.model_validate(settings.model_dump() | made), settings)
    except (DataError, ValidationError, KeyError) as error:
        reason = str(error) if isinstance(error, DataError) else f"{store / SETTINGS}: damaged"
        raise StoreError(f"{reason}; run the extraction again") from error


def _input_plan(store: Path, keep: bool, inputs: Path | None) -> InputPlan | None:
    """Where kept inputs are read, and written if ``keep``; ``None`` without any."""
    if inputs is not None:
        if keep:
            raise SettingsError("--inputs reads what another extraction has kept; leave out --keep-inputs")
        find_kept(inputs)
        return InputPlan(inputs, keep=False)
    return InputPlan(store, keep) if keep or KeptInputs(store).exist() else None


def extraction_record(settings: Settings, extraction: Extraction) -> dict[str, Any]:
    """What ``SETTINGS`` records: the sections on the preparation of clips, and the weights."""
    sections = {name: getattr(settings, name).model_dump(mode="json") for name in SECTIONS}
    return sections | _weights_record(settings, dict(extraction.weights))


def _weights_record(settings: Settings, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """The weights, with folders as absolute paths, and what identifies backbones of one's own."""
    own = own_backbones(weights)
    if not settings.backbones.references:
        return settings.model_dump(mode="json", include={"weights"})
    named = settings.backbones.model_copy(update={role: one.reference for role, one in own.items()})
    return {
        "weights": named.model_dump(mode="json"),
        "backbones": {role: one.model_dump() for role, one in own.items()},
    }


def backbones_of(store: Path) -> dict[str, OwnBackbone]:
    """The backbones of one's own that the newest features of a store were made with, by role.

    Raises:
        StoreError: the record is damaged.
    """
    if not (store / SETTINGS).exists():
        return {}
    try:
        made = read_checksummed(store / SETTINGS).get("backbones", {})
        return TypeAdapter(dict[str, OwnBackbone]).validate_python(made)
    except (DataError, ValidationError) as error:
        reason = str(error) if isinstance(error, DataError) else f"{store / SETTINGS}: damaged"
        raise StoreError(f"{reason}; run the extraction again") from error


def _job(clip: Clip, writer: StoreWriter) -> ClipJob:
    return ClipJob(clip, {name: (f.key, f.status, f.reason, f.origin) for name, f in writer.known(clip.id).items()})


def _recompute_reason(job: ClipJob, outcome: ClipOutcome, writer: StoreWriter) -> str:
    """Why stored features were computed again, if they were; changed settings are not mentioned."""
    for feature in outcome.made.features:
        before = SourceFile.read(job.known.get(feature.modality, ("",) * 4)[3])
        now = SourceFile.read(feature.origin)
        if before and now and before.content != now.content:
            return REPLACED
    return DAMAGED if outcome.made.features and writer.is_damaged(job.clip.id) else ""
