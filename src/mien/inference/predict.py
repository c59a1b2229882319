"""Scoring: from a clip's file to its scores, in the order of the calls.

    Model.load(folder) ─▶ model.predictions(clips):
        features.worker.Extractor     file → features of the frozen backbones
        pack_with_windows             → model inputs of the clip and its windows, packed once
        score_packed                  → (N, E) scores, with intervals
        score_windows, explain        → scores of windows; modality contributions; if requested
        document                      → all results as one document; tables and files are made from it

A clip is scored from its available modalities; one without any, or that cannot be read, has an error in place of
scores. Features are released once a clip is scored; engines stay loaded for the next clip (``session.py``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa

from mien.config import Settings, with_changes
from mien.data.manifest import clips_of
from mien.errors import ModelError
from mien.features.fetch import fetched
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.spans import Windows, windows_of
from mien.features.stages import failed_outcome, outcomes
from mien.features.worker import Extraction, plan
from mien.inference.partial import PartialScores
from mien.inference.prediction import Scored, Scoring, predict_clip
from mien.inference.provenance import (
    check_backbones,
    clipping_notes,
    describe_model,
    describe_scoring,
    feature_notes,
    weights_text,
)
from mien.inference.session import Session
from mien.inference.sources import settings_for, source_notes
from mien.model.bundle import Bundle
from mien.model.model_folder import load_bundle, weights_file
from mien.progress import counted
from mien.scale import Cluster, Failed, Pool, run
from mien.schema import Clip, Manifest, Prediction
from mien.scores.document import ScoresDocument, document
from mien.scores.exports.tabular import wide
from mien.storage.files import sha256_of
from mien.storage.mirror import local_folder

Source = str | Path | Manifest | Iterable[str | Path]
"""A video file, a folder, a table of clips (see ``mien.read_manifest``), several of them, or a manifest.

