"""Takes the parts of a stream from the decoder as they come, and knows how late they are looked at."""

import queue
import threading
import time

from mien.errors import MienError
from mien.media.decode import Frame, Samples
from mien.media.decoder import RemoteReader
from mien.schema import SAMPLE_RATE

_LOOK_SECONDS = 0.02


class Arrivals(threading.Thread):
    """A thread that reads a stream.

    Args:
        reader: of the stream, open.
        most_seconds: of the stream that wait here; then the decoder waits, and with it the sender.

    Attributes:
        newest: seconds of the stream that came.
    """

    def __init__(self, reader: RemoteReader, most_seconds: float) -> None:
        super().__init__(name="mien-arrivals", daemon=True)
        self.newest = 0.0
        self._reader, self._most = reader, most_seconds
        self._items: queue.SimpleQueue[tuple[float, Frame | Samples] | MienError | None] = queue.SimpleQueue()
        self._taken = self._heard = 0.0
        self._zero: float | None = None  # when second 0 came, or would have come, by time.monotonic
        self._closed = threading.Event()

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

    def lag(self, seconds: float) -> float:
        """How long ago a moment of the stream came; 0 if it came faster than it was recorded."""
        return 0.0 if self._zero is None else max(0.0, time.monotonic() - self._zero - seconds)

    def close(self) -> None:
        """Read no further."""
        self._closed.set()

    def _put(self, part: Frame | Samples) -> None:
        if isinstance(part, Samples):
            self._heard += len(part.values) / SAMPLE_RATE
        at = part.seconds if isinstance(part, Frame) else self._heard
        self.newest = max(self.newest, at)
        zero = time.monotonic() - at
        self._zero = zero if self._zero is None else min(self._zero, zero)
        self._items.put((at, part))
