"""Jobs and scores in the documents of Hume's retired batch API, for the addresses below ``/v0``.

    read_request        what a client asked for  → options of a job, and what of it has no equivalent
    job_document        a job                    → ``job_id``, ``type``, ``request``, ``state``
    predictions         a scores document        → one source per file, as ``mien.scores.exports.hume`` makes them

What the export cannot know is filled in: checksum and type of the files as they were sent. Nothing of a request is
dropped silently: what has no equivalent is named in ``results.errors`` of the first file.

Source: types of the Python client ``hume`` 0.13.13, ``expression_measurement.batch``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from mien.errors import SettingsError, escape_control
from mien.features.spans import windows_of
from mien.scores.document import ScoresDocument
from mien.scores.exports.hume import hume

STATES = {
    "QUEUED": ("queued",),
    "IN_PROGRESS": ("running",),
    "COMPLETED": ("completed",),
    "FAILED": ("failed", "cancelled", "expired"),
}
"""Our states by theirs."""

MODELS = ("face", "burst", "prosody", "language", "ner", "facemesh")
SHOWN = 20
"""Names in a message, at most."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=100)]


class Asked(BaseModel):
    """The options of a request, as the client writes them."""

    model_config = ConfigDict(extra="allow")

    models: dict[Name, dict[Name, JsonValue] | None] | None = None
    transcription: dict[Name, JsonValue] | None = None
    urls: list[str] | None = None
    text: list[str] | None = None
    callback_url: Annotated[str, Field(max_length=2000)] | None = None
    notify: bool | None = None


class _Window(BaseModel):
    """The default of a length that is not given is that of the service."""

    length: Seconds = 4.0
    step: Seconds = 1.0


def read_request(text: bytes | None) -> Asked:
    """The options of a request; without any, the defaults.

    Raises:
        SettingsError: not options that can be met.

    >>> read_request(b'{"models": {"prosody": {}}}').models
    {'prosody': {}}
    """
    if text is None or text.strip() in (b"", b"null"):
        return Asked()
    try:
        asked = Asked.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(f"json: {_first(error)}") from None
    if asked.urls:
        raise SettingsError("urls: this server opens no address of a request; send the files as multipart parts `file`")
    if asked.text:
        raise SettingsError("text: only audio and video files are scored here; send them as multipart parts `file`")
    named = [name for name, options in (asked.models or {}).items() if options is not None]
    if named and "prosody" not in named:
        raise SettingsError(
            f"models: {_listed(named)} asked for, but there is one score fused from voice, words and face, which is "
            "given as the model prosody; ask for prosody"
        )
    window_options(asked)
    return asked


def window_options(asked: Asked) -> dict[str, float]:
    """``windows`` and ``hop`` in seconds, from ``prosody.window``; empty without it.

    Raises:
        SettingsError: not a length and a step, or windows would leave gaps.

    >>> window_options(read_request(b'{"models": {"prosody": {"window": {"length": 2}}}}'))
    {'windows': 2.0, 'hop': 1.0}
    """
    given = ((asked.models or {}).get("prosody") or {}).get("window")
    if given is None:
        return {}
    try:
        window = _Window.model_validate({key: value for key, value in given.items() if value is not None}
                                        if isinstance(given, dict) else given)  # fmt: skip
        windows_of(window.length, window.step)
    except ValidationError as error:
        raise SettingsError(f"json: models.prosody.window.{_first(error)}") from None
    except SettingsError as error:
        raise SettingsError(f"json: models.prosody.window: {error}") from None
    return {"windows": window.length, "hop": window.step}


def ignored(asked: Asked) -> list[str]:
    """What of a request has no equivalent, one line per reason."""
    models = asked.models or {}
    others = [name for name, options in models.items() if options is not None and name != "prosody"]
    options = [f"prosody.{name}" for name, value in (models.get("prosody") or {}).items()
               if name != "window" and value is not None]  # fmt: skip
    options += [f"transcription.{name}" for name, value in (asked.transcription or {}).items() if value is not None]
    if "transcription" in asked.model_fields_set and asked.transcription is None:
        options.append("transcription: null")
    options += ["notify"] if asked.notify else []
    options += list(asked.model_extra or {})
    messages = []
    if others:
        messages.append(
            f"{_listed(others)}: left out; there is one score fused from voice, words and face, given as prosody"
        )
    if options:
        messages.append(f"{_listed(options)}: ignored, since there is no such option here")
    return messages


def job_document(row: Any, clips: Sequence[Any]) -> dict[str, Any]:
    """A job as the service described it.

    Args:
        row: of the table ``jobs``.
        clips: its rows of the table ``clips``.

    Returns:
        Times are whole milliseconds since 1970. ``num_predictions`` and ``num_errors`` count scored files and files
        that could not be scored. A cancelled job, and one that has expired, is ``FAILED`` with a message.
    """
    asked = row.request["hume"]
    status = next(name for name, states in STATES.items() if row.state in states)
    state: dict[str, Any] = {"status": status, "created_timestamp_ms": _milliseconds(row.created)}
    if status != "QUEUED":
        state["started_timestamp_ms"] = _milliseconds(row.started or row.ended)
    if status in ("COMPLETED", "FAILED"):
        state["ended_timestamp_ms"] = _milliseconds(row.ended)
    if status == "COMPLETED":
        state["num_predictions"] = sum(clip.state == "completed" for clip in clips)
        state["num_errors"] = sum(clip.state == "failed" for clip in clips)
    elif status == "FAILED":
        state["message"] = failure(row)
    return {
        "job_id": row.id,
        "type": "INFERENCE",
        "user_id": row.owner,
        "request": {"urls": [], "text": [], **asked["request"], "files": asked["files"]},
        "state": state,
    }


def failure(row: Any) -> str:
    """Why a job has no predictions."""
    if row.state == "cancelled":
        return "the job was cancelled"
    return row.reason or ("the results were deleted, as they are after a time" if row.state == "expired" else "failed")


def predictions(scored: ScoresDocument, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores of a job as the service gave them, with the models that are left out absent instead of null.

    Args:
        scored: scores of the job, one clip per file.
        asked: ``files``, and ``ignored``: what of the request has no equivalent.
    """
    sources = hume(scored)
    for source, file in zip(sources, asked["files"], strict=True):
        source["source"].update(file)
        for made in source["results"]["predictions"]:
            prosody = made["models"]["prosody"]
            made["models"] = {"prosody": prosody}
            for group in prosody["grouped_predictions"]:
                for one in group["predictions"]:
                    one["text"] = one["text"] or ""
    if sources:
        first = sources[0]
        name = first["source"]["filename"]
        first["results"]["errors"] += [{"message": message, "file": name} for message in asked["ignored"]]
    return sources


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(escape_control(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    where = ".".join(str(part) for part in one["loc"])
    return escape_control(f"{where}: {one['msg']}" if where else one["msg"])[:500]
