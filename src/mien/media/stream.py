"""Where a live stream comes from: standard input, a file or a pipe, copied to the decoder and, if asked, to a file.

    with StreamSource(descriptor, "standard input", keep=Path("session.mkv")) as source:
        source.start()
        with decoder.open_stream(source.name, source.file, …) as reader: ...
    source.stop()                      # from anywhere: the decoder sees the end of the stream

Nothing of the bytes is interpreted here. The trade-off: they pass through one more pipe, so that the stream can be
ended and kept without the decoder, and given to another one if it dies (``reopen``).
"""

import os
import select
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Self

from mien.errors import MediaError
from mien.media.replay import Replay

BLOCK = 1 << 16
LOOK_SECONDS = 0.1
LINE_BYTES = 1000


def open_source(path: Path) -> int:
    """A descriptor of a file or a named pipe; of standard input for ``-``.

    Raises:
        MediaError: it cannot be opened, or is neither.
    """
    if str(path) == "-":
        if os.isatty(0):
            raise MediaError(
                "standard input: a terminal, expected a video stream, e.g. ffmpeg -i rtsp://… -c copy -f matroska - | "
                "mien live MODEL -"
            )
        return os.dup(0)
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise MediaError(f"{path}: not a file, expected a video stream, or - for standard input")
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error


class StreamSource:
    """Copies a stream to a pipe, whose end ``file`` is for the decoder, in a thread.

    Args:
        descriptor: the stream, closed by ``close``.
        name: for messages.
        keep: a file that the bytes are also written to; it must not exist yet.

    Attributes:
        file: the bytes as they come.
        waits: whether it is a file, which is not lost when it is read late.
        kept: number of bytes written to ``keep``.
        problem: why the rest was not kept; empty while everything is.

    Raises:
        MediaError: ``keep`` exists, or cannot be written.
    """

    def __init__(self, descriptor: int, name: str, keep: Path | None = None) -> None:
        self.name, self.kept, self.problem = name, 0, ""
        self.waits = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._descriptor, self._keep = descriptor, keep
        self._stopped = threading.Event()
        self._finished = False
        try:
            self._kept: BinaryIO | None = None if keep is None else keep.open("xb", buffering=0)
        except FileExistsError as error:
            raise MediaError(f"{keep}: exists already; a recording is written to a new file") from error
        except OSError as error:
            raise MediaError(f"{keep}: cannot be written ({error.strerror})") from error
        theirs, self._ours = os.pipe()
        self.file = os.fdopen(theirs, "rb", buffering=0)
        self._replay = Replay()
        self._next: tuple[int, bytes] | None = None  # the pipe to another decoder, and what it needs first
        self._over = False
        self._change = threading.Condition()
        self._thread = _thread(self._copy)
        self._last: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread.ident is None:
            self._close()
        else:
            self._thread.join()
        if self._last is not None:
            self._last.join()
        self.file.close()

    def line(self, most: int = LINE_BYTES) -> bytes | None:
        """The line that comes before the stream, if its sender sends one; before ``start``.

        Returns:
            ``None`` if the stream ends before the end of a line, or ``stop`` is called.
        """
        line = b""
        while len(line) < most and self._ready():
            byte = os.read(self._descriptor, 1)
            if byte in (b"", b"\n"):
                return line if byte else None
            line += byte
        return None

    def start(self) -> None:
        """Begin to copy."""
        self._thread.start()

    def stop(self) -> None:
        """End the stream for the decoder; returns at once."""
        self._stopped.set()

    def reopen(self, skip: bool = False) -> BinaryIO | None:
        """The stream for another decoder: its header, its last seconds, and what comes.

        Args:
            skip: leave out the last seconds, in which something may kill decoders.

        Returns:
            ``None`` if it cannot be decoded from its middle.
        """
        with self._change:
            if self._stopped.is_set() or (needed := self._replay.restart(skip)) is None:
                return None
            theirs, ours = os.pipe()
            if self._over:
                self._last = _thread(lambda: self._send_rest(ours, needed))
                self._last.start()
            else:
                self._next = ours, needed
                self._change.notify_all()
        return os.fdopen(theirs, "rb", buffering=0)

    @property
    def stopped_early(self) -> bool:
        """Whether ``stop`` was called before the stream ended by itself."""
        return self._stopped.is_set() and not self._finished

    def _copy(self) -> None:
        """Copy until the stream ends, or the decoder or the user ends it."""
        try:
            while not self._stopped.is_set() and self._ready():
                block = os.read(self._descriptor, BLOCK)
                if not block:
                    self._finished = True
                    break
                self._write(block)
                with self._change:
                    needed = self._switch() if self._next is not None else b""
                    block = self._replay.add(block, monotonic())
                self._deliver(needed + block)
        except OSError:  # the source is broken, or stopped without a decoder
            pass
        finally:
            with self._change:
                self._over = True
                needed = self._switch() if self._next is not None else b""
            with suppress(OSError):
                _write_all(self._ours, needed)
            self._close()

    def _deliver(self, data: bytes) -> None:
        """Write to the decoder; if it has died, wait for the next one, and write what that needs, which includes it."""
        while True:
            try:
                return _write_all(self._ours, data)
            except BrokenPipeError:
                with self._change:
                    while self._next is None:
                        if self._stopped.is_set():
                            raise
                        self._change.wait(LOOK_SECONDS)
                    data = self._switch()

    def _switch(self) -> bytes:
        """Take the pipe to the next decoder; what it needs first."""
        assert self._next is not None
        os.close(self._ours)
        (self._ours, needed), self._next = self._next, None
        return needed

    @staticmethod
    def _send_rest(ours: int, needed: bytes) -> None:
        """The end of the stream once more, for a decoder that began after it."""
        try:
            _write_all(ours, needed)
        except OSError:
            pass
        finally:
            os.close(ours)

    def _close(self) -> None:
        os.close(self._ours)
        os.close(self._descriptor)
        if self._kept is not None:
            self._kept.close()

    def _ready(self) -> bool:
        """Wait until there is something to read; false once stopped."""
        while not self._stopped.is_set():
            if select.select([self._descriptor], [], [], LOOK_SECONDS)[0]:
                return True
        return False

    def _write(self, block: bytes) -> None:
        """Keep a block; a disk that is full does not end the stream."""
        if self._kept is None or self.problem:
            return
        try:
            self.kept += self._kept.write(block)
        except OSError as error:
            self.problem = f"{self._keep}: the recording ends after {self.kept} bytes ({error.strerror})"


def _thread(target: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=target, name="mien-stream", daemon=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view.nbytes:
        view = view[os.write(descriptor, view) :]