Text that begins with ``s3://``, ``gs://`` or ``abfs://`` is an address in object storage."""


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """A trained model, ready to score new clips.

        with mien.load("runs/first") as model:
            tables = [model.predict(video) for video in videos]

    The first call loads the engines (backbones, face detector, speech recogniser, decoder process); they stay loaded
    until the model is closed or garbage-collected. It may be used from several threads, which take turns. With
    ``workers``, each call starts its own worker processes, which load their own engines.

    Attributes:
        bundle: encoders, fusion head, and the settings for preparing clips.
        name: the model's name in its outputs.
        sha256: hash of the file of its weights; ``None`` if it was never in a file.
        folder: where it was loaded from; ``None`` if it was never in a file.
        local: limits of this machine that it was loaded with.
    """

    bundle: Bundle
    name: str = "model"
    sha256: str | None = None
    folder: Path | None = None
    local: Settings | None = None
    _session: Session = field(default_factory=Session, init=False)

    def __repr__(self) -> str:
        """Name, targets and modalities."""
        return (
            f"Model {self.name}\n"
            f"  targets     {', '.join(self.targets)}\n"
            f"  modalities  {', '.join(self.modalities)} ({weights_text(self.bundle)} weights)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the engines and end the decoder process; a later call loads them again."""
        self._session.close()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the scores."""
        return self.bundle.targets

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the model reads, in order."""
        return self.bundle.modalities

    @property
    def stage(self) -> str:
        """What is being done with the clip at hand, for another thread to show: ``decoding``, ``speech``, the name of
        a modality whose backbone runs, or ``scores``; empty before the first clip, and with ``workers``."""
        return self._session.stage

    def predict(
        self,
        clips: Source,
        *,
        why: bool = False,
        workers: Pool = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        raw: bool = False,
        progress: bool = False,
    ) -> pa.Table:
        """Score clips.

        Args:
            clips: a video file, a folder, a table of clips (see ``mien.read_manifest``), or several of them.
            why: also compute modality contributions.
            workers: worker processes, or a ``mien.scale.Cluster``; 0 runs in this process. Files are always decoded in
                a separate process.
            clip_seconds: time limit per clip, seconds; by default that of the model's settings.
            faces: ``video``, ``provided``, or ``auto``: provided faces if a clip has them, else those of the video.
                By default as in training, and ``auto`` if that was ``provided``.
            sound: likewise, for audio. ``source_notes`` reports clips whose source differs from training.
            raw: the regression's own numbers; by default scores and intervals are clipped to the rating scale
                (``clipping_notes`` counts them).
            progress: show a progress bar.

        Returns:
            A row per clip, as from ``wide`` (``mien.scores.exports.tabular``): ``clip``, a column per target, its
            ``lower`` and ``upper`` ends, with ``why`` the modality contributions, the ``present`` and ``absent``
            modalities (with reasons), ``error`` if it could not be scored, and ``notes`` on its file. The schema's
            metadata has the provenance (``mien``).

        Raises:
            DataError: a named file does not exist.
            WeightsMissing: pretrained weights that the model needs are not in the cache.
        """
        made = self.predictions(
            clips, why=why, workers=workers, clip_seconds=clip_seconds, faces=faces, sound=sound, raw=raw,
            progress=progress,
        )  # fmt: skip
        return wide(self.document(made, raw=raw))

    def document(
        self,
        predictions: Iterable[Prediction],
        *,
        windows: float | None = None,
        hop: float | None = None,
        raw: bool = False,
    ) -> ScoresDocument:
        """Predictions with a description of this model and of the scoring, as one document.

        Args:
            predictions: from ``predictions``.
            windows, hop, raw: as they were given to it.
        """
        model = describe_model(self.bundle, self.name, self.sha256)
        return document(predictions, self.targets, model, describe_scoring(self.bundle, windows_of(windows, hop), raw))

    def clipping_notes(self, predictions: Sequence[Prediction]) -> list[str]:
        """How many scores were outside the rating scale and were clipped to it, in words."""
        return clipping_notes(predictions, self.bundle.scale)

    def predictions(
        self,
        clips: Source,
        *,
        windows: float | None = None,
        hop: float | None = None,
        why: bool = False,
        workers: Pool = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        raw: bool = False,
        progress: bool = False,
        kept: PartialScores | None = None,
    ) -> list[Prediction]:
        """Score clips; ``document`` and ``mien.scores.exports`` turn predictions into tables and files.

        Args:
            clips: as for ``predict``.
            windows: also score windows of this many seconds.
            hop: seconds from one window to the next; by default a quarter of their length.
            why, workers, clip_seconds, faces, sound, raw, progress: as for ``predict``.
            kept: stores predictions as they are made and holds those of an interrupted run; the caller removes it
                once the output is written.

        Returns:
            A prediction per clip, in the order of the clips.

        Raises:
            SettingsError: invalid windows, or windows with gaps; an invalid time limit; an unknown source.
            DataError: as for ``predict``.
            WeightsMissing: as for ``predict``.
        """
        spans, manifest = windows_of(windows, hop), manifest_of_paths(clips)
        made = self.score(
            manifest.clips, windows=spans, why=why, workers=workers, clip_seconds=clip_seconds, faces=faces,
            sound=sound, raw=raw, kept=kept, fetch_from=manifest.fetch_from,
        )  # fmt: skip
        by_clip = {one.clip: one for one in counted(made, "scoring", len(manifest.clips), progress)}
        return [by_clip[clip.id] for clip in manifest.clips]

    def score(
        self,
        clips: Sequence[Clip],
        *,
        windows: Windows | None = None,
        why: bool = False,
        workers: Pool = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        raw: bool = False,
        kept: PartialScores | None = None,
        fetch_from: Sequence[str] = (),
    ) -> Iterator[Prediction]:
        """Score clips one by one: stored ones first, then in order of completion.

        Clips in object storage are fetched from the addresses ``fetch_from`` only.
        """
        settings = settings_for(self.bundle.settings, faces, sound)
        if clip_seconds is not None:
            settings = with_changes(settings, {"compute.clip_seconds": float(clip_seconds)}, "clip_seconds")
        extraction = plan(settings, workers, windows)
        check_backbones(self.bundle, dict(extraction.weights))
        if kept is not None:
            kept.begin(self.bundle, extraction, why, raw, fetch_from)
            known = list(kept.take(clips))
            clips = [clip for clip, made in known if made is None]
            yield from (made for _, made in known if made is not None)
        jobs = (ClipJob(clip) for clip in clips)

        def scored(here: Iterable[ClipJob]) -> Iterator[tuple[ClipJob, ClipOutcome | Scored]]:
            if isinstance(workers, Cluster):
                return self._on_cluster(extraction, here, workers, why, raw)
            return outcomes(extraction, here, workers) if workers else self._session.outcomes(extraction, here)

        for job, outcome in fetched(extraction, jobs, fetch_from, scored):
            if isinstance(outcome, Scored):
                made = outcome.prediction_of(job.clip)
            else:
                self._session.stage = "scores"
                made = predict_clip(self.bundle, outcome, why, raw)
                self._session.stage = ""
            if kept is not None:
                kept.add(job.clip, made)
            yield made

    def _on_cluster(
        self, extraction: Extraction, jobs: Iterable[ClipJob], workers: Cluster, why: bool, raw: bool
    ) -> Iterator[tuple[ClipJob, ClipOutcome | Scored]]:
        """Scored by workers that load the model from its folder, so that no features travel."""
        if self.folder is None:
            raise ModelError("a cluster scores with a model that is in a folder; save this one, and load it")
        scoring = Scoring(self.folder, self.local, extraction, why, raw)
        for job, made in run(scoring, jobs, workers=workers, seconds_each=extraction.seconds_for):
            yield job, failed_outcome(extraction, job, made) if isinstance(made, Failed) else made

    def feature_notes(self) -> list[str]:
        """A line for each modality whose features are made in another way here than those of the training."""
        return feature_notes(self.bundle, plan(settings_for(self.bundle.settings), 0, None))

    def source_notes(
        self,
        clips: Iterable[Clip],
        predictions: Sequence[Prediction],
        faces: str | None = None,
        sound: str | None = None,
    ) -> list[str]:
        """A line for each source of faces or audio that the model was not trained on, with the number of clips."""
        trained = self.bundle.settings
        return source_notes(trained, settings_for(trained, faces, sound), clips, predictions)


def load(folder: str | Path, local: Settings | None = None) -> Model:
    """Load a model from its folder, or from the run folder that holds it.

    Args:
        folder: of the model or the run; also in object storage.
        local: limits of this machine (device, threads, time, memory, length and size of a clip), which replace
            those of the model; by default those of ``Settings()``.

    Raises:
        ModelError: the folder holds no model, a damaged one, or one of a newer version.
    """
    here = local_folder(folder)
    bundle = load_bundle(here, local=local)
    return Model(bundle, here.resolve().name, sha256_of(weights_file(here)), here, local)


def manifest_of_paths(clips: Source) -> Manifest:
    """The clips to score.

    Raises:
        DataError: a named file does not exist.
    """
    if isinstance(clips, Manifest):
        return clips
    return clips_of([clips] if isinstance(clips, str | Path) else clips)
