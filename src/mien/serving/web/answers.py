"""What the interface answers, for its description; every answer is checked against it."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class File(BaseModel):
    """An upload that is complete."""

    id: str
    name: str
    bytes: int
    sha256: str


class JobFile(File):
    """A file of a job; ``state`` is ``queued``, ``completed`` or ``failed``, and then ``reason`` says why.

    ``stage`` is what is being done with the file at hand: ``decoding``, ``speech``, the name of a modality whose
    backbone runs, or ``scores``.
    """

    state: str
    stage: str | None
    reason: str | None


class Progress(BaseModel):
    """Number of clips of a job: finished, of these not scored, and all; id and stage of the file at hand."""

    done: int
    failed: int
    total: int
    file: str | None
    stage: str | None


class Job(BaseModel):
    """A job; ``links`` has the addresses of its results, by name."""

    id: str
    state: str
    reason: str | None
    created: Time
    started: Time | None
    ended: Time | None
    request: dict[str, Any]
    files: list[JobFile]
    progress: Progress
    links: dict[str, str]


class Jobs(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]


class Key(BaseModel):
    """A key, without the key itself."""

    id: str
    name: str
    scopes: list[str]


class NewKey(Key):
    """A key that was just made; ``key`` is shown only now."""

    key: str


class Keys(BaseModel):
    """All keys."""

    keys: list[Key]
