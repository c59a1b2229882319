"""Scored clips in the JSON of Hume's batch Expression Measurement API, for programs that parse it already.

The service was shut down in June 2026. The format follows the response to *get job predictions* in its reference and in
the types of its Python client (``hume`` 0.13, ``expression_measurement.batch``): a list of sources, each with
``results.predictions[].models``. Choices where the two differ:

- A score of mien is fused from voice, words and face, while Hume had separate scores for each. All are under
  ``prosody``: its records have a ``time`` with ``begin`` and ``end`` and need no face box or text position, which fused
  scores do not have. The other models are null.
- A prediction is a window, or the whole clip if there are no windows. Times are from the start of the file.
- ``emotions`` holds the model's targets under their own names; there are not 48 of them.
- ``md5sum`` is empty, since media are not read again; ``id`` is the participant, or ``unknown`` as in Hume.
- A clip that could not be scored is in ``results.errors`` with its reason.
- Each source also has a key ``mien``, which the service did not have: provenance, and notes on the file.
"""

from pathlib import Path
from typing import Any

from mien.data.manifest import AUDIO_SUFFIXES
from mien.scores.document import ClipNote, ScoresDocument, WindowNote
from mien.scores.exports.format import JsonFormat
from mien.scores.provenance import provenance_values


def hume(scored: ScoresDocument) -> list[dict[str, Any]]:
    """One source per clip, in the order of the document."""
    about = provenance_values(scored)
    return [{**_source(clip, scored.targets), "mien": {**about, "notes": clip.notes}} for clip in scored.clips]


def _source(clip: ClipNote, targets: list[str]) -> dict[str, Any]:
    name = Path(clip.path).name if clip.path else clip.clip
    source = {"type": "file", "filename": name, "content_type": None, "md5sum": ""}
    if clip.error is not None:
        failed = [{"message": clip.error, "file": name}]
        return {"source": source, "results": {"predictions": [], "errors": failed}, "error": None}
    kind = "text" if not clip.path else "audio" if Path(name).suffix.lower() in AUDIO_SUFFIXES else "video"
    models = {"face": None, "burst": None, "prosody": _prosody(clip, targets), "language": None, "ner": None,
              "facemesh": None}  # fmt: skip
    made = [{"file": name, "file_type": kind, "models": models}]
    return {"source": source, "results": {"predictions": made, "errors": []}, "error": None}


def _prosody(clip: ClipNote, targets: list[str]) -> dict[str, Any]:
    parts = clip.windows or [WindowNote(start=0, end=clip.seconds or 0, **clip.model_dump(include=_SHARED))]
    predictions = [_prediction(clip, part, targets) for part in parts]
    confidences = [word.probability for word in clip.words]
    return {
        "metadata": (
            {"confidence": sum(confidences) / len(confidences), "detected_language": None} if confidences else None
        ),
        "grouped_predictions": [
            {"id": clip.participant or "unknown", "predictions": [made for made in predictions if made["emotions"]]}
        ],
    }


_SHARED = {"scores", "lower", "upper", "present"}


def _prediction(clip: ClipNote, part: WindowNote, targets: list[str]) -> dict[str, Any]:
    scores = [(target, part.scores.get(target)) for target in targets]
    return {
        "text": _text(clip, part),
        "time": {"begin": clip.start + part.start, "end": clip.start + part.end},
        "confidence": None,
        "speaker_confidence": None,
        "emotions": [{"name": name, "score": score} for name, score in scores if score is not None],
    }


def _text(clip: ClipNote, part: WindowNote) -> str | None:
    """The words with their middle in the window, or the transcript of a whole clip; null if there is none."""
    if clip.words and clip.windows:
        return " ".join(w.text.strip() for w in clip.words if part.start <= (w.start + w.end) / 2 < part.end)
    return None if clip.windows else clip.transcript


HUME = JsonFormat(
    name="hume",
    about="the JSON of Hume's retired batch service, all scores under `prosody`: for programs that parse it already",
    make=hume,
)
