"""Processes that score live sessions, one for each, and one that is kept ready.

    web process ──slices──▶ mien live MODEL - --jsonl ──events──▶ web process

The web process never loads the model: a session is a child of its own, so it can be killed, and what it holds in
memory goes with it. Loading takes seconds, so a child that has loaded everything waits for the next session: from when
somebody opens the page, or a session has ended, until none has begun for ``live_spare_seconds``. The trade-off: while
it waits it takes as much memory as a worker.

The child reads a line of JSON with the windows, then the stream; its end, also that of this process, ends the child.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mien import terminal
from mien.errors import escape_control
from mien.serving.settings import ServeSettings

LINE_BYTES = 1 << 20
"""Longest event of a child."""
TAIL_BYTES = 2000
"""The end of a child's error stream that is kept to say why it died."""


class Scorer:
    """A child that scores one stream."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Around a process that was started."""
        assert process.stdin and process.stdout and process.stderr
        self._process, self._input, self._output = process, process.stdin, process.stdout
        self._said = b""
        self._listening = asyncio.create_task(self._listen(process.stderr))

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    async def begin(self, windows: float, hop: float) -> None:
        """State the windows; slices follow."""
        self.send(json.dumps({"windows": windows, "hop": hop}).encode() + b"\n")
        await self.taken()

    def send(self, data: bytes) -> None:
        """Pass on a part of the stream; await ``taken`` before the next. Nothing happens if the child has ended."""
        with suppress(OSError):
            self._input.write(data)

    async def taken(self) -> None:
        """Wait while the child is behind."""
        with suppress(OSError):
            await self._input.drain()

    def finish(self) -> None:
        """The stream is over: what has come is still scored."""
        with suppress(OSError):
            self._input.close()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events as they come, until the child ends."""
        with suppress(ValueError):  # a line that is too long, or was cut: the child is not to be trusted any more
            while line := await self._output.readline():
                yield json.loads(line)

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self.finish()

    async def ended(self) -> str:
        """Wait for its end; what it said last, in one line."""
        await self._process.wait()
        await self._listening
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        return escape_control(lines[-1]) if lines else ""

    async def _listen(self, errors: asyncio.StreamReader) -> None:
        while more := await errors.read(TAIL_BYTES):
            self._said = (self._said + more)[-TAIL_BYTES:]


class Scorers:
    """The children of a server.

    Attributes:
        sessions: number of sessions that run.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None, *, limits: ServeSettings
    ) -> None:
        """Children with these arguments of ``mien live``; nothing is started yet."""
        self._command = [sys.executable, "-m", "mien.cli", "live", *arguments, "--jsonl", "--with-server"]
        self._environment = {**os.environ, **(environment or {})}
        self._environment.pop("MIEN_DATABASE", None)
        self._limits = limits
        self._spare: asyncio.Task[Scorer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.sessions = 0

    @property
    def full(self) -> bool:
        """Whether no further session may begin."""
        return self.sessions >= self._limits.live_sessions

    def prepare(self) -> None:
        """Have a child ready for the next session; called in the event loop."""
        if self._limits.live_spare_seconds <= 0 or self.full:
            return
        if self._spare is None or not _usable(self._spare):
            self._spare = asyncio.create_task(self._start())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._limits.live_spare_seconds, self._let_go)

    async def take(self) -> Scorer:
        """A child for a session: the one that waits, or a new one."""
        spare, self._spare = self._spare, None
        if self._timer is not None:
            self._timer.cancel()
        return await (spare if spare is not None and _usable(spare) else self._start())

    async def close(self) -> None:
        """End the child that waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._let_go()
        if self._leaving is not None:
            await self._leaving

    def _let_go(self) -> None:
        """Nobody has needed the child that waits."""
        if self._spare is not None:
            self._leaving = asyncio.create_task(_end(self._spare))
            self._spare = None

    async def _start(self) -> Scorer:
        pipe = asyncio.subprocess.PIPE
        return Scorer(
            await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES, start_new_session=True,
                env=self._environment,
            )
        )  # fmt: skip


async def _end(spare: "asyncio.Task[Scorer]") -> None:
    scorer = await spare
    scorer.kill()
    await scorer.ended()


def _usable(spare: "asyncio.Task[Scorer]") -> bool:
    """Whether a child that waits can be taken: it is being started, or it lives."""
    if not spare.done():
        return True
    if spare.cancelled() or spare.exception() is not None:
        return False
    if spare.result().alive:
        return True
    terminal.warn("the process that waited for a live session has ended; another is started")
    return False
