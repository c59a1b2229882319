"""The run folder: settings, data and results of a run, so that it can be checked and continued.

run.json               identity of the run: settings, data and store; a different identity is refused
environment.json       versions and machine
split.json             rule, clips of both sides and of both inner sides, participants, notes, clips that encoders from
                       other runs have seen
sources/<modality>/    copy of the model whose encoder comes from another run, if one does
stage1/<modality>/     a unimodal model folder, and epochs.jsonl
stage2/                epochs.jsonl; with a refit also model/, the fused model before it
refit/<part>/          with a refit: epochs.jsonl, and the unimodal models of all rated clips
model/                 the fused model folder
predictions.parquet    a row per validation clip: ratings, fused and unimodal predictions, before a refit
results.json           r per model and seed, before a refit; best epochs, and notes on the trainings
evaluation/            results of ``mien evaluate``, by split
tensorboard/           the same curves as epochs.jsonl
"""

import json
import os
import platform
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from mien.config import LOCAL_MEDIA, BackboneSettings, Settings
from mien.data.source_clips import SourceClips, fingerprint
from mien.data.splits import Split
from mien.data.synthetic import count_synthetic
from mien.errors import Damaged, DataError, ModelError
from mien.features.source_files import contents_of
from mien.features.store import Store
from mien.schema import RATING_SCALE, Manifest
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.exclusive import LOCK, exclusive_writer
from mien.storage.files import atomic_file, is_part, key_of, read_bytes_checked, write_json, writing
from mien.training.fit import Epoch

_IDENTITY = "run.json"

NO_SOURCES: Mapping[str, Sequence[SourceClips]] = MappingProxyType({})
"""No encoder comes from another run."""

LARGEST_LOG = 100_000_000
"""Maximum size of ``epochs.jsonl`` in bytes."""


@contextmanager
def open_run(folder: Path, settings: Settings, manifest: Manifest, store: str) -> Iterator[None]:
    """Create the run folder, or continue the same run in it, as its only writer.

    Args:
        folder: may contain an unfinished run of the same settings, data and features.
        settings: of the run.
        manifest: the data.
        store: fingerprint of the features.

    Raises:
        InUse: another process is writing to the run.
        ModelError: the folder contains another run, other files, or a damaged ``run.json``.
        OutputError: it cannot be written.
    """
    identity = {
        "settings": _without_limits(settings.model_dump(mode="json")),
        "data": fingerprint(manifest),
        "features": store,
    }
    if folder.is_dir() and not _is_run(folder) and any(_is_other(name.name) for name in folder.iterdir()):
        raise ModelError(f"{folder}: contains other files; name an empty or a new folder with --out")
    with exclusive_writer(folder):
        if _is_run(folder):
            known = _identity_of(folder)
            known["settings"] = _completed(_without_limits(known.get("settings")), _without_limits(_defaults()))
            changed = [name for name in identity if known.get(name) != identity[name]]
            if changed:
                raise ModelError(
                    f"{folder}: holds a run with other {', '.join(changed)}; name another folder with --out"
                )
        write_checksummed(folder / _IDENTITY, identity)
        write_json(folder / "environment.json", environment())
        yield


def _defaults() -> dict[str, Any]:
    """Values of settings that an earlier version did not have: without the setting, it read the last layer."""
    return Settings(backbone=BackboneSettings(text="frozen")).model_dump(mode="json")


def _completed(known: Any, defaults: Mapping[str, Any]) -> Any:
    """The settings of a run, with the defaults of those that its version of mien did not have."""
    if not isinstance(known, dict):
        return known
    inside = {name: _completed(value, defaults.get(name) or {}) for name, value in known.items()}
    return {**defaults, **inside}


def _is_other(name: str) -> bool:
    return name != LOCK and not is_part(name)


def _without_limits(settings: Any) -> Any:
    """Settings without those of the machine, which do not change the result."""
    if not isinstance(settings, dict) or not isinstance(settings.get("media"), dict):
        return settings
    media = {name: value for name, value in settings["media"].items() if name not in LOCAL_MEDIA}
    return {**{name: value for name, value in settings.items() if name != "compute"}, "media": media}


def _is_run(folder: Path) -> bool:
    return (folder / _IDENTITY).exists()


def _identity_of(folder: Path) -> dict[str, Any]:
    try:
        return read_checksummed(folder / _IDENTITY)
    except DataError as error:
        raise ModelError(f"{error}, so the run cannot be identified; delete {folder} or name another folder") from error


