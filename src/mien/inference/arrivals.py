"""Takes the parts of a stream from the decoder as they come, and knows how late they are looked at."""

import queue
import threading
import time

from mien.errors import MienError
from mien.media.decoder import RemoteReader
from mien.media.frames import Frame, Samples
from mien.schema import SAMPLE_RATE

_LOOK_SECONDS = 0.02


class Arrivals(threading.Thread):
    """A thread that reads a stream.

    Args:
        reader: of the stream, open.
        most_seconds: of the stream that wait here; then the decoder waits, and with it the sender.

    Attributes:
        newest: seconds of the stream that came.
        samples: number of samples that came.
    """

    def __init__(self, reader: RemoteReader, most_seconds: float) -> None:
        super().__init__(name="mien-arrivals", daemon=True)
        self.newest = 0.0
        self._reader, self._most = reader, most_seconds
        self._items: queue.SimpleQueue[tuple[float, Frame | Samples] | MienError | None] = queue.SimpleQueue()
        self.samples = 0
        self._taken = 0.0
        self._seen = -1.0  # time of the last frame
        self._zero: float | None = None  # when second 0 came, or would have come, by time.monotonic
        self._zero_before: int | None = None
        self._closed = threading.Event()

    def continued(self, reader: RemoteReader) -> "Arrivals":
        """The same for another reader of the stream, which goes on where this one ended."""
        made = Arrivals(reader, self._most)
        made.newest, made.samples, made._taken = self.newest, self.samples, self._taken
        made._seen, made._zero, made._zero_before = self._seen, self._zero, self.zero
        return made

    def run(self) -> None:
        """Read until the end."""
        try:
            for part in self._reader.parts():
                self._put(part)
                while self.newest - self._taken > self._most and not self._closed.wait(_LOOK_SECONDS):
                    pass
                if self._closed.is_set():
                    return
            self._items.put(None)
        except MienError as error:
            self._items.put(error)

    def take(self) -> Frame | Samples | None:
        """The next part; waits for it. ``None`` at the end of the stream.

        Raises:
            MediaError: the stream cannot be decoded any more.
        """
        item = self._items.get()
        if isinstance(item, MienError):
            raise item
        if item is None:
            return None
        self._taken = item[0]
        return item[1]

    @property
    def zero(self) -> int | None:
        """Time zero of the stream in ticks of its container, once a part has come."""
        return self._reader.zero if self._reader.zero is not None else self._zero_before

    def lag(self, seconds: float) -> float:
        """How long ago a moment of the stream came; 0 if it came faster than it was recorded."""
        return 0.0 if self._zero is None else max(0.0, time.monotonic() - self._zero - seconds)

    def close(self) -> None:
        """Read no further."""
        self._closed.set()

    def _put(self, part: Frame | Samples) -> None:
        if isinstance(part, Samples):
            self.samples += len(part.values)
            at = self.samples / SAMPLE_RATE
        elif part.seconds <= self._seen:  # decoded again, by another decoder
            return
        else:
            at = self._seen = part.seconds
        self.newest = max(self.newest, at)
        zero = time.monotonic() - at
        self._zero = zero if self._zero is None else min(self._zero, zero)
        self._items.put((at, part))
