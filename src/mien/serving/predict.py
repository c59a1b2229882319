"""The way of one clip from its file to six scores: the calls in order.

    Model.load(folder) ─▶ model.predict(clips):
        features.extract.Extractor    file → what the frozen backbones make of it
        pack                          → one packed array per modality
        bundle.score                  → (N, E) intensities
        table                         → a row per clip

A clip is scored from whatever it has; only one that has nothing, or cannot be read, gets no scores, and says why.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mien.data.manifest import clips_of
from mien.errors import ModelError
from mien.features.extract import Job, Outcome, plan
from mien.features.store import Packed
from mien.model.bundle import Bundle, load_bundle
from mien.progress import counted
from mien.scale import Failed, run
from mien.schema import Clip, ClipFeatures, Prediction

NO_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True)
class Model:
    """A trained model and everything that is needed to score new clips with it.

    Attributes:
        bundle: encoders, fusion head, and the settings that clips were prepared with.
    """

    bundle: Bundle

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the scores."""
        return self.bundle.targets

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model looks at and listens to."""
        return self.bundle.modalities

    def predict(
        self, clips: str | Path | Iterable[str | Path], *, workers: int = 0, progress: bool = False
    ) -> pa.Table:
        """Score clips.

        Args:
            clips: a video file, a folder, a table of clips (see ``mien.read_manifest``), or several of them.
            workers: processes; 0 works in this one.
            progress: show a bar.

        Returns:
            A row per clip: ``clip``, one column per target, its ``lower`` and ``upper`` ends, the ``present`` and
            ``absent`` modalities (with reasons), and ``error`` when it could not be scored.

        Raises:
            DataError: a file that was named does not exist.
            WeightsMissing: the pretrained weights that the model builds on are not in the cache.
        """
        named = [clips] if isinstance(clips, str | Path) else clips
        manifest = clips_of(Path(name) for name in named)
        made = self.score(manifest.clips, workers=workers)
        shown = counted(made, "scoring", len(manifest.clips), progress)
        predictions = {prediction.clip: prediction for prediction in shown}
        return table([predictions[clip.id] for clip in manifest.clips], self.targets)

    def score(self, clips: Sequence[Clip], *, workers: int = 0) -> Iterator[Prediction]:
        """Score clips one by one, in the order of completion."""
        extraction = plan(self.bundle.settings, workers)
        for job, result in run(extraction, (Job(clip) for clip in clips), workers=workers):
            if isinstance(result, Failed):
                yield self._nothing(job.clip.id, f"{job.clip.path.name}: {result.reason}")
            else:
                yield self._prediction(result)

    def _prediction(self, outcome: Outcome) -> Prediction:
        clip = outcome.clip.id
        if outcome.failure is not None:
            return self._nothing(clip, outcome.failure)
        features = {feature.modality: feature for feature in outcome.made.features}
        present = tuple(name for name in self.modalities if features[name].values is not None)
        absent = {name: features[name].reason for name in self.modalities if name not in present}
        if not present:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
            return self._nothing(clip, f"{outcome.clip.path.name}: nothing to score ({reasons})", absent)
        scores = self.bundle.score(pack([outcome.made], self.modalities, self.bundle.widths))  # (1, E)
        here = np.array([[name in present for name in self.modalities]])
        lower, upper = self.bundle.intervals(scores, here)
        ends = {name: (float(lower[0, e]), float(upper[0, e])) for e, name in enumerate(self.targets)}
        return Prediction(clip, dict(zip(self.targets, map(float, scores[0]), strict=True)), ends, present, absent)

    def _nothing(self, clip: str, error: str, absent: Mapping[str, str] | None = None) -> Prediction:
        nothing = dict.fromkeys(self.targets, math.nan)
        return Prediction(clip, nothing, absent=absent or {}, error=error)


def load(folder: str | Path) -> Model:
    """Load a model from its folder, or from the run folder that holds it.

    Raises:
        ModelError: the folder holds no model, a damaged one, or one of a newer version.
    """
    return Model(load_bundle(Path(folder)))


def pack(clips: Sequence[ClipFeatures], modalities: Iterable[str], widths: Mapping[str, int]) -> dict[str, Packed]:
    """Features of clips, one packed array per modality.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    packed = {}
    for name in modalities:
        found = [{f.modality: f.values for f in clip.features}.get(name) for clip in clips]
        values = [np.empty((0, widths[name]), np.float16) if steps is None else steps for steps in found]
        wrong = next((steps.shape[1] for steps in values if steps.shape[1] != widths[name]), None)
        if wrong is not None:
            raise ModelError(f"{name} features are {wrong} wide, but the model was trained on {widths[name]}")
        offsets = np.concatenate([[0], np.cumsum([len(steps) for steps in values])]).astype(np.int64)
        packed[name] = Packed(np.concatenate(values), offsets)
    return packed


def table(predictions: Sequence[Prediction], targets: Sequence[str]) -> pa.Table:
    """Predictions as a table, a row per clip; lists and reasons are joined as text, so that it opens anywhere."""
    columns: dict[str, list[object]] = {"clip": [made.clip for made in predictions]}
    columns |= {target: [made.scores[target] for made in predictions] for target in targets}
    for end, name in enumerate(("lower", "upper")):
        columns |= {
            f"{target} {name}": [made.intervals.get(target, NO_INTERVAL)[end] for made in predictions]
            for target in targets
        }
    columns["present"] = [" ".join(made.present) for made in predictions]
    columns["absent"] = ["; ".join(f"{n}: {why}" for n, why in made.absent.items()) for made in predictions]
    columns["error"] = [made.error or "" for made in predictions]
    words = ("clip", "present", "absent", "error")
    kinds = [(name, pa.string() if name in words else pa.float64()) for name in columns]
    return pa.table(columns, schema=pa.schema(kinds))
