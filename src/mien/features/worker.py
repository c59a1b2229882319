"""A clip → its features: it is decoded once, and each frozen backbone sees it once.

    for job, outcome in outcomes(plan(settings), jobs, workers=2): ...

A worker takes a whole clip from its file to its features, because on a processor that is what keeps all cores busy
without moving pictures between processes. What it loads and what it is asked for are two things:

    Engines      weights, backbones, face finder, recogniser, decoder    loaded when first needed, kept
    Extraction   settings, weights by name, windows                      what is wanted of clips now
    Extractor    both together: clip → features                          nothing but these two; made anew at each call
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch

from mien.compute.device import choose_threads, resolve_compute
from mien.config import Settings, with_changes
from mien.errors import DataError, MediaError, MienError, escape_control
from mien.features.keys import Keys
from mien.features.windows import Windows, WindowSpan, window_spans
from mien.media.decoder import seconds_for
from mien.media.load_media import MediaEngines, load_media
from mien.modalities import named
from mien.modalities.base import Absent, Backbone, Modality
from mien.modalities.text import TEXT, spoken
from mien.scale import Failed, run
from mien.schema import Clip, ClipFeatures, Feature, Media
from mien.weights import SETS, Weights, resolve

GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class ClipJob:
    """A clip and what is known of it: key, status, reason and origin of each stored feature."""

    clip: Clip
    known: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a clip.

    Attributes:
        made: the features made now; none when all stood already.
        reused: the modalities that stood already.
        seconds_taken: time by stage.
        failure: why the clip could not be read; ``None`` when it could.
        window_spans: its windows, when they were asked for and its length is known.
        recompute_reason: why something that had been made was made again, in words; else empty.
    """

    clip: Clip
    made: ClipFeatures
    reused: tuple[str, ...] = ()
    seconds_taken: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    window_spans: tuple[WindowSpan, ...] = ()
    recompute_reason: str = ""


