"""The way of one clip from its file to six scores: the calls in order.

    Model.load(folder) ─▶ model.predictions(clips):
        features.worker.Extractor     file → what the frozen backbones make of it
        ready, score_ready            → (N, E) intensities, with intervals
        score_windows, explain        → those of stretches of it; what moved them; when asked
        document                      → everything that is known of the clips; tables and files are made from it

A clip is scored from whatever it has; only one that has nothing, or cannot be read, gets no scores, and says why. What
was made of a clip is let go of when the clip is scored; what was loaded for it stays for the next (``session.py``).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import pyarrow as pa

from mien.config import Settings, with_changes
from mien.data.manifest import clips_of
from mien.errors import escape_control
from mien.features.windows import Windows, windows_of
from mien.features.worker import ClipJob, ClipOutcome, outcomes, plan
from mien.inference.explain import explain
from mien.inference.partial import Kept
from mien.inference.score import ready, score_ready
from mien.inference.session import Session
from mien.inference.sources import settings_for, source_notes
from mien.inference.windows import score_windows
from mien.model.bundle import Bundle, load_bundle
from mien.progress import counted
from mien.schema import Clip, Manifest, Prediction
from mien.scores.document import ModelNote, ScoresDocument, document
from mien.scores.exports.tabular import wide

Source = str | Path | Manifest | Iterable[str | Path]
"""A video file, a folder, a table of clips (see ``mien.read_manifest``), several of them, or a manifest."""


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """A trained model and everything that is needed to score new clips with it.

        with mien.load("runs/first") as model:
            tables = [model.predict(video) for video in videos]

    The first call loads what clips are read with (backbones, face finder, recogniser, a process that decodes); later
    calls find it loaded, until the model is closed or nobody holds it any more. It may be used from several threads,
    which take turns. With ``workers``, each call starts worker processes of its own, which load for themselves.

    Attributes:
        bundle: encoders, fusion head, and the settings that clips were prepared with.
        name: what scores say it is called.
    """

    bundle: Bundle
    name: str = "model"
    _session: Session = field(default_factory=Session, init=False)

    def __repr__(self) -> str:
        """Its name, its targets, and what it reads them from."""
        return (
            f"Model {self.name}\n"
            f"  targets     {', '.join(self.targets)}\n"
            f"  modalities  {', '.join(self.modalities)} ({self.bundle.settings.weights} weights)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was loaded to read clips, and end the process that decodes; a later call loads it anew."""
        self._session.close()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the scores."""
        return self.bundle.targets

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model looks at and listens to."""
        return self.bundle.modalities

    def predict(
        self,
        clips: Source,
        *,
        why: bool = False,
        workers: int = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        progress: bool = False,
    ) -> pa.Table:
        """Score clips.

        Args:
            clips: a video file, a folder, a table of clips (see ``mien.read_manifest``), or several of them.
            why: also say what each modality moved.
            workers: processes; 0 works in this one. Files are decoded in other processes in any case.
            clip_seconds: a clip that takes longer is given up; by default as the model's settings say.
            faces: ``video``, ``provided``, or ``auto``: the provided ones where a clip has them, else the video's own.
                By default as the model was trained, and ``auto`` where that was on provided ones.
            sound: likewise. ``source_notes`` says where the model was trained on others.
            progress: show a bar.

        Returns:
            A row per clip, as ``wide`` (``mien.scores.exports.tabular``) makes it: ``clip``, one column per target,
            its ``lower`` and ``upper`` ends, with ``why`` what each modality moved, the ``present`` and ``absent``
            modalities (with reasons), and ``error`` when it could not be scored.

        Raises:
            DataError: a file that was named does not exist.
            WeightsMissing: the pretrained weights that the model builds on are not in the cache.
        """
        made = self.predictions(
            clips, why=why, workers=workers, clip_seconds=clip_seconds, faces=faces, sound=sound, progress=progress
        )
        return wide(self.document(made))

    def document(self, predictions: Iterable[Prediction]) -> ScoresDocument:
        """Everything that is known of scored clips, with what is to be known of this model."""
        intervals = self.bundle.provenance.get("intervals", {})
        note = ModelNote(
            name=self.name,
            weights=self.bundle.settings.weights,
            modalities=list(self.modalities),
            interval_level=intervals.get("level"),
            random_weights=self.bundle.random_weights,
        )
        return document(predictions, self.targets, note)

    def predictions(
        self,
        clips: Source,
        *,
        windows: float | None = None,
        hop: float | None = None,
        why: bool = False,
        workers: int = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        progress: bool = False,
        kept: Kept | None = None,
    ) -> list[Prediction]:
        """Score clips; ``document`` takes what comes, and ``mien.scores.exports`` makes tables and files of it.

        Args:
            clips: as for ``predict``.
            windows: also score windows of this many seconds.
            hop: seconds from one window to the next; a quarter of their length when not given.
            why: also find out what moved the scores.
            workers: as for ``predict``.
            clip_seconds: as for ``predict``.
            faces, sound: as for ``predict``.
            progress: as for ``predict``.
            kept: where predictions are kept as they are made, and those of an interrupted run are found; whoever has
                written what it is for removes it.

        Returns:
            A prediction per clip, in the order of the clips.

        Raises:
            SettingsError: the windows are none, or would leave gaps; the time is none; there is no such source.
            DataError: as for ``predict``.
            WeightsMissing: as for ``predict``.
        """
        wanted, manifest = windows_of(windows, hop), manifest_of(clips)
        made = self.score(
            manifest.clips,
            windows=wanted,
            why=why,
            workers=workers,
            clip_seconds=clip_seconds,
            faces=faces,
            sound=sound,
            kept=kept,
        )
        by_clip = {one.clip: one for one in counted(made, "scoring", len(manifest.clips), progress)}
        return [by_clip[clip.id] for clip in manifest.clips]

    def score(
        self,
        clips: Sequence[Clip],
        *,
        windows: Windows | None = None,
        why: bool = False,
        workers: int = 0,
        clip_seconds: float | None = None,
        faces: str | None = None,
        sound: str | None = None,
        kept: Kept | None = None,
    ) -> Iterator[Prediction]:
        """Score clips one by one, those that are kept first, then in the order of completion."""
        settings = settings_for(self.bundle.settings, faces, sound)
        if clip_seconds is not None:
            settings = with_changes(settings, {"compute.clip_seconds": float(clip_seconds)}, "clip_seconds")
        extraction = plan(settings, workers, windows)
        if kept is not None:
            kept.begin(self.bundle, extraction, why)
            known = list(kept.take(clips))
            clips = [clip for clip, made in known if made is None]
            yield from (made for _, made in known if made is not None)
        jobs = (ClipJob(clip) for clip in clips)
        made_of = outcomes(extraction, jobs, workers) if workers else self._session.outcomes(extraction, jobs)
        for job, outcome in made_of:
            made = self._prediction(outcome, why)
            if kept is not None:
                kept.keep(job.clip, made)
            yield made

    def source_notes(
        self,
        clips: Iterable[Clip],
        predictions: Sequence[Prediction],
        faces: str | None = None,
        sound: str | None = None,
    ) -> list[str]:
        """How many clips were scored from faces or sound of a kind that the model was not trained on, in words."""
        trained = self.bundle.settings
        return source_notes(trained, settings_for(trained, faces, sound), clips, predictions)

    def _prediction(self, outcome: ClipOutcome, why: bool) -> Prediction:
        if outcome.failure is not None:
            return replace(self._unscored(outcome.clip), error=outcome.failure)
        made = outcome.made
        packed = ready(self.bundle, [made])
        (whole,) = score_ready(self.bundle, packed)
        reasons = {feature.modality: feature.reason for feature in made.features}
        absent = {name: reasons[name] for name in self.modalities if name not in whole.present}
        known = replace(
            self._unscored(outcome.clip),
            present=whole.present,
            absent=absent,
            seconds=made.seconds,
            transcript=made.transcript,
        )
        if not whole.present:
            told = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
            return replace(known, error=escape_control(f"{outcome.clip.path.name}: nothing to score ({told})"))
        return replace(
            known,
            scores=whole.scores,
            intervals=whole.intervals,
            windows=score_windows(self.bundle, made, outcome.window_spans),
            why=explain(self.bundle, made, packed) if why else None,
        )

    def _unscored(self, clip: Clip) -> Prediction:
        nothing = dict.fromkeys(self.targets, math.nan)
        begins = clip.start or 0.0
        return Prediction(clip.id, nothing, path=clip.path, participant=clip.participant, start=begins)


def load(folder: str | Path, local: Settings | None = None) -> Model:
    """Load a model from its folder, or from the run folder that holds it.

    Args:
        folder: of the model or the run.
        local: whose limits hold on this machine (device, threads, time, memory, length and size of a clip), whatever
            the model says; by default those of ``Settings()``.

    Raises:
        ModelError: the folder holds no model, a damaged one, or one of a newer version.
    """
    return Model(load_bundle(Path(folder), local=local), Path(folder).resolve().name)


def manifest_of(clips: Source) -> Manifest:
    """The clips that are to be scored.

    Raises:
        DataError: a file that was named does not exist.
    """
    if isinstance(clips, Manifest):
        return clips
    named = [clips] if isinstance(clips, str | Path) else clips
    return clips_of(Path(name) for name in named)
