"""Limits of a server; each can be set with ``mien serve --limit NAME=VALUE``."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from mien.config import parse_override
from mien.config.section import Section
from mien.errors import SettingsError


def _whole(value: object) -> object:
    """``5e8`` as it is read from a command line is a number of bytes, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class ServeSettings(Section):
    """Limits of a server."""

    file_bytes: Number = 1_000_000_000
    """Largest file."""
    job_files: Number = 100
    """Files of a job, at most."""
    job_bytes: Number = 4_000_000_000
    """Bytes of all files of a job, at most."""
    body_bytes: Number = 1_000_000
    """Largest JSON body."""
    queued_jobs: Number = 1000
    """Jobs that wait or run, at most."""
    queued_jobs_per_key: Number = 200
    """The same for one key."""
    posts_per_second: Seconds = 10.0
    """Requests of one key that change something, on average."""
    gets_per_second: Seconds = 50.0
    """Other requests of one key, on average."""
    data_bytes: Number = 20_000_000_000
    """Bytes of all stored media."""
    free_bytes: Number = 5_000_000_000
    """Uploads are refused when the disk has less space left."""
    header_seconds: Seconds = 10.0
    """Time to receive the head of a request."""
    body_seconds: Seconds = 30.0
    """In each such interval, a body must bring ``body_progress_bytes``."""
    body_progress_bytes: Number = 64_000
    """See ``body_seconds``."""
    reader_seconds: Seconds = 30.0
    """In each such interval, a client must take ``body_progress_bytes`` of an answer that waits for it."""
    events_seconds: Seconds = 3600.0
    """A stream of events ends after this time; a client that still reads resumes it."""
    upload_seconds: Seconds = 86_400.0
    """An upload that no job uses is deleted after this time."""
    media_seconds: Seconds = 86_400.0
    """Media of an ended job are deleted after this time (with ``keep: none``, at once)."""
    result_seconds: Seconds = 604_800.0
    """Results are deleted, and the job expires, after this time."""
    row_seconds: Seconds = 2_592_000.0
    """An expired job is forgotten after this time."""
    sweep_seconds: Seconds = 60.0
    """Time between two sweeps of what is too old."""
    lease_seconds: Seconds = 30.0
    """A worker that gives no sign of life for this time has lost its job."""
    beat_seconds: Seconds = 10.0
    """Time between two signs of life."""
    live_sessions: Number = 2
    """Live sessions at once."""
    live_seconds: Seconds = 3600.0
    """Longest live session."""
    live_message_bytes: Number = 1_000_000
    """Largest message of a live session."""
    live_idle_seconds: Seconds = 60.0
    """A live session ends when nothing comes for this time."""
    live_spare_seconds: Annotated[float, Field(ge=0)] = 600.0
    """A process with the model loaded waits so long for the next live session; 0: none waits."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts that webhooks may be sent to although their addresses are private, e.g. ``["hooks.lab.local"]``."""


def read_serve_settings(overrides: Iterable[str] = ()) -> ServeSettings:
    """Limits from ``name=value`` overrides.

    Raises:
        SettingsError: a setting does not exist, or a value is not allowed.

    >>> read_serve_settings(["job_files=3", "file_bytes=5e8"]).file_bytes
    500000000
    """
    given = [parse_override(text, f"--limit {text.partition('=')[0].strip()}") for text in overrides]
    values = {one.name: tuple(one.value) if isinstance(one.value, list) else one.value for one in given}
    try:
        return ServeSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise SettingsError(
                f"--limit {name}: no such limit; known are {', '.join(ServeSettings.model_fields)}"
            ) from None
        raise SettingsError(f"--limit {name}: {first['msg']}, found {first['input']!r}") from None
