"""The provenance of scores in the outputs that are made from a document: as one line of text, and as named values."""

from typing import Any

from mien.scores.document import ModelNote, ScoresDocument
from mien.wording import plural


def provenance_line(scored: ScoresDocument) -> str:
    """Model, training data, version, date and windows as one line, with the banner first; unknown parts are left out.

    For example ``mien 0.1.0; model first, sha256 9f2c…; trained on ratings.csv (320 clips); scored
    2026-11-28T18:00:00+00:00; windows of 4 s every 1 s``.
    """
    made, model = scored.provenance, scored.model
    parts = [
        model.banner or "",
        f"mien {made.mien}" if made else "",
        f"model {model.name}" + (f", sha256 {model.sha256}" if model.sha256 else ""),
        training_data(model),
        f"scored {made.created}" if made else "",
        f"windows of {made.windows.seconds:g} s every {made.windows.hop:g} s" if made and made.windows else "",
        f"not clipped to [{made.scale[0]:g}, {made.scale[1]:g}]" if made and made.raw else "",
    ]
    return "; ".join(filter(None, parts))


def training_data(model: ModelNote) -> str:
    """``trained on NAME (320 clips, synthetic)``; empty if unknown."""
    data = model.trained_on
    if data is None:
        return ""
    about = [plural(data.clips, "clip")] if data.clips is not None else []
    about += [f"ratings divided by {data.label_scale:g}"] if data.label_scale not in (None, 1) else []
    about += ["synthetic"] if data.synthetic else []
    return f"trained on {data.name}" + (f" ({', '.join(about)})" if about else "")


def provenance_values(scored: ScoresDocument) -> dict[str, Any]:
    """Model and provenance as JSON-like values."""
    made = scored.provenance.model_dump(mode="json") if scored.provenance else {}
    return {**made, "model": scored.model.model_dump(mode="json")}
