"""``WS /v1/live``: scores while a camera records, and the recording as a normal job.

    client   start, then slices of the recording (binary), mark …, stop
    server   ready, started, (window | word | behind | warning)*, [error], stopped

Slices go to a process that scores (``serving.live``) and, unless ``keep`` is ``none``, to a file, which becomes a job
at the end, also when the connection is lost, or the server is killed (``recording``). Nothing waits in memory but one
message: whoever sends faster than is scored waits, and whoever does not read is disconnected.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from mien import terminal
from mien.errors import MienError, escape_control
from mien.serving.live import Scorer
from mien.serving.web.access import Principal, Server, socket_principal
from mien.serving.web.problems import NO_DATABASE, Problem, problem_response
from mien.serving.web.recording import Recording, reason_of
from mien.serving.web.uploads import check_room

router = APIRouter()

ENDINGS = {
    "video/webm": "webm", "audio/webm": "webm", "video/x-matroska": "mkv", "audio/x-matroska": "mka",
    "video/mp4": "mp4", "audio/mp4": "m4a", "video/mp2t": "ts",
}  # fmt: skip
"""Kinds of streams that can be decoded while they come, and the endings of their files."""
MOST_MARKS = 1000
FINISH_SECONDS = 60.0
"""Time for what has come to be scored, once the client has stopped."""


class Start(BaseModel):
    """The first message of a client."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["start"]
    windows: Annotated[float, Field(ge=0.5, le=60)] = 4.0
    """Seconds of a window."""
    hop: Annotated[float, Field(ge=0.1, le=60)] | None = None
    """Seconds from one window to the next; by default one, or the length of a window if that is shorter."""
    mime: Annotated[str, Field(max_length=100)] = "video/webm"
    """What is sent, as MediaRecorder names it."""
    keep: Literal["media", "none"] = "media"
    """``none``: the recording is not stored, and becomes no job."""

    @model_validator(mode="after")
    def _check(self) -> "Start":
        if self.hop_seconds > self.windows:
            raise ValueError("hop: as long as a window at most")
        if self.kind not in ENDINGS:
            raise ValueError(f"mime: expected one of {', '.join(ENDINGS)}")
        return self

    @property
    def hop_seconds(self) -> float:
        """Seconds from one window to the next."""
        return min(1.0, self.windows) if self.hop is None else self.hop

    @property
    def kind(self) -> str:
        """The type without its parameters."""
        return self.mime.partition(";")[0].strip().lower()


