"""Runs the web process and its workers until told to stop."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from mien import terminal
from mien.errors import MienError, SettingsError
from mien.scale import share_of_cores
from mien.serving.database import open_database
from mien.serving.disk import Disk
from mien.serving.live import Scorers
from mien.serving.queue import Queue
from mien.serving.settings import ServeSettings
from mien.serving.supervisor import Supervisor
from mien.serving.web.access import SCOPES, Server, add_key, has_keys, local_key
from mien.serving.web.app import make_app
from mien.serving.web.guard import Protocol, is_loopback
from mien.storage.exclusive import exclusive_writer

STOP_SECONDS = 30.0


def serve(
    model: Path,
    data: Path,
    *,
    workers: int,
    host: str,
    port: int,
    database: str | None,
    limits: ServeSettings,
    settings: tuple[str, ...] = (),
    limit_options: tuple[str, ...] = (),
    new_key: str | None = None,
) -> None:
    """Serve a model over HTTP until SIGTERM or Ctrl-C.

    Args:
        model: folder of the model; must exist.
        data: data folder.
        workers: worker processes to start; 0 starts none.
        host, port: to bind to; port 0 takes a free one.
        database: address of PostgreSQL; by default SQLite in the data folder. Workers get it by their environment,
            because other users can see the arguments of a process.
        limits: of the server.
        settings: ``--set`` options, passed on to workers and live sessions.
        limit_options: ``--limit`` options, passed on to the workers.
        new_key: name of a key to make and print.

    Raises:
        SettingsError: bound to another machine's reach without any key.
        InUse: another server uses the data folder.
        MienError: the address cannot be bound, or no worker can load the model.
    """
    os.umask(0o077)
    disk = Disk(data)
    with exclusive_writer(data / "web"), bound(host, port) as listening:
        engine = open_database(data, database)
        if new_key is not None:
            terminal.say(f"key {new_key}: {add_key(engine, new_key, SCOPES)[1]}")
        if not is_loopback(host) and not has_keys(engine):
            raise SettingsError(
                f"--host {host}: other machines could reach the server, but it has no key; make one with --new-key NAME"
            )
        environment = {"MIEN_DATABASE": database} if database else {}
        arguments = [str(model), "--data", str(data), *_share(workers), *settings, *limit_options]
        supervisor = Supervisor(workers, arguments, environment, limits.lease_seconds)
        queue = Queue(engine, limits.lease_seconds)
        scorers = Scorers([str(model), "-", *settings], limits=limits)
        server = Server(engine, queue, disk, limits, local_key(data), scorers, supervisor=supervisor)
        Protocol.set_limits(limits)
        app = make_app(server, loopback=is_loopback(host))

        def started() -> None:
            supervisor.start()
            shown = f"[{host}]" if ":" in host else host
            terminal.say(f"http://{shown}:{listening.getsockname()[1]}/?token={server.token}")
            terminal.note(f"the address works once; programs send the key in {data / 'key'}: Authorization: Bearer KEY")

        try:
            _run(app, listening, started, supervisor, limits)
        finally:
            supervisor.stop(STOP_SECONDS)
    if supervisor.gave_up:
        raise MienError(f"no worker could load the model, so the server ended: {supervisor.trouble}")


def _share(workers: int) -> list[str]:
    """The option that shares the cores among the workers, as those of ``mien predict --workers`` share them.

    It stands before the settings that are given, which replace it; ``OMP_NUM_THREADS`` goes first too.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return []
    return ["--set", f"compute.threads={share_of_cores(workers)}"]


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        MienError: it cannot be bound.
    """
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=kind, backlog=1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MienError(f"{host}:{port}: cannot be bound ({reason}); is another server running there?") from None


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None], supervisor: Supervisor) -> None:
        super().__init__(config)
        self._said, self._supervisor = started, supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._said()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._supervisor.gave_up


def _run(
    app: Any, listening: socket.socket, started: Callable[[], None], supervisor: Supervisor, limits: ServeSettings
) -> None:
    config = uvicorn.Config(
        app, http=Protocol, ws="websockets-sansio", ws_max_size=limits.live_message_bytes,
        ws_per_message_deflate=False, ws_ping_timeout=limits.live_idle_seconds, access_log=False,
        log_level="warning", server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
        limit_concurrency=500,
    )  # fmt: skip
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _Uvicorn(config, started, supervisor).run(sockets=[listening])  # raises the signal again when it has stopped
    except KeyboardInterrupt:
        terminal.note("stopping: workers finish their clips")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
