"""Clips → feature store: what is not there yet is made, and nothing is made twice.

    for outcome in extract(manifest, store, settings, workers=2): ...

What a worker makes of a clip (``worker.py``) is on the disk before the next outcome is yielded.

A feature's key is the content of everything it depends on: the bytes and the range of the clip, the settings, the
weights, the version of the code, the engine and its number format. A feature whose key stands in the store already is
not made again; one that failed is tried again.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mien.config import Settings, with_local_limits
from mien.errors import DataError, StoreError
from mien.features.source_files import SourceFile
from mien.features.worker import ClipJob, ClipOutcome, outcomes, plan
from mien.features.writer import StoreWriter
from mien.schema import Clip, Manifest
from mien.storage.checksums import read_checksummed, write_checksummed

SETTINGS = "extraction.json"
"""In a store: the settings that its newest features were made with, for whoever prepares clips in the same way."""

SECTIONS = ("media", "faces", "speech")

REPLACED = "not the clips that they were"
DAMAGED = "damaged in the store"


def extract(manifest: Manifest, store: Path, settings: Settings, *, workers: int = 0) -> Iterator[ClipOutcome]:
    """Make the features of every clip that does not have them yet.

    Args:
        manifest: the clips; the store takes over their order.
        store: the folder of the feature store; made when it is not there.
        settings: weights, modalities, rates, limits.
        workers: processes; 0 works in this one. Files are decoded in other processes in any case.

    Yields:
        An outcome for every clip, in the order of completion, after its features are on the disk.

    Raises:
        WeightsMissing: see ``plan``.
        InUse: another process writes to the store.
        OutputError: it cannot be written.
        StoreError: it is foreign, or of another version.
    """
    extraction = plan(settings, workers)
    with StoreWriter(store, [clip.id for clip in manifest.clips]) as writer:
        write_checksummed(
            store / SETTINGS,
            {name: getattr(settings, name).model_dump(mode="json") for name in SECTIONS}
            | {"weights": settings.weights},
        )
        jobs = (_job(clip, writer) for clip in manifest.clips)
        for job, result in outcomes(extraction, jobs, workers):
            outcome = _without_repeated_failure(
                job, replace(result, recompute_reason=_recompute_reason(job, result, writer))
            )
            if outcome.made.features:
                writer.add(outcome.made)
            else:
                writer.mark_done(job.clip.id)
            yield outcome


def with_extraction_settings(settings: Settings, store: Path) -> Settings:
    """The settings with those parts that say how clips are prepared taken from a store.

    A model must prepare new clips as those were that it learned from. A store without a record of its settings (one
    that was imported or drawn) changes nothing. Limits of the machine stay those of ``settings``.

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
        said = str(error) if isinstance(error, DataError) else f"{store / SETTINGS}: damaged"
        raise StoreError(f"{said}; run the extraction again") from error


def _job(clip: Clip, writer: StoreWriter) -> ClipJob:
    return ClipJob(clip, {name: (f.key, f.status, f.reason, f.origin) for name, f in writer.known(clip.id).items()})


def _recompute_reason(job: ClipJob, outcome: ClipOutcome, writer: StoreWriter) -> str:
    """Why something that stood in the store was made again, if it was; other settings are no news to who gave them."""
    for feature in outcome.made.features:
        before = SourceFile.read(job.known.get(feature.modality, ("",) * 4)[3])
        now = SourceFile.read(feature.origin)
        if before and now and before.content != now.content:
            return REPLACED
    return DAMAGED if outcome.made.features and writer.is_damaged(job.clip.id) else ""


def _without_repeated_failure(job: ClipJob, outcome: ClipOutcome) -> ClipOutcome:
    """An outcome without failures that are stored already in the same words, so that trying again adds nothing."""
    fresh = tuple(
        feature
        for feature in outcome.made.features
        if feature.status != "failed" or job.known.get(feature.modality) != ("", "failed", feature.reason, "")
    )
    return replace(outcome, made=replace(outcome.made, features=fresh))
