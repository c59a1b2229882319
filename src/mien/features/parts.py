"""An extraction in parts (``storage/parts.py``): each part is a feature store of its own, and ``merge`` joins them.

The merged store has the bytes that one extraction of all clips would have written: its shards are made in the order of
the manifest, 256 clips at a time. Kept inputs are files of their own with the same names everywhere, and are linked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mien.config import Settings
from mien.errors import StoreError
from mien.features.extract import extraction_record
from mien.features.kept_inputs import KeptInputs
from mien.features.store import Row, Store
from mien.features.trained_backbones import SETTINGS
from mien.features.worker import plan
from mien.features.writer import SHARD_CLIPS, StoreWriter
from mien.schema import Clip, ClipFeatures, Feature, Manifest
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.files import key_of
from mien.storage.mirror import local_folder, mirror_of
from mien.storage.parts import Division, Part, begin_part, check_complete, place_of

KIND = "features"


def part_of(
    manifest: Manifest, store: str | Path, settings: Settings, part: Part, keep_inputs: bool = False
) -> tuple[Manifest, str | Path]:
    """The clips of a part, and the folder of its feature store, which is in object storage if ``store`` is.

    Raises:
        SettingsError: there are fewer clips than parts, or the other parts have other clips, settings or versions.
        WeightsMissing: see ``plan``.
    """
    made = extraction_record(settings, plan(settings)) | {"modalities": list(settings.modalities)}
    ids = [clip.id for clip in manifest.clips]
    folder = begin_part(
        store, KIND, part, ids, {**made, "keep_inputs": keep_inputs, "table of clips": _table_key(manifest.clips)}
    )
    return replace(manifest, clips=tuple(part.of(manifest.clips))), folder


def merge(out: str | Path, division: Division) -> Store:
    """Join the parts of a feature store into ``out``; a merge that was interrupted is continued.

    Args:
        out: the store; if it is in object storage, so are its parts, and all of it is copied to the cache.
        division: of its clips into parts.

    Raises:
        InUse: another process writes to ``out``.
        MienError: clips are missing; the message names their parts.
        Damaged: kept inputs of a part are missing or damaged.
        DataError: object storage cannot be reached or refuses.
        OutputError: ``out`` cannot be written.
        StoreError: a part is damaged, or features of one modality were made in different ways.
    """
    folders = {part.number: local_folder(place_of(out, str(part.number))) for part in division.parts}
    parts = {number: _read(folder) for number, folder in folders.items()}
    clips = {part.number: part.of(division.clips) for part in division.parts}
    missing = {number: [clip for clip in clips[number] if clip not in parts[number].rows] for number in parts}
    check_complete(out, division, {number: lacks for number, lacks in missing.items() if lacks})
    _check_alike(out, parts)
    part_with = {clip: parts[number] for number, block in clips.items() for clip in block}
    mirror = mirror_of(out)
    root = mirror.pull() if mirror else Path(out)
    with StoreWriter(root, division.clips) as writer:
        write_checksummed(root / SETTINGS, read_checksummed(folders[1] / SETTINGS))
        for first in range(0, len(division.clips), SHARD_CLIPS):
            block = division.clips[first : first + SHARD_CLIPS]
            if all(_is_merged(writer, part_with[clip], clip) for clip in block):
                for clip in block:
                    writer.mark_done(clip)
            else:
                writer.add_shard([part_with[clip].features(clip) for clip in block])
        KeptInputs(root).add_all(map(KeptInputs, folders.values()))
    if mirror:
        mirror.push()
    return Store(root)


@dataclass(frozen=True)
class _PartStore:
    """The store of a part, with its rows by clip; ``None`` and no rows when the part was never begun."""

    store: Store | None
    rows: Mapping[str, Mapping[str, Row]]

    def features(self, clip: str) -> ClipFeatures:
        """All that it holds of a clip."""
        assert self.store is not None
        known = self.store.clips[clip]
        features = tuple(_feature(self.store, clip, name, row) for name, row in self.rows[clip].items())
        return ClipFeatures(clip, known["seconds"], features, known["transcript"], known["notes"])


def _read(root: Path) -> _PartStore:
    if not (root / "store.json").exists():
        return _PartStore(None, {})
    store, rows = Store(root), dict[str, dict[str, Row]]()
    for (clip, modality), row in store.rows.items():
        rows.setdefault(clip, {})[modality] = row
    return _PartStore(store, rows)


def _feature(store: Store, clip: str, name: str, row: Row) -> Feature:
    steps = (store.array(clip, name), store.seconds(clip, name)) if row.steps else (None, None)
    return Feature(name, row.key, row.provenance, *steps, row.status, row.reason, row.origin)


def _check_alike(out: str | Path, parts: Mapping[int, _PartStore]) -> None:
    """Check that every modality was made in one way, by its provenance: weights, arithmetic, version."""
    first: dict[str, tuple[int, str]] = {}
    for number, part in parts.items():
        for modality, row in chain.from_iterable(rows.items() for rows in part.rows.values()):
            if row.status == "failed":
                continue
            other, made = first.setdefault(modality, (number, row.provenance))
            if made != row.provenance:
                raise StoreError(
                    f"{out}.parts: {modality} is {made} in part {other} and {row.provenance} in part {number}; "
                    "run one of them again, with the other's compute.engine and compute.precision"
                )


def _is_merged(writer: StoreWriter, part: _PartStore, clip: str) -> bool:
    """Whether the features of a clip are in the merged store already, undamaged."""
    known = {name: (f.key, f.status, f.reason, f.origin) for name, f in writer.known(clip).items()}
    return known == {name: (row.key, row.status, row.reason, row.origin) for name, row in part.rows[clip].items()}


def _table_key(clips: Sequence[Clip]) -> str:
    return key_of([[clip.start, clip.end, clip.transcript] for clip in clips])