class Mark(BaseModel):
    """A moment that the client names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["mark"]
    label: Annotated[str, Field(min_length=1, max_length=200)]
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """Of the recording; by default the time since its first slice came."""


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """Score what a client records while it records."""
    server: Server = socket.app.state.server
    try:
        who = await run_in_threadpool(socket_principal, socket, "live")
        if not server.limits.live_sessions:
            raise Problem(403, "live sessions are turned off here (live_sessions=0)")
        if server.scorers.full:
            at_once = server.limits.live_sessions
            raise Problem(503, f"{at_once} live sessions run already; try again later", {"Retry-After": "30"})
    except Problem as problem:
        return await socket.send_denial_response(problem_response(problem.status, problem.detail, problem.headers))
    except DBAPIError:
        return await socket.send_denial_response(problem_response(*NO_DATABASE))
    server.scorers.sessions += 1
    try:
        await socket.accept()
        await _Session(socket, server, who).run()
    except (WebSocketDisconnect, TimeoutError):
        pass  # the client has gone, or does not read
    finally:
        server.scorers.sessions -= 1
        server.scorers.prepare()


class _Session:
    """One session: two tasks, one for each direction."""

    def __init__(self, socket: WebSocket, server: Server, who: Principal) -> None:
        self._socket, self._server, self._who, self._limits = socket, server, who, server.limits
        self._recording: Recording | None = None
        self._marks: list[dict[str, Any]] = []
        self._deadline = monotonic() + self._limits.live_seconds
        self._began: float | None = None  # when the first slice came
        self._ready = False  # the child has loaded the model
        self._stopped: dict[str, Any] | None = None  # its last event

    async def run(self) -> None:
        """From the first message to the last."""
        asked = await self._started()
        if asked is None:
            return
        scorer = await self._server.scorers.take()
        reason = "lost"
        try:
            reason = await self._exchange(scorer, asked.windows, asked.hop_seconds)
        finally:
            scorer.kill()
            said = await scorer.ended()
            if self._stopped is None and reason != "lost":
                terminal.warn(f"live: a scoring process has ended: {said}")
            job, note = (None, "") if self._recording is None else await self._recording.finish(self._marks)
        if reason == "lost":
            return
        if self._stopped is None:
            await self._tell("error", text="the process that scores has ended; the server's log says why")
            reason = "failed"
        if note:
            await self._tell("warning", text=note)
        await self._end(reason, job)

    async def _started(self) -> Start | None:
        """The first message; ``None`` if it was none, which the client is told."""
        message = await self._received()
        try:
            if message is None:
                raise ValueError("no message came")
            asked = Start.model_validate_json(message.get("text") or "null")
            if "score" not in self._who.scopes and "admin" not in self._who.scopes and asked.keep != "none":
                await self._tell("warning", text="the key lacks the scope score: the recording is not kept")
                asked.keep = "none"
            if asked.keep != "none":
                await run_in_threadpool(check_room, self._server, 0)
                given = (ENDINGS[asked.kind], asked.windows, asked.hop_seconds)
                self._recording = await run_in_threadpool(Recording, self._server, self._who, *given)
        except (ValueError, Problem, MienError, DBAPIError) as error:
            await self._tell("error", text=f"start: {reason_of(error)}")
            await self._end("failed", None)
            return None
        return asked

    async def _exchange(self, scorer: Scorer, windows: float, hop: float) -> str:
        """Both directions until one ends; why."""
        await scorer.begin(windows, hop)
        hearing = asyncio.create_task(self._hear(scorer))
        telling = asyncio.create_task(self._tell_events(scorer))
        try:
            await asyncio.wait((hearing, telling), return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():  # the child has ended
                await telling
                return "failed"
            if (reason := hearing.result()) == "lost":
                return reason
            scorer.finish()
            await asyncio.wait_for(telling, FINISH_SECONDS)
            return reason
        except WebSocketDisconnect:
            return "lost"
        finally:
            for task in (hearing, telling):
                task.cancel()
            await asyncio.gather(hearing, telling, return_exceptions=True)

    async def _hear(self, scorer: Scorer) -> str:
        """Pass on what the client sends; why it ended: ``stopped``, ``ended``, ``failed`` or ``lost``."""
        while True:
            message = await self._received()
            if message is None and not self._ready and monotonic() < self._deadline:
                continue  # whoever waits for the child is not idle
            if message is None:
                if monotonic() >= self._deadline:
                    minutes = self._limits.live_seconds / 60
                    await self._tell("warning", text=f"a session takes {minutes:.3g} min at most; this one ends")
                    return "ended"
                await self._tell("error", text=f"nothing came for {self._limits.live_idle_seconds:g} s")
                return "failed"
            if message["type"] == "websocket.disconnect":
                return "lost"
            if (data := message.get("bytes")) is not None:
                self._began = self._began or monotonic()
                await self._record(data)
                await self._pass_on(scorer, data)
                continue
            try:
                if self._told(message.get("text") or ""):
                    return "stopped"
                if self._recording is not None:
                    await self._recording.mark(self._marks)
            except ValueError as error:
                await self._tell("error", text=reason_of(error))
                return "failed"

    def _told(self, text: str) -> bool:
        """Take a message of text; whether it says stop."""
        if json.loads(text) == {"type": "stop"}:
            return True
        mark = Mark.model_validate_json(text)
        if len(self._marks) >= MOST_MARKS:
            raise ValueError(f"at most {MOST_MARKS} marks a session")
        seconds = monotonic() - (self._began or monotonic()) if mark.seconds is None else mark.seconds
        self._marks.append({"label": escape_control(mark.label), "seconds": round(seconds, 3)})
        return False

    async def _pass_on(self, scorer: Scorer, data: bytes) -> None:
        """Send a slice to the child, and wait until it can take another one."""
        scorer.send(data)
        while True:
            try:
                return await asyncio.wait_for(scorer.taken(), self._limits.live_idle_seconds)
            except TimeoutError:
                if self._ready:
                    raise

    async def _record(self, data: bytes) -> None:
        if self._recording is not None and (problem := await self._recording.add(data)):
            await self._tell("warning", text=f"the recording ends here: {problem}")

    async def _tell_events(self, scorer: Scorer) -> None:
        """Pass on what the child reports, until its last event."""
        async for event in scorer.events():
            self._ready = True
            if event["type"] == "window":
                self._server.metrics.live_lag(event["state"], event["lag"])
            if event["type"] == "stopped":
                self._stopped = event
                return
            await self._send(event)

    async def _end(self, reason: str, job: str | None) -> None:
        """The last message, then the connection is closed."""
        found = self._stopped or {"seconds": 0.0, "windows": 0, "skipped": 0}
        if found.get("reason") == "failed":
            reason = "failed"
        document = None if job is None else f"/v1/jobs/{job}/scores.json"
        numbers = {name: found[name] for name in ("seconds", "windows", "skipped")}
        await self._tell("stopped", reason=reason, **numbers, marks=self._marks, job=job, document=document)
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(1000)

    async def _received(self) -> Mapping[str, Any] | None:
        """The next message; ``None`` if none comes in time."""
        left = min(self._limits.live_idle_seconds, self._deadline - monotonic())
        try:
            return await asyncio.wait_for(self._socket.receive(), max(0.001, left))
        except TimeoutError:
            return None

    async def _tell(self, kind: str, **values: Any) -> None:
        await self._send({"type": kind, **values})

    async def _send(self, event: Mapping[str, Any]) -> None:
        await asyncio.wait_for(self._socket.send_text(json.dumps(event)), self._limits.live_idle_seconds)
