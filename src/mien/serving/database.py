"""Tables of the server, in SQLite (embedded, the default) or PostgreSQL (several machines).

SQLite keeps its write-ahead log beside the database and shares it through memory, which network file systems break
silently; so a folder on one is refused. Commits are flushed to the disk (``synchronous=FULL``).

Times are seconds: since 1970, or, where a clock that is set must not matter, by the steady clock (``clock.py``).

Source: https://sqlite.org/wal.html, https://docs.sqlalchemy.org/en/21/core/.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError

from mien.errors import DataError, DependencyMissing, SettingsError
from mien.serving import clock

VERSION = 1
BUSY_SECONDS = 10
"""Time to wait for a lock of SQLite."""
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "glusterfs", "lustre")

metadata = sa.MetaData()

about = sa.Table(
    "about", metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)  # fmt: skip
"""Version of the tables, and the model that the server scores with."""

keys = sa.Table(
    "keys", metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)  # fmt: skip

uploads = sa.Table(
    "uploads", metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", sa.String(64)),
    sa.Column("job", sa.String(40), index=True),
    sa.Column("created", sa.Double, nullable=False),
)  # fmt: skip
"""``bytes`` is the announced size; ``sha256`` is set when all bytes are there; ``job`` when a job uses it."""

recordings = sa.Table(
    "recordings", metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
)  # fmt: skip
"""Recordings of live sessions that are not a job yet: of sessions that run, or that were running when the server was
killed. ``id`` is of the upload that it becomes, ``request`` the windows and the marks of its job."""

jobs = sa.Table(
    "jobs", metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("reason", sa.Text),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(256)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(80)),
    sa.Column("model", sa.String(64)),
    sa.Column("leased_until", sa.Double),
    sa.Column("media", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.UniqueConstraint("owner", "idempotency_key"),
    sa.Index("jobs_state", "state", "created"),
)  # fmt: skip
"""``attempt`` fences: only the worker of the last attempt may write. ``deaths`` counts workers lost since a clip was
finished. ``leased_until`` is by the steady clock. ``media``: its files are still there. ``version`` numbers its
events."""

clips = sa.Table(
    "clips", metadata,
    sa.Column("job", sa.String(40), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("transcript", sa.Text),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("reason", sa.Text),
)  # fmt: skip

events = sa.Table(
    "events", metadata,
    sa.Column("job", sa.String(40), primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)  # fmt: skip

workers = sa.Table(
    "workers", metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
)  # fmt: skip
"""``seen`` is by the steady clock."""

hooks = sa.Table(
    "hooks", metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("job", sa.String(40), nullable=False, index=True),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("body", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due", sa.Double),
)  # fmt: skip
"""Webhooks to send; ``due`` is null before the job has ended, and once one was delivered or given up. ``kind`` says how
the body is made, which is stored at the first try."""


def open_database(folder: Path, url: str | None = None) -> sa.Engine:
    """The database of a server, with its tables made if needed.

    Args:
        folder: data folder; holds ``serve.db`` unless ``url`` is given.
        url: ``postgresql://…``; by default SQLite.

    Raises:
        SettingsError: not an address of PostgreSQL, or the folder is on a network file system.
        DataError: the database cannot be opened, or is of another version.
    """
    engine = _sqlite(folder / "serve.db") if url is None else _postgresql(url)
    shown = str(folder / "serve.db") if url is None else engine.url.render_as_string()
    try:
        _create(engine, shown)
    except DBAPIError as error:
        text = str(error.orig).strip().splitlines()[0]
        engine.dispose()
        raise DataError(f"{shown}: the database cannot be opened ({text})") from error
    except DataError:
        engine.dispose()
        raise
    return engine


def _create(engine: sa.Engine, shown: str) -> None:
    with engine.begin() as db:
        lock_tables(db)  # several processes may start at once
        metadata.create_all(db)
        found = db.scalar(sa.select(about.c.value).where(about.c.name == "version"))
        if found is None:
            db.execute(sa.insert(about).values(name="version", value=VERSION))
        elif found != VERSION:
            raise DataError(f"{shown}: tables of version {found}, but this mien reads version {VERSION}")


def stored_bytes(engine: sa.Engine) -> int:
    """Bytes of all media: of uploads that no job uses, as announced, and of jobs whose media are kept."""
    unused = sa.select(sa.func.sum(uploads.c.bytes)).where(uploads.c.job.is_(None))
    kept = sa.select(sa.func.sum(clips.c.bytes)).join(jobs, jobs.c.id == clips.c.job).where(jobs.c.media)
    with engine.execution_options(reads=True).begin() as db:
        return int(db.scalar(unused) or 0) + int(db.scalar(kept) or 0)


def living(engine: sa.Engine, lease_seconds: float) -> sa.ColumnElement[bool]:
    """Which workers are alive; one seen in the future was seen before the machine started, or its clock was set."""
    time = steady_now(engine)
    return workers.c.seen.between(time - lease_seconds, time)


def lock_tables(db: sa.Connection) -> None:
    """Have other transactions that call this wait; those of SQLite wait in any case."""
    if db.dialect.name == "postgresql":
        db.execute(sa.text("select pg_advisory_xact_lock(6210945)"))


def now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Seconds since 1970 by the clock of the database, as an expression."""
    return _clock(engine, "wall_seconds()")


def steady_now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Seconds by the steady clock, as an expression; in PostgreSQL, ``now``."""
    return _clock(engine, "steady_seconds()")


def _clock(engine: sa.Engine, function: str) -> sa.ColumnElement[float]:
    is_postgresql = engine.dialect.name == "postgresql"
    return sa.literal_column("extract(epoch from clock_timestamp())" if is_postgresql else function, sa.Double)


def _postgresql(url: str) -> sa.Engine:
    try:
        address = sa.make_url(url)
    except ArgumentError:
        raise SettingsError("--database: not a database address; write postgresql://user:password@host/name") from None
    if address.get_backend_name() not in ("postgresql", "postgres"):
        raise SettingsError(f"--database {address.get_backend_name()}: only postgresql:// is known; without it, SQLite")
    try:
        return sa.create_engine(
            address.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=8, max_overflow=32
        )
    except ModuleNotFoundError as error:
        raise DependencyMissing("PostgreSQL needs psycopg; pip install 'mien[serve]' brings it") from error


def _sqlite(file: Path) -> sa.Engine:
    if found := _network_file_system(file.parent):
        raise SettingsError(
            f"{file.parent}: is on {found}, where SQLite is not safe; name a folder on a local disk, or use --database"
        )
    if sqlite3.sqlite_version_info < (3, 35):
        raise DependencyMissing(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed; use --database")
    engine = sa.create_engine(f"sqlite:///{file}", pool_size=8, max_overflow=32, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.create_function("wall_seconds", 0, lambda: clock.wall_seconds())
        connection.create_function("steady_seconds", 0, lambda: clock.steady_seconds())
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")  # a lock taken later could deadlock

    return engine


def _network_file_system(folder: Path) -> str:
    """The type of the network file system that holds a folder; empty if it is local."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(folder)
    for _, place, found, *_ in (line.split(" ") for line in mounts):
        place = place.encode().decode("unicode_escape")
        if (real == place or real.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
            best, kind = place, found
    return kind if kind.startswith(NETWORK_FILE_SYSTEMS) else ""
