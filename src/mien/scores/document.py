"""The scores document: all results of scored clips as versioned JSON with a published JSON Schema.

A table has a row per clip, which is enough for most uses. The document also holds windows, words with their times, and
modality contributions. Reports and exports are made from it, and other programs can read it.

    {"format": "mien-scores", "version": 2, "model": {...}, "targets": [...], "clips": [{...}, ...], "provenance": ...}

``nan`` is null. Version 2 added optional fields to version 1, which is still read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.errors import DataError, escape_control
from mien.schema import Prediction
from mien.storage.documents import check_document, plain
from mien.storage.files import read_json, write_json

FORMAT: Literal["mien-scores"] = "mien-scores"
VERSION: Literal[2] = 2

Scores = dict[str, float | None]
"""By target."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TrainingDataNote(_Part):
    """The data that a model was trained on."""

    name: str
    """Name of the data set's file or folder."""
    clips: int | None
    """Number of training clips; null if unknown."""
    synthetic: bool | None
    """Whether some of the people in it are synthetic (``mien synth``); null if unknown."""
    label_scale: float | None = None
    """The factor that its ratings were divided by (``--label-scale``); null if unknown."""


class ModelNote(_Part):
    """The model that scored the clips."""

    name: str
    """Name of the model's folder."""
    weights: str
    """Set of pretrained weights that it builds on."""
    modalities: list[str]
    """Its modalities, in order."""
    interval_level: float | None
    """Target coverage of the prediction intervals; null if it has none."""
    random_weights: bool
    """The backbones have random weights: the scores are meaningless."""
    sha256: str | None = None
    """SHA-256 of the model's ``model.safetensors``; null if it was never in a file."""
    trained_on: TrainingDataNote | None = None
    """Null if unknown."""
    banner: str | None = None
    """A warning to be shown with every score; null if there is none."""


class WordNote(_Part):
    """A spoken word; seconds from the start of the clip."""

    text: str
    start: float
    end: float
    probability: float
    doubtful: bool = False
    """Its probability is low."""


class FacesNote(_Part):
    """The number of faces in view."""

    most: int
    """The largest number in one frame."""
    several_seconds: float
    """For how long more than one was in view."""


class WindowNote(_Part):
    """A window of a clip, scored as if it were a clip; seconds from the start of the clip."""

    start: float
    end: float
    scores: Scores
    lower: Scores
    upper: Scores
    present: list[str]
    clipped: list[str] = Field(default_factory=list)
    """Targets with a score outside the rating scale, which was clipped to its nearest end."""


class AttentionNote(_Part):
    """Weight of each step of a modality; the weights add up to 1."""

    seconds: list[float]
    weights: list[float]


class WhyNote(_Part):
    """Modality contributions to the scores of a clip."""

    nothing: Scores
    """Baseline: the scores of a clip without any modality."""
    shapley: dict[str, Scores]
    """By modality: Shapley values; with ``nothing`` they add up to the scores."""
    left_out: dict[str, Scores]
    """By modality: the score minus the score without it."""
    attention: dict[str, AttentionNote]


class ClipNote(_Part):
    """A clip."""

    clip: str
    path: str | None
    """Path of its file, as given."""
    participant: str | None
    seconds: float | None
    scores: Scores
    lower: Scores
    """Lower end of the prediction interval."""
    upper: Scores
    """Upper end of the prediction interval."""
    present: list[str]
    """Available modalities."""
    absent: dict[str, str]
    """Missing modalities, each with the reason."""
    error: str | None
    """Why it could not be scored."""
    transcript: str | None
    """Transcript; null if the model does not use words."""
    words: list[WordNote] = Field(default_factory=list)
    windows: list[WindowNote] = Field(default_factory=list)
    why: WhyNote | None = None
    start: float = 0.0
    """Start of the clip in its file, seconds; all other times are relative to it."""
    notes: list[str] = Field(default_factory=list)
    """Remarks on the file: damage, guessed times, several audio tracks."""
    clipped: list[str] = Field(default_factory=list)
    """Targets with a score outside the rating scale, which was clipped to its nearest end."""
    faces: FacesNote | None = None
    """Null if the video was not searched for faces."""
    doubtful_words: bool = False
    """The words as a whole are doubtful, as those of a language that the recogniser does not know are."""


