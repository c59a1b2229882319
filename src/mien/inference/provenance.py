"""How scores were made: the model, the data that it was trained on, and what changed scores on their way out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from mien.compute.device import resolve_compute
from mien.errors import ModelError
from mien.features.spans import Windows
from mien.features.worker import Extraction, provenance_of
from mien.modalities import get_modalities
from mien.model.bundle import Bundle
from mien.schema import Prediction
from mien.scores.document import ModelNote, ProvenanceNote, TrainingDataNote, WindowingNote
from mien.weights import Weights
from mien.weights.own import own_backbones
from mien.wording import by_kind, plural

SYNTHETIC = "trained on synthetic people: for trying out, its scores say nothing about real ones"
"""Banner of a model that was trained on the stand-in corpus."""


def describe_model(bundle: Bundle, name: str, sha256: str | None) -> ModelNote:
    """A model as its scores name it.

    Args:
        bundle: the model.
        name: of its folder.
        sha256: of its weights' file; ``None`` if it was never in a file.
    """
    data = bundle.provenance.get("data", {})
    trained_on = data and TrainingDataNote(
        name=data["name"],
        clips=data.get("train"),
        synthetic=data.get("synthetic"),
        label_scale=data.get("label_scale"),
    )
    return ModelNote(
        name=name,
        weights=weights_text(bundle),
        modalities=list(bundle.modalities),
        interval_level=bundle.provenance.get("intervals", {}).get("level"),
        random_weights=bundle.random_weights,
        sha256=sha256,
        trained_on=trained_on or None,
        banner=SYNTHETIC if data.get("synthetic") else bundle.provenance.get("banner"),
    )


def weights_text(bundle: Bundle) -> str:
    """The set of weights and the backbones of one's own, by name and without paths: ``small, text: my-bert@1a2b…``."""
    own = (f"{role}: {one.name}" for role, one in bundle.backbones.items())
    return ", ".join([bundle.settings.backbones.set, *own])


def check_backbones(bundle: Bundle, weights: Mapping[str, Weights]) -> None:
    """Check that the backbones of one's own are those of the training.

    Raises:
        ModelError: the bytes of one are others, or the model was trained on the set's.
    """
    for role, one in own_backbones(weights).items():
        known = bundle.backbones.get(role)
        if known is None:
            raise ModelError(
                f"weights.{role}: {one.reference}: the model was trained on the set's {role} backbone; leave it out"
            )
        if known.sha256 != one.sha256:
            raise ModelError(
                f"weights.{role}: {one.reference}: holds {one.name}, but the model was trained on {known.name}; give "
                f"the folder of these weights with --set weights.{role}=FOLDER"
            )


def feature_notes(bundle: Bundle, extraction: Extraction) -> list[str]:
    """A line for each modality whose features are made in another way here than those that the model was trained on.

    Formats of numbers that agree up to rounding are no other way; 8 bits are, and so is another version of the code.
    """
    weights, compute = dict(extraction.weights), resolve_compute(extraction.settings.compute)
    made = {one.name: provenance_of(one, weights, compute) for one in get_modalities(bundle.modalities)}
    return [
        f"{name}: the model was trained on features made by {bundle.feature_provenance[name]}, and here they are made "
        f"by {here}, so scores differ from those of the training; train it again on features that are made as here"
        for name, here in made.items()
        if bundle.feature_provenance.get(name) and _way(bundle.feature_provenance[name]) != _way(here)
    ]


def _way(provenance: str) -> tuple[str, bool, str]:
    """Weights, whether in 8 bits, and version of the code."""
    words = provenance.split(" ")
    return words[0], "int8" in words, words[-1]


def describe_scoring(bundle: Bundle, windows: Windows | None, raw: bool) -> ProvenanceNote:
    """When and how clips were scored: now, with this version of mien."""
    return ProvenanceNote(
        mien=version("mien"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        windows=None if windows is None else WindowingNote(seconds=windows.seconds, hop=windows.hop),
        scale=bundle.scale,
        raw=raw,
    )


def clipping_notes(predictions: Sequence[Prediction], scale: tuple[float, float]) -> list[str]:
    """How many scores of clips, and of windows, were outside the rating scale and were clipped, with the first."""
    scored = [made for made in predictions if made.error is None]
    low, high = scale
    notes = []
    for clipped, total, of in (
        ([(made, made.clipped) for made in scored], sum(len(made.scores) for made in scored), "scores"),
        ([(made, window.clipped) for made in scored for window in made.windows],
         sum(len(window.scores) for made in scored for window in made.windows), "scores of windows"),
    ):  # fmt: skip
        found = [(made.clip, targets[0]) for made, targets in clipped if targets]
        if found:
            count = sum(len(targets) for _, targets in clipped)
            notes.append(
                f"{count:,} of {total:,} {of} were outside the rating scale [{low:g}, {high:g}] and were clipped to it "
                f"(first: {found[0][0]}, {found[0][1]}); --raw keeps the model's own numbers"
            )
    return notes


def media_notes(predictions: Iterable[Prediction], at_most: int = 10) -> list[str]:
    """What is odd about the files: a line per kind of note, with the number of clips and the first, the common first.

    Args:
        predictions: of the clips.
        at_most: lines; the rest is counted in one more.
    """
    lines = [
        f"{kind.clips[0]}: {kind.first}"
        if len(kind.clips) == 1
        else f"{len(kind.clips):,} clips: {kind.text} (first: {kind.clips[0]})"
        for kind in by_kind((made.clip, note) for made in predictions for note in made.notes)
    ]
    left = plural(len(lines) - at_most, "more kind", "more kinds")
    more = [f"and {left} of notes; the column notes has them all"] if len(lines) > at_most else []
    return [*lines[:at_most], *more]
