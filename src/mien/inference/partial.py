"""Partial results of ``mien predict``: a line per scored clip in a hidden file beside its output.

    .scores.json.partial     beside scores.json, until that is written

Each line has a key of everything that a score depends on: the model, the options, the precision, and the clip with size
and modification time of its files. So lines of another model, or of a clip that was replaced, are not reused. A line is
written in one call and has a checksum: an incomplete line, left by a process that was killed, is ignored.
The trade-off: a video replaced by one of the same size and modification time is not noticed.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mien.compute.device import resolve_compute
from mien.features.fetch import version_of
from mien.features.worker import Extraction
from mien.model.bundle import Bundle
from mien.schema import Clip, Prediction
from mien.storage.files import key_of, open_regular, writing

_LINES = 2
"""Version of the lines."""

_PREDICTIONS = TypeAdapter(Prediction)
_CLIP_FIELDS = {"clip", "path", "participant", "start", "address"}
"""Fields that come from the clip and are not stored: names may hold bytes that JSON cannot."""


class PartialScores:
    """Predictions that are stored until the output file is written.

    Attributes:
        reused: number of clips whose scores were found.
        stored: number of clips that are stored now.
    """

    def __init__(self, out: Path) -> None:
        """Predictions for the file ``out``; nothing is read yet."""
        self._out, self._file = out, out.with_name(f".{out.name}.partial")
        self._key = ""
        self._fetch_from: Sequence[str] = ()
        self._known: dict[str, Any] = {}
        self.reused = self.stored = 0

    def begin(
        self, bundle: Bundle, extraction: Extraction, why: bool, raw: bool = False, fetch_from: Sequence[str] = ()
    ) -> None:
        """Read what is stored for the same model and the same options; ``fetch_from`` as for ``Model.score``."""
        self._fetch_from = fetch_from
        self._key = key_of(_LINES, _model_key(bundle), _extraction_key(extraction), why, raw)
        self._known = dict(self._read())

    def take(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Prediction | None]]:
        """Each clip with its stored prediction, if there is one."""
        for clip in clips:
            made = self._restore(clip)
            self.reused += made is not None
            self.stored += made is not None
            yield clip, made

    def add(self, clip: Clip, made: Prediction) -> None:
        """Store a prediction; failed clips are not stored, so that they are tried again.

        Raises:
            OutputError: the disk is full or read-only, or permission is denied.
        """
        if made.error is not None:
            return
        fields = _PREDICTIONS.dump_python(made, mode="json", exclude=_CLIP_FIELDS)
        key = self._key_of(clip)
        line = json.dumps({"key": key, "made": fields, "checksum": key_of(key, fields)})
        with writing(self._out):
            self._append(f"\n{line}\n".encode())  # the first newline ends an incomplete line
        self.stored += 1

    def _append(self, line: bytes) -> None:
        """Append a line in one write; if the disk is full, an empty file is removed."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.write(handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            if not self.stored:
                self.remove()
            raise
        finally:
            os.close(handle)

    def remove(self) -> None:
        """Remove the file, once the output is written."""
        self._file.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, Any]]:
        try:
            opened = open_regular(self._file, follow=False)
        except OSError:  # missing, or not a regular file: the first write reports that
            return
        with opened as file:
            for line in file:
                try:
                    read = json.loads(line)
                    if read["checksum"] == key_of(read["key"], read["made"]):
                        yield read["key"], read["made"]
                except (ValueError, KeyError, TypeError):
                    continue  # incomplete or damaged: the clip is scored again

    def _restore(self, clip: Clip) -> Prediction | None:
        fields = self._known.get(self._key_of(clip)) if self._known else None
        if fields is None:
            return None
        try:
            made = _PREDICTIONS.validate_python({**fields, "clip": ""})
        except ValidationError:  # written by a development version with other fields
            return None
        return replace(
            made,
            clip=clip.id,
            path=clip.path,
            participant=clip.participant,
            start=clip.start or 0.0,
            address=clip.address,
        )

    def _key_of(self, clip: Clip) -> str:
        files = [clip.path, clip.sound, clip.crops, clip.openface]
        known = [clip.id, clip.start, clip.end, clip.transcript, *map(_state, files)]
        if clip.address is not None:
            known.append(version_of(clip.address, self._fetch_from))
        return key_of(self._key, known)


def _state(path: Path | None) -> list[Any] | None:
    """Path, size and modification time of a file, without reading it."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return [str(path.absolute())]
    return [str(path.absolute()), found.st_size, found.st_mtime_ns]


def _model_key(bundle: Bundle) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(bundle.module.state_dict().items()):
        digest.update(f"\0{name}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    ends = {f"{name} {part}": getattr(one, part) for name, one in bundle.half_widths.items() for part in vars(one)}
    for kind in (ends, bundle.calibration):
        for name, values in sorted(kind.items()):
            digest.update(f"\0{name}\0".encode() + values.tobytes())
    return key_of(version("mien"), list(bundle.targets), dict(bundle.widths), digest.hexdigest())


def _extraction_key(extraction: Extraction) -> str:
    """Everything that features depend on; limits of time and memory are excluded."""
    settings = extraction.settings
    windows = None if extraction.windows is None else repr(extraction.windows)
    weights = [[role, weights.fingerprint] for role, weights in extraction.weights]
    return key_of(
        settings.model_dump(mode="json", exclude={"compute"}), str(resolve_compute(settings.compute)), weights, windows
    )