class WindowingNote(_Part):
    """Length of windows, and time from one window to the next, seconds."""

    seconds: float
    hop: float


class ProvenanceNote(_Part):
    """How and when the scores were made."""

    mien: str
    """Version of mien."""
    created: str
    """Date and time (UTC, ISO 8601)."""
    windows: WindowingNote | None = None
    """Null without windows."""
    scale: tuple[float, float]
    """Range of the ratings that the model was trained on."""
    raw: bool = False
    """Scores are the regression's own numbers, which may lie outside ``scale``; else they were clipped to it."""


class ScoresDocument(_Part):
    """Scored clips, with the model that scored them."""

    format: Literal["mien-scores"] = FORMAT
    version: Literal[2] = VERSION
    model: ModelNote
    targets: list[str]
    """Names of the scores, in order."""
    clips: list[ClipNote]
    provenance: ProvenanceNote | None = None
    """Null in documents of version 1."""


def document(
    predictions: Iterable[Prediction],
    targets: Iterable[str],
    model: ModelNote,
    provenance: ProvenanceNote | None = None,
) -> ScoresDocument:
    """Predictions as a document."""
    clips = [_clip(made) for made in predictions]
    return ScoresDocument(model=model, targets=list(targets), clips=clips, provenance=provenance)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a document; ``docs/schema/`` has a copy of it."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{FORMAT}:{VERSION}"}
    return head | ScoresDocument.model_json_schema(mode="serialization")


def write_document(made: ScoresDocument, file: Path) -> None:
    """Write a document as JSON."""
    write_json(file, as_json(made))


def as_json(made: ScoresDocument) -> dict[str, Any]:
    """A document as JSON-like values."""
    return made.model_dump(mode="json")


def read_document(file: Path) -> ScoresDocument:
    """Read a document of this version, or of version 1.

    Raises:
        DataError: not a document of scores, damaged, or of another version.
    """
    remedy = f"make one with: mien predict MODEL CLIPS --out {file.stem}.json"
    found = read_json(file, expected="scores of mien predict --out scores.json")
    if isinstance(found, dict) and found.get("version") == 1:
        found = {**found, "version": VERSION}
    values = check_document(file, found, FORMAT, VERSION, noun="document of scores", remedy=remedy)
    try:
        return ScoresDocument.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _clip(made: Prediction) -> ClipNote:
    transcript = made.transcript
    return ClipNote(
        clip=made.clip,
        path=_place(made),
        participant=made.participant,
        seconds=plain(made.seconds),
        scores=_scores(made.scores),
        **_ends(made.intervals),
        present=list(made.present),
        absent=dict(made.absent),
        error=made.error,
        transcript=None if transcript is None else transcript.text,
        words=[WordNote(**asdict(word), doubtful=word.doubtful) for word in (transcript.words if transcript else ())],
        windows=[
            WindowNote(
                start=w.start,
                end=w.end,
                scores=_scores(w.scores),
                **_ends(w.intervals),
                present=list(w.present),
                clipped=list(w.clipped),
            )
            for w in made.windows
        ],
        why=_why(made),
        start=made.start,
        notes=list(made.notes),
        clipped=list(made.clipped),
        faces=None if made.faces is None else FacesNote(**asdict(made.faces)),
        doubtful_words=transcript is not None and transcript.doubtful,
    )


def _place(made: Prediction) -> str | None:
    """The path of a clip's file, or its address in object storage."""
    if made.address is not None:
        return escape_control(made.address)
    return None if made.path is None else escape_control(str(made.path))


def _why(made: Prediction) -> WhyNote | None:
    why = made.why
    return why and WhyNote(
        nothing=_scores(why.baseline),
        shapley={name: _scores(values) for name, values in why.shapley.items()},
        left_out={name: _scores(values) for name, values in why.leave_one_out.items()},
        attention={
            name: AttentionNote(seconds=list(part.seconds), weights=list(part.weights))
            for name, part in why.attention.items()
        },
    )


def _ends(intervals: Mapping[str, tuple[float, float]]) -> dict[str, Scores]:
    return {
        end: {name: plain(pair[place]) for name, pair in intervals.items()}
        for place, end in enumerate(("lower", "upper"))
    }


def _scores(values: Mapping[str, float]) -> Scores:
    return {name: plain(value) for name, value in values.items()}
