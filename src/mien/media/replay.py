"""What a decoder needs to go on in the middle of a stream: its header, and its last seconds.

    replay.add(block, now)      each block, as it comes
    replay.restart()            header and last seconds, for a decoder that starts now

Matroska is cut at clusters and fragmented MP4 at fragments, whose times are absolute; without the header before the
first of them nothing can be decoded. In MPEG-TS any place will do. The trade-off: a camera that begins a cluster every
ten seconds has as many decoded again.

Source: RFC 9559 (Matroska), ISO/IEC 14496-12 (fragments).
"""

from collections import deque

from mien.media.container import MATROSKA, STREAM_HEAD

SECONDS = 6.0
"""Time before now that is decoded again: encoders of browsers send a key frame every few seconds."""
MOST_BYTES = 1 << 25
HEAD_BYTES = 1 << 22
CLUSTER = b"\x1f\x43\xb6\x75"
FRAGMENT = b"moof"
SIZE_BYTES = 4
"""The size of a fragment, before its name."""


class Replay:
    """The header and the last seconds of a stream."""

    def __init__(self, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self._seconds, self._most = seconds, most_bytes
        self._head: bytes | None = None  # until a cluster begins
        self._data = bytearray()
        self._starts: deque[tuple[int, float]] = deque()  # places in the data, and when they came
        self._skipping = False

    def add(self, block: bytes, now: float) -> bytes:
        """Take a block that came at a time; returns what is to be passed on: all of it, but after a skip."""
        before = len(self._data)
        self._data += block
        found = self._find(before, now)
        self._forget(now)
        if not self._skipping:
            return block
        if not found:
            return b""
        self._skipping = False
        return bytes(self._data)

    def restart(self, skip: bool = False) -> bytes | None:
        """Header and last seconds; ``None`` if the stream cannot be read from its middle.

        Args:
            skip: the header alone, and then what comes from the next cluster on.
        """
        if self._head is None:
            return None
        if skip:
            self._data.clear()
            self._starts.clear()
            self._skipping = True
        return self._head + bytes(self._data)

    def _find(self, place: int, now: float) -> bool:
        """Enter the clusters that begin in a block, which begins at a place; whether there are any."""
        if self._head is None and len(self._data) < STREAM_HEAD:
            return False
        name, back = self._mark()
        if not name:
            self._head = b""
            self._starts.append((place, now))
            return True
        place, found = max(0, place - len(name) - back), False
        while (at := self._data.find(name, place)) >= 0:
            start, place = max(0, at - back), at + len(name)
            if self._starts and start <= self._starts[-1][0]:
                continue
            if not self._starts:  # what is before it is the header, or of a cluster that was left out
                if self._head is None:
                    self._head = bytes(self._data[:start])
                del self._data[:start]
                start, place = 0, place - start
            self._starts.append((start, now))
            found = True
        return found

    def _mark(self) -> tuple[bytes, int]:
        """The name by which the parts of this stream begin, and how far before it they do."""
        if self._head == b"":
            return b"", 0
        start = self._head or bytes(self._data[:STREAM_HEAD])
        if start[:4] == MATROSKA:
            return CLUSTER, 0
        return (FRAGMENT, SIZE_BYTES) if start[4:8] == b"ftyp" else (b"", 0)

    def _forget(self, now: float) -> None:
        """Free what is older, up to the start of a cluster."""
        while len(self._starts) > 1 and (self._starts[1][1] <= now - self._seconds or len(self._data) > self._most):
            self._cut(self._starts[1][0])
        if len(self._data) > self._most or (self._head is None and len(self._data) > HEAD_BYTES):
            del self._data[: -len(CLUSTER) - SIZE_BYTES]
            self._starts.clear()

    def _cut(self, place: int) -> None:
        del self._data[:place]
        self._starts = deque((start - place, at) for start, at in self._starts if start >= place)