def environment() -> dict[str, Any]:
    """Versions and machine."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in ("mien", "torch", "numpy", "safetensors", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def write_split(
    folder: Path,
    split: Split,
    store: Store,
    inner: Split | None = None,
    refit: bool = False,
    encoders: Mapping[str, Sequence[SourceClips]] = NO_SOURCES,
) -> None:
    """Write ``split.json``: the clips of each side, their overlap, and the contents of their files.

    Args:
        folder: of the run or the study.
        split: training and validation clips.
        store: of their features.
        inner: the training clips divided again, if that chose the epochs.
        refit: whether a model is trained on validation clips too, so that their participants are needed.
        encoders: what encoders from other runs have seen there, by modality.
    """
    train, valid = _ids(split)
    record: dict[str, Any] = {
        "rule": split.rule,
        "train": len(train),
        "valid": len(valid),
        "clips_on_both_sides": len(set(train) & set(valid)),
        "participants": split.participants,
        "participants_on_both_sides": list(split.shared),
        "notes": list(split.notes),
        "train_clips": train,
        "valid_clips": valid,
        "train_contents": _contents(store, train),
        "valid_contents": _contents(store, valid),
        "train_participants": sorted({clip.participant for clip in split.train if clip.participant}),
    }
    if encoders:
        record["encoders"] = {name: [one.record() for one in seen] for name, seen in encoders.items()}
    if refit:
        record["valid_participants"] = sorted({clip.participant for clip in split.valid if clip.participant})
    if inner is not None:
        trains, selects = _ids(inner)
        record["inner"] = {
            "rule": inner.rule,
            "train": len(trains),
            "valid": len(selects),
            "participants": inner.participants,
            "participants_on_both_sides": list(inner.shared),
            "notes": list(inner.notes),
            "train_clips": trains,
            "valid_clips": selects,
            "valid_contents": _contents(store, selects),
        }
    write_json(folder / "split.json", record)


def _ids(split: Split) -> tuple[list[str], list[str]]:
    return [clip.id for clip in split.train], [clip.id for clip in split.valid]


def _contents(store: Store, clips: list[str]) -> list[str]:
    return sorted(set().union(*contents_of(store, clips)))


class EpochLog:
    """Epoch records in ``epochs.jsonl``, and as TensorBoard curves if ``tensorboard`` is installed."""

    def __init__(self, folder: Path, curves: Path, name: str) -> None:
        """Continue the log in ``folder``; curves are written to ``curves`` under ``name``."""
        self.path = folder / "epochs.jsonl"
        self.name = name
        self._curves = TensorBoardWriter(curves / name.replace(" ", ".")) if has_tensorboard() else None

    def add(self, epoch: Epoch) -> None:
        """Append an epoch; replaces records of epochs that are repeated after an interruption."""
        kept = [line for number, line in self._lines() if number < epoch.number]
        with atomic_file(self.path) as part:
            part.write_text("".join(f"{line}\n" for line in [*kept, json.dumps(epoch.record())]))
        if self._curves is not None:
            values = {f"r/{k}": r for k, r in enumerate(epoch.mean_r)}
            self._curves.add(values | {f"loss/{k}": loss for k, loss in enumerate(epoch.loss)}, epoch.number)

    def _lines(self) -> list[tuple[int, str]]:
        """Epoch numbers and lines of the log."""
        try:
            lines = (
                read_bytes_checked(self.path, LARGEST_LOG).decode("utf-8").splitlines() if self.path.exists() else []
            )
            return [(int(json.loads(line)["number"]), line) for line in lines]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise Damaged(f"{self.path}: damaged ({error}); delete it and train again: only the log is lost") from error


class TensorBoardWriter:
    """A TensorBoard event file. TensorBoard's own writer fails late, in a thread, with a traceback."""

    def __init__(self, folder: Path) -> None:
        """Start a new file in ``folder``."""
        self.path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._append([{"file_version": "brain.Event:2"}])

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Append values by tag.

        Raises:
            OutputError: they cannot be written.
        """
        self._append(
            [{"step": step, "summary": {"value": [{"tag": tag, "simple_value": values[tag]}]}} for tag in values]
        )

    def _append(self, events: Iterable[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore  # noqa: PLC0415 - made, optional
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                records = RecordWriter(file)
                for event in events:
                    records.write(Event(wall_time=time.time(), **event).SerializeToString())


def has_tensorboard() -> bool:
    """Whether TensorBoard curves can be written; ``epochs.jsonl`` has the same numbers."""
    return find_spec("tensorboard") is not None


def provenance(
    manifest: Manifest, split: Split, store: str, results: Mapping[str, Any], inner: Split | None = None
) -> dict[str, Any]:
    """The ``provenance.json`` of a model folder."""
    sides = [*_ids(split), *(_ids(inner) if inner else ())]
    divided = {"inner_train": len(inner.train), "inner_valid": len(inner.valid)} if inner else {}
    trained = len((inner or split).train)
    return {
        "trained_on": f"{trained} clips of {manifest.source.name}, {len(split.valid)} for validation",
        "split": split.rule,
        "scale": list(RATING_SCALE),
        "data": {
            "name": manifest.source.name,
            "train": len(split.train),
            "valid": len(split.valid),
            **divided,
            "label_scale": manifest.label_scale,
            "synthetic": count_synthetic((*split.train, *split.valid)) > 0,
            "participants": split.participants,
            "participants_on_both_sides": len(split.shared),
            "split_fingerprint": key_of(*sides),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "data_fingerprint": fingerprint(manifest),
        "features_fingerprint": store,
        "results": dict(results),
    }


def refitted(provenance: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """The ``provenance.json`` of a model that was trained again on all rated clips; results are of the model before."""
    data = {**provenance["data"], "refit": True}
    clips = len(split.train) + len(split.valid)
    return {
        **provenance,
        "trained_on": f"{clips} clips of {data['name']}, training and validation, for the epochs chosen before",
        "data": data,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
