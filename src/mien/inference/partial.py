"""What an interrupted ``mien predict`` has scored: a line per clip in a hidden file beside its output.

    .scores.json.partial     beside scores.json, while it is being made

A line stands under the key of everything that a score depends on: the model, what was asked of it, the arithmetic, and
the clip with size and time of change of its files. So the line of another model, or of a clip that was replaced, is not
used. A line is written at once and carries its checksum: half a line, left by a process that was killed, is ignored.
The trade-off: a film that is replaced by one of the same size and time of change is not noticed.
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
from mien.features.worker import Extraction
from mien.model.bundle import Bundle
from mien.schema import Clip, Prediction
from mien.storage.files import key_of, open_regular, writing

_PREDICTIONS = TypeAdapter(Prediction)
_OF_CLIP = {"clip", "path", "participant", "start"}
"""Fields that are the clip's own, and are not kept: its names may hold bytes that no JSON does."""


class Kept:
    """Predictions that are kept until the output that they are made for is written.

    Attributes:
        taken: how many clips were found scored already.
        kept: how many are on the disk now.
    """

    def __init__(self, out: Path) -> None:
        """Predictions for ``out``; nothing is read yet."""
        self._out, self._file = out, out.with_name(f".{out.name}.partial")
        self._key = ""
        self._known: dict[str, Any] = {}
        self.taken = self.kept = 0

    def begin(self, bundle: Bundle, extraction: Extraction, why: bool) -> None:
        """Find what was kept of the same model and the same wishes."""
        self._key = key_of(_model_key(bundle), _extraction_key(extraction), why)
        self._known = dict(self._read())

    def take(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Prediction | None]]:
        """Each clip with what is known of it."""
        for clip in clips:
            made = self._restore(clip)
            self.taken += made is not None
            self.kept += made is not None
            yield clip, made

    def keep(self, clip: Clip, made: Prediction) -> None:
        """Write down what was scored; a clip that failed is tried again, and is not.

        Raises:
            OutputError: the disk is full, read-only, or not ours.
        """
        if made.error is not None:
            return
        fields = _PREDICTIONS.dump_python(made, mode="json", exclude=_OF_CLIP)
        key = self._key_of(clip)
        line = json.dumps({"key": key, "made": fields, "checksum": key_of(key, fields)})
        with writing(self._out):
            self._append(f"\n{line}\n".encode())  # the first line end closes what was left half
        self.kept += 1

    def _append(self, line: bytes) -> None:
        """Add a line at once; a file in which nothing is kept yet does not outlive a disk that is full."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.write(handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            if not self.kept:
                self.remove()
            raise
        finally:
            os.close(handle)

    def remove(self) -> None:
        """The output is written: nothing of this is needed any more."""
        self._file.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, Any]]:
        try:
            opened = open_regular(self._file, follow=False)
        except OSError:  # there is none, or none of ours: whoever writes to it will say so
            return
        with opened as file:
            for line in file:
                try:
                    read = json.loads(line)
                    if read["checksum"] == key_of(read["key"], read["made"]):
                        yield read["key"], read["made"]
                except (ValueError, KeyError, TypeError):
                    continue  # half a line, or a damaged one: the clip is scored again

    def _restore(self, clip: Clip) -> Prediction | None:
        fields = self._known.get(self._key_of(clip)) if self._known else None
        if fields is None:
            return None
        try:
            made = _PREDICTIONS.validate_python({**fields, "clip": ""})
        except ValidationError:  # of another version of mien, whose number nobody has raised
            return None
        return replace(made, clip=clip.id, path=clip.path, participant=clip.participant, start=clip.start or 0.0)

    def _key_of(self, clip: Clip) -> str:
        files = [clip.path, clip.sound, clip.crops, clip.openface]
        known = [clip.id, clip.start, clip.end, clip.transcript, *map(_state, files)]
        return key_of(self._key, known)


def _state(path: Path | None) -> list[Any] | None:
    """What is known of a file without reading it."""
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
    for name, values in sorted(bundle.quantiles.items()):
        digest.update(f"\0{name}\0".encode() + values.tobytes())
    return key_of(version("mien"), list(bundle.targets), dict(bundle.widths), digest.hexdigest())


def _extraction_key(extraction: Extraction) -> str:
    """Everything that decides features; not the limits, which decide only whether there are any."""
    settings = extraction.settings
    windows = None if extraction.windows is None else repr(extraction.windows)
    weights = [[role, weights.fingerprint] for role, weights in extraction.weights]
    return key_of(
        settings.model_dump(mode="json", exclude={"compute"}), str(resolve_compute(settings.compute)), weights, windows
    )