@dataclass(frozen=True)
class Extraction:
    """Everything that decides what features come out; called once in each worker, it gives the ``Extractor``.

    Attributes:
        settings: rates, sources, limits, and what to load.
        weights: by role; looked up and not loaded.
        threads: that each engine may take.
        windows: what outcomes also hold the stretches of.
    """

    settings: Settings
    weights: tuple[tuple[str, Weights], ...]
    threads: int = 1
    windows: Windows | None = None

    def __call__(self, engines: "Engines | None" = None) -> "Extractor":
        """The extractor of this thread, whose thread count is fixed by this; with engines of its own if none are given.

        Args:
            engines: made for an extraction that ``loads`` the same.
        """
        torch.set_num_threads(self.threads)
        return Extractor(self, engines)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that are wanted, in their own order."""
        return named(self.settings.modalities)

    @property
    def loads(self) -> "Extraction":
        """What has to be loaded for it: equal for all that differ only in sources, time and windows."""
        usual = {"faces.source": "video", "speech.source": "video", "compute.clip_seconds": None}
        return replace(self, settings=with_changes(self.settings, usual, "loading"), windows=None)


def plan(settings: Settings, workers: int = 0, windows: Windows | None = None) -> Extraction:
    """What extraction needs: weights are looked up (not loaded) and threads are shared among the workers.

    With ``windows``, outcomes also hold the stretches of each clip.

    Raises:
        SettingsError: a modality does not exist, an engine is wanted that is not installed, or threads are no number.
        WeightsMissing: a set of weights is not in the cache; the message names the command that brings it.
    """
    resolve_compute(settings.compute)  # complains before any worker is started
    roles = {
        role
        for modality in named(settings.modalities)
        for role in (modality.backbone_role, *modality.front_roles)
        if role
    }
    weights = resolve(settings.weights, sorted(roles & SETS[settings.weights].keys()))
    threads = choose_threads(settings.compute, workers)
    return Extraction(settings, tuple(sorted(weights.items())), threads, windows)


def outcomes(extraction: Extraction, jobs: Iterable[ClipJob], workers: int) -> Iterator[tuple[ClipJob, ClipOutcome]]:
    """What becomes of each clip, in the order of completion; a clip that its worker is lost with fails like any other.

    Without workers, a clip's time is up while its files are hashed or decoded, in another process, or not at all. With
    workers, it is up wherever they are; they get a little more, so that a decoder's own complaint comes first.
    """

    def seconds(job: ClipJob) -> float:
        return seconds_for(job.clip.path, extraction.settings.compute) + GRACE_SECONDS

    for job, result in run(extraction, jobs, workers=workers, seconds_each=seconds):
        lost = isinstance(result, Failed)
        yield job, _failed(job, extraction.modalities, f"{job.clip.path.name}: {result.reason}") if lost else result


class Engines:
    """What clips are read with, each part loaded when it is first needed; nothing in it is about a single call.

    Attributes:
        weights: by role.
        compute: what backbones run on.
        senses: the decoder, the face finder and the recogniser.
    """

    def __init__(self, extraction: Extraction) -> None:
        """Engines for all extractions that load the same; nothing is loaded yet."""
        loads = extraction.loads
        self.weights = dict(loads.weights)
        self.compute = resolve_compute(loads.settings.compute)
        self.senses = MediaEngines({role: one.path for role, one in loads.weights}, loads.settings, loads.threads)
        self._backbones: dict[str, Backbone] = {}

    def backbone(self, modality: Modality) -> Backbone:
        """The frozen backbone of a modality."""
        if modality.name not in self._backbones:
            weights = self.weights.get(modality.backbone_role or "")
            self._backbones[modality.name] = modality.load(weights.path if weights else None, self.compute)
        return self._backbones[modality.name]


class Extractor:
    """Makes the features of one clip."""

    def __init__(self, extraction: Extraction, engines: Engines | None = None) -> None:
        """What is wanted, and the engines to make it with: those given, or new ones."""
        self.engines = engines or Engines(extraction)
        self._settings = extraction.settings
        self._windows = extraction.windows
        self._modalities = extraction.modalities

    def close(self) -> None:
        """Close the face finder, and end the process that decodes."""
        self.engines.senses.close()

    def __call__(self, job: ClipJob) -> ClipOutcome:
        """The features of a clip that are not known yet; a clip that cannot be read gives failed features."""
        try:
            return self._extract(job)
        except (MienError, OSError) as error:
            return _failed(job, self._modalities, str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one clip, the others go on
            return _failed(job, self._modalities, f"{job.clip.path.name}: {type(error).__name__}: {error}")

    def _extract(self, job: ClipJob) -> ClipOutcome:
        engines = self.engines
        decoder = engines.senses.decoder
        decoder.begin(job.clip.path, seconds_for(job.clip.path, self._settings.compute))
        of_clip = Keys(job.clip, self._settings, engines.weights, engines.compute, decoder.sha256)
        keys, lost = self._keys(of_clip, job)
        if not keys:
            return _failed(job, [m for m in self._modalities if m.name not in job.known], lost[0].reason)
        fresh = {m.name for m in self._modalities if m.name in keys and not _is_known(job, m, keys[m.name])}
        reused = tuple(name for name in keys if name not in fresh)
        lost = tuple(feature for feature in lost if feature.modality not in job.known)  # what is stored stays
        if not fresh:
            return ClipOutcome(job.clip, ClipFeatures(job.clip.id, math.nan, lost), reused)
        began = perf_counter()
        try:
            senses = {modality.sense for modality in self._modalities if modality.name in fresh}
            media = load_media(job.clip, senses, engines.senses, self._settings)
        except MediaError as error:
            return _failed(job, [modality for modality in self._modalities if modality.name in fresh], str(error))
        of_clip.check_unchanged()
        taken = {"media": perf_counter() - began}
        features: list[Feature] = []
        for modality in self._modalities:
            if modality.name in fresh:
                began = perf_counter()
                origin = of_clip.origin(modality).text
                features += (replace(f, origin=origin) for f in self._features(modality, media, keys[modality.name]))
                taken[modality.name] = perf_counter() - began
        said = media.transcript if "text" in senses else None
        made = ClipFeatures(job.clip.id, media.seconds, (*features, *lost), said, tuple(media.notes))
        return ClipOutcome(job.clip, made, reused, taken, window_spans=self._window_spans(media, features))

    def _keys(self, of_clip: Keys, job: ClipJob) -> tuple[dict[str, str], tuple[Feature, ...]]:
        """The key of each modality; and, where the file that one is made from cannot be read, its failed features."""
        keys: dict[str, str] = {}
        lost: tuple[Feature, ...] = ()
        for modality in self._modalities:
            try:
                keys[modality.name] = of_clip.of(modality)
            except (DataError, MediaError) as error:
                lost += _failed(job, [modality], str(error)).made.features
        return keys, lost

    def _features(self, modality: Modality, media: Media, key: str) -> list[Feature]:
        """What one backbone makes of the media; an absent modality keeps its reason."""
        made = self.provenance(modality)
        prepared = modality.prepare(media)
        if isinstance(prepared, Absent):
            return [Feature(n, key, made, status="absent", reason=prepared.reason) for n in modality.features]
        features = []
        for name, output in self.engines.backbone(modality)(prepared).items():
            values = output.values.astype(np.float16, copy=False)
            if not np.isfinite(values).all():
                raise MediaError(f"{media.clip.path.name}: the {name} backbone gave values that are not finite")
            reason = "; ".join(filter(None, (prepared.remark, output.remark)))
            features.append(Feature(name, key, made, values, output.seconds.astype(np.float32), reason=reason))
        return features

    def _window_spans(self, media: Media, features: Iterable[Feature]) -> tuple[WindowSpan, ...]:
        """The windows of a clip, each with its words embedded where words have times, else with the text of all."""
        if self._windows is None or math.isnan(media.seconds):
            return ()
        bare, said = window_spans(self._windows, media.seconds), media.transcript
        whole = next((feature for feature in features if feature.modality == TEXT.name), None)
        if whole is None or whole.values is None or said is None or not said.words:
            return tuple(replace(stretch, text=whole) for stretch in bare)
        texts: dict[str, Feature] = {}  # windows that share their words share their text
        made = []
        for stretch in bare:
            part = spoken(said, stretch.start, stretch.until)
            if part.text not in texts:
                texts[part.text] = self._features(TEXT, replace(media, transcript=part), "")[0]
            made.append(replace(stretch, text=texts[part.text]))
        return tuple(made)

    def provenance(self, modality: Modality) -> str:
        """How a modality's features are made, in words."""
        role = modality.backbone_role or next(iter(modality.front_roles), None)
        if role is None:
            return f"{modality.name} v{modality.version}"
        weights, arithmetic = self.engines.weights[role], modality.arithmetic(self.engines.compute)
        return f"{weights.name}{' (random)' if weights.random else ''} {arithmetic} v{modality.version}"


def _is_known(job: ClipJob, modality: Modality, key: str) -> bool:
    """Whether every feature of a modality is stored under this key, and did not fail."""
    stored = (job.known.get(name) for name in modality.features)
    return all(known is not None and known[0] == key and known[1] != "failed" for known in stored)


def _failed(job: ClipJob, modalities: Iterable[Modality], reason: str) -> ClipOutcome:
    """The outcome of a clip that could not be read: every wanted feature failed, for one reason."""
    reason = escape_control(" ".join(reason.split()))
    features = [
        Feature(name, "", "", status="failed", reason=reason) for modality in modalities for name in modality.features
    ]
    return ClipOutcome(job.clip, ClipFeatures(job.clip.id, math.nan, tuple(features)), failure=reason)
