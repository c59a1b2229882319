"""A worker stores what it makes: features go to the store's ``pending/`` where they were computed, and the outcome that
returns to the driver has no arrays.

The driver alone owns the store: it holds the lock, and seals shards (``writer.py``). A worker writes nothing but the
file of the clip at hand, by one rename, so two workers with the same clip leave one whole file. A clip that is given to
another worker, because the first died after it had written, is found there and is not computed again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mien.errors import Damaged
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.pending import pending_file, read_pending, write_pending
from mien.features.worker import Extraction, Extractor
from mien.features.writer import merged
from mien.schema import ClipFeatures


@dataclass(frozen=True)
class StoringExtraction:
    """An extraction whose workers write into a store; called once in each worker.

    Attributes:
        extraction: what is computed.
        store: folder of the store; its driver has it open for writing.
    """

    extraction: Extraction
    store: Path

    def __call__(self) -> "StoringExtractor":
        """The function of a worker."""
        return StoringExtractor(self.extraction(), self.store)


class StoringExtractor:
    """Makes the features of a clip and writes them."""

    def __init__(self, extractor: Extractor, store: Path) -> None:
        """It writes into ``store``."""
        self._extractor, self._store = extractor, store

    def close(self) -> None:
        """Close the extractor."""
        self._extractor.close()

    def __call__(self, job: ClipJob) -> ClipOutcome:
        """The outcome of a clip, after its features are on the disk; without their arrays.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        path = pending_file(self._store, job.clip.id)
        earlier = _read(path)
        if earlier is not None:
            known = {f.modality: (f.key, f.status, f.reason, f.origin) for f in earlier.features}
            job = replace(job, known={**job.known, **known})
        outcome = without_repeated_failure(job, self._extractor(job))
        if outcome.made.features:
            write_pending(path, outcome.made if earlier is None else merged(earlier, outcome.made))
        features = tuple(replace(feature, values=None, seconds=None) for feature in outcome.made.features)
        return replace(outcome, made=replace(outcome.made, features=features), stored=True)


def without_repeated_failure(job: ClipJob, outcome: ClipOutcome) -> ClipOutcome:
    """An outcome without failures that are already stored with the same reason."""
    new = tuple(
        feature
        for feature in outcome.made.features
        if feature.status != "failed" or job.known.get(feature.modality) != ("", "failed", feature.reason, "")
    )
    return replace(outcome, made=replace(outcome.made, features=new))


def _read(path: Path) -> ClipFeatures | None:
    """What is there of a clip; nothing if it is damaged, as the new file replaces it."""
    if not path.exists():
        return None
    try:
        return read_pending(path)
    except Damaged:
        return None
