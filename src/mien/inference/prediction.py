"""From the outcome of a clip's extraction to its prediction, here or in a worker that holds the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mien.config import Settings
from mien.errors import escape_control
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.worker import Extraction
from mien.inference.explain import explain
from mien.inference.score import as_read, score_packed
from mien.inference.windows import pack_with_windows, score_windows, windows_as_read
from mien.model.bundle import Bundle
from mien.model.model_folder import load_bundle
from mien.schema import Clip, Prediction


@dataclass(frozen=True)
class Scored:
    """A clip that a worker scored; ``clip`` may be a copy of the clip that was named."""

    clip: Clip
    made: Prediction

    def prediction_of(self, clip: Clip) -> Prediction:
        """The prediction, of the clip as it was named."""
        return replace(self.made, path=clip.path, address=clip.address)


@dataclass(frozen=True)
class Scoring:
    """Scores clips in workers that load the model themselves; called once in each worker.

    Attributes:
        folder: of the model.
        local: limits of this machine.
        extraction: of the features.
        why, raw: as for ``Model.predict``.
    """

    folder: Path
    local: Settings | None
    extraction: Extraction
    why: bool
    raw: bool

    def __call__(self) -> Callable[[ClipJob], Scored]:
        """The function of a worker."""
        bundle, extract = load_bundle(self.folder, local=self.local), self.extraction()
        return lambda job: Scored(job.clip, predict_clip(bundle, extract(job), self.why, self.raw))


def predict_clip(bundle: Bundle, outcome: ClipOutcome, why: bool, raw: bool) -> Prediction:
    """The scores of a clip from its features; a clip without any has an error in place of scores."""
    unscored = _without_scores(bundle, outcome.clip)
    if outcome.failure is not None:
        return replace(unscored, error=outcome.failure)
    made, spans = as_read(bundle, outcome.made), windows_as_read(bundle, outcome.window_spans)
    packed = pack_with_windows(bundle, made, spans)
    (whole,) = score_packed(bundle, packed[:1], raw)
    reasons = {feature.modality: feature.reason for feature in made.features}
    absent = {name: reasons[name] for name in bundle.modalities if name not in whole.present}
    known = replace(
        unscored,
        present=whole.present,
        absent=absent,
        seconds=made.seconds,
        transcript=made.transcript,
        notes=tuple(escape_control(note) for note in made.notes),
        faces=outcome.faces,
    )
    if not whole.present:
        listed = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        return replace(known, error=escape_control(f"{outcome.clip.file_name}: nothing to score ({listed})"))
    return replace(
        known,
        scores=whole.scores,
        intervals=whole.intervals,
        windows=score_windows(bundle, made, spans, raw, packed),
        clipped=whole.clipped,
        why=explain(bundle, made, packed[:1], raw) if why else None,
    )


def _without_scores(bundle: Bundle, clip: Clip) -> Prediction:
    missing = dict.fromkeys(bundle.targets, math.nan)
    start = clip.start or 0.0
    return Prediction(clip.id, missing, path=clip.path, participant=clip.participant, start=start, address=clip.address)
