"""``mien serve``, ``mien work``."""

import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import MODEL_HELP, LocalSetOption, set_overrides
from mien.errors import DependencyMissing, MienError, SettingsError
from mien.starters import NAMES, starter

DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Data folder of the server: database, media and results.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="MIEN_DATABASE",
        help="postgresql://user@host/name; by default SQLite in the data folder. Other users see the arguments of a "
        "process, so an address with a password is taken from the environment only.",
    ),
]
PASSWORD = re.compile(r"[^/]*//[^/@]*:[^/@]+@|.*[?&]password=")
"""A database address with a password."""
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)]


def serve(
    model: ModelArgument,
    data: DataOption = Path("mien-data"),
    workers: Annotated[int, typer.Option("--workers", min=0, help="Worker processes to start; 0 starts none.")] = 1,
    host: Annotated[str, typer.Option("--host", help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port to bind to; 0 takes a free one.")] = 8321,
    database: DatabaseOption = None,
    new_key: Annotated[
        str | None, typer.Option("--new-key", metavar="NAME", help="Make a key of this name and print it.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="A limit of the server, e.g. file_bytes=5e8; repeatable."),
    ] = None,
    overrides: LocalSetOption = None,
) -> None:
    """Serve a model over HTTP: uploads, durable jobs, results in every export format."""
    _check_installed()
    _check_no_password(database)
    from mien.serving.run import serve as run
    from mien.serving.settings import read_serve_settings

    read = read_serve_settings(limits or ())
    set_overrides(overrides)
    if not model.is_dir() and starter(model) is None:
        raise MienError(
            f"{model}: no such model folder; name a model folder, a run folder with one, or a model that ships with "
            f"mien: {', '.join(NAMES)}"
        )
    passed = tuple(word for text in overrides or () for word in ("--set", text))
    limited = tuple(word for text in limits or () for word in ("--limit", text))
    run(
        model, data, workers=workers, host=host, port=port, database=database, limits=read, settings=passed,
        limit_options=limited, new_key=new_key,
    )  # fmt: skip


def work(
    model: ModelArgument,
    data: DataOption = Path("mien-data"),
    database: DatabaseOption = None,
    limits: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=VALUE", help="As for mien serve; repeatable.")
    ] = None,
    overrides: LocalSetOption = None,
    with_server: Annotated[
        bool, typer.Option("--with-server", help="End with the standard input.", hidden=True)
    ] = False,
) -> None:
    """Add a worker to a server: it scores jobs until stopped, and finishes its clip then."""
    from mien.sandbox import deny_network

    stop: list[Callable[[], object]] = [partial(os._exit, 0)]  # while the model is loaded, nothing is to be finished
    if with_server:
        threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    _check_no_password(database)
    if database is None:
        deny_network()  # with PostgreSQL, only what handles clips is without network
    _check_installed()
    from mien.config import read_local
    from mien.inference.predict import load
    from mien.serving.database import open_database
    from mien.serving.disk import Disk
    from mien.serving.queue import Queue
    from mien.serving.settings import read_serve_settings
    from mien.serving.supervisor import FAILED, READY
    from mien.serving.worker import Worker

    os.umask(0o077)
    read = read_serve_settings(limits or ())
    disk = Disk(data)
    tell = _tell if with_server else _keep_quiet
    try:
        engine = open_database(data, database)
        with load(model, read_local(set_overrides(overrides))) as loaded:
            worker = Worker(loaded, Queue(engine, read.lease_seconds), disk, read)
            stop.append(worker.stop)
            worker.begin()
            tell(READY)
            terminal.note(f"{model}: loaded, waiting for jobs")
            worker.run()
    except MienError as error:
        tell(FAILED + str(error).replace(str(model), model.name))
        raise


def _wait_for_end(stop: list[Callable[[], object]]) -> None:
    with suppress(OSError):
        while os.read(0, 1000):  # the server sends nothing: this waits until it is gone
            pass
    stop[-1]()


def _tell(line: str) -> None:
    """Tell the server, over the socket that is the standard input."""
    with suppress(OSError):
        os.write(0, f"{line}\n".encode())


def _keep_quiet(_line: str) -> None:
    """A worker that no server started has nobody to tell."""


def _check_no_password(database: str | None) -> None:
    """Refuse a password among the arguments of the process, which other users can list.

    Raises:
        SettingsError: there is one.
    """
    given = any(database in word for word in sys.argv) if database else False
    if given and PASSWORD.match(database or ""):
        raise SettingsError(
            "--database: other users of this machine can read a password among the arguments of a process; "
            "give the address by the environment (MIEN_DATABASE), or the password in ~/.pgpass"
        )


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyMissing(f"the server needs {error.name}; pip install 'mien[serve]' brings it") from error


COMMANDS = [
    (
        serve,
        "Example: mien serve runs/first --data served --workers 2; "
        "mien serve runs/first --host 0.0.0.0 --new-key lab; "
        'curl -T clip.mp4 -H "Authorization: Bearer $(cat served/key)" "localhost:8321/v1/files?name=clip.mp4"',
    ),
    (
        work,
        "Example: mien work runs/first --data served; mien work runs/first --data served --database postgresql://db/mien",
    ),
]
