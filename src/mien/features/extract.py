"""Clips → features: each clip is decoded once, and each frozen backbone sees it once.

    for outcome in extract(manifest, store, settings, weights, workers=2): ...

A worker takes a whole clip from its file to its features, because on a processor that is what keeps all cores busy
without moving pictures between processes. What it makes is on the disk before the next outcome is yielded.

A feature's key is the content of everything it depends on: the bytes and the range of the clip, the settings, the
weights, the version of the code, the engine and its number format. A feature whose key stands in the store already is
not made again; one that failed is tried again.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from pydantic import ValidationError

from mien.compute.device import choose_threads, resolve_compute
from mien.config import Settings, with_local_limits
from mien.errors import DataError, MediaError, MienError, StoreError, legible
from mien.features.keys import Keys
from mien.features.origins import Origin
from mien.features.windows import Stretch, Windows, stretches
from mien.features.writer import StoreWriter
from mien.media.decoder import seconds_for
from mien.media.observe import Senses, observe
from mien.modalities import MODALITIES, named
from mien.modalities.base import Absent, Backbone, Modality
from mien.modalities.text import spoken
from mien.scale import Failed, run
from mien.schema import Clip, ClipFeatures, Feature, Manifest, Media
from mien.storage.checksums import read_sealed, write_sealed
from mien.weights import SETS, Weights, resolve

SETTINGS = "extraction.json"
"""In a store: the settings that its newest features were made with, for whoever prepares clips in the same way."""

SECTIONS = ("media", "faces", "speech")

REPLACED = "not the clips that they were"
DAMAGED = "damaged in the store"
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """A clip and what is known of it: key, status, reason and origin of each stored feature."""

    clip: Clip
    known: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        made: the features made now; none when all stood already.
        reused: the modalities that stood already.
        seconds_taken: time by stage.
        failure: why the clip could not be read; ``None`` when it could.
        stretches: its windows, when they were asked for and its length is known.
        again: why something that had been made was made again: ``REPLACED`` or ``DAMAGED``; else empty.
    """

    clip: Clip
    made: ClipFeatures
    reused: tuple[str, ...] = ()
    seconds_taken: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    stretches: tuple[Stretch, ...] = ()
    again: str = ""


@dataclass(frozen=True)
class Extraction:
    """Everything that decides what features come out; called once in each worker, it gives the ``Extractor``."""

    settings: Settings
    weights: tuple[tuple[str, Weights], ...]
    threads: int = 1
    windows: Windows | None = None

    def __call__(self) -> "Extractor":
        """Make the extractor of this process and fix its thread count."""
        torch.set_num_threads(self.threads)
        return Extractor(self)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that are wanted, in their own order."""
        return named(self.settings.modalities)


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


def extract(manifest: Manifest, store: Path, settings: Settings, *, workers: int = 0) -> Iterator[Outcome]:
    """Make the features of every clip that does not have them yet.

    Args:
        manifest: the clips; the store takes over their order.
        store: the folder of the feature store; made when it is not there.
        settings: weights, modalities, rates, limits.
        workers: processes; 0 works in this one. Files are decoded in other processes in any case.

    Yields:
        An outcome for every clip, in the order of completion, after its features are on the disk.

    Raises:
        WeightsMissing: see ``plan``.
        InUse: another process writes to the store.
        OutputError: it cannot be written.
        StoreError: it is foreign, or of another version.
    """
    extraction = plan(settings, workers)
    with StoreWriter(store, [clip.id for clip in manifest.clips]) as writer:
        write_sealed(
            store / SETTINGS,
            {name: getattr(settings, name).model_dump(mode="json") for name in SECTIONS}
            | {"weights": settings.weights},
        )
        jobs = (_job(clip, writer) for clip in manifest.clips)
        for job, result in outcomes(extraction, jobs, workers):
            outcome = _without_repeated_failure(job, replace(result, again=_why_again(job, result, writer)))
            if outcome.made.features:
                writer.add(outcome.made)
            else:
                writer.passed(job.clip.id)
            yield outcome


def outcomes(extraction: Extraction, jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, Outcome]]:
    """What becomes of each clip, in the order of completion; a clip that its worker is lost with fails like any other.

    Without workers, a clip's time is up while its files are hashed or decoded, in another process, or not at all. With
    workers, it is up wherever they are; they get a little more, so that a decoder's own complaint comes first.
    """

    def seconds(job: Job) -> float:
        return seconds_for(job.clip.path, extraction.settings.compute) + GRACE_SECONDS

    for job, result in run(extraction, jobs, workers=workers, seconds_each=seconds):
        lost = isinstance(result, Failed)
        yield job, _failed(job, extraction.modalities, f"{job.clip.path.name}: {result.reason}") if lost else result


def as_extracted(settings: Settings, store: Path) -> Settings:
    """The settings with those parts that say how clips are prepared taken from a store.

    A model must prepare new clips as those were that it learned from. A store without a record of its settings (one
    that was imported or drawn) changes nothing. Limits of the machine stay those of ``settings``.

    Raises:
        StoreError: the record is damaged.
    """
    if not (store / SETTINGS).exists():
        return settings
    try:
        made = read_sealed(store / SETTINGS)
        made = {name: made[name] for name in (*SECTIONS, "weights")}
        return with_local_limits(Settings.model_validate(settings.model_dump() | made), settings)
    except (DataError, ValidationError, KeyError) as error:
        said = str(error) if isinstance(error, DataError) else f"{store / SETTINGS}: damaged"
        raise StoreError(f"{said}; run the extraction again") from error


class Extractor:
    """Makes the features of one clip; backbones and senses are loaded when they are first needed."""

    def __init__(self, extraction: Extraction) -> None:
        self._settings = extraction.settings
        self._windows = extraction.windows
        self._modalities = extraction.modalities
        self._weights = dict(extraction.weights)
        self._compute = resolve_compute(extraction.settings.compute)
        paths = {role: weights.path for role, weights in self._weights.items()}
        self._senses = Senses(paths, extraction.settings, extraction.threads)
        self._backbones: dict[str, Backbone] = {}

    def __call__(self, job: Job) -> Outcome:
        """The features of a clip that are not known yet; a clip that cannot be read gives failed features."""
        try:
            return self._extract(job)
        except (MienError, OSError) as error:
            return _failed(job, self._modalities, str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one clip, the others go on
            return _failed(job, self._modalities, f"{job.clip.path.name}: {type(error).__name__}: {error}")

    def _extract(self, job: Job) -> Outcome:
        decoder = self._senses.decoder
        decoder.begin(job.clip.path)
        of_clip = Keys(job.clip, self._settings, self._weights, self._compute, decoder.sha256)
        keys, lost = self._keys(of_clip, job)
        if not keys:
            return _failed(job, [m for m in self._modalities if m.name not in job.known], lost[0].reason)
        fresh = {m.name for m in self._modalities if m.name in keys and not _is_known(job, m, keys[m.name])}
        reused = tuple(name for name in keys if name not in fresh)
        lost = tuple(feature for feature in lost if feature.modality not in job.known)  # what is stored stays
        if not fresh:
            return Outcome(job.clip, ClipFeatures(job.clip.id, math.nan, lost), reused)
        began = perf_counter()
        try:
            senses = {modality.sense for modality in self._modalities if modality.name in fresh}
            media = observe(job.clip, senses, self._senses, self._settings)
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
        return Outcome(job.clip, made, reused, taken, stretches=self._stretches(media, features))

    def _keys(self, of_clip: Keys, job: Job) -> tuple[dict[str, str], tuple[Feature, ...]]:
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
        for name, output in self._backbone(modality)(prepared).items():
            values = output.values.astype(np.float16, copy=False)
            if not np.isfinite(values).all():
                raise MediaError(f"{media.clip.path.name}: the {name} backbone gave values that are not finite")
            reason = "; ".join(filter(None, (prepared.remark, output.remark)))
            features.append(Feature(name, key, made, values, output.seconds.astype(np.float32), reason=reason))
        return features

    def _stretches(self, media: Media, features: Iterable[Feature]) -> tuple[Stretch, ...]:
        """The windows of a clip, each with its words embedded where words have times, else with the text of all."""
        if self._windows is None or math.isnan(media.seconds):
            return ()
        bare, said = stretches(self._windows, media.seconds), media.transcript
        whole = next((feature for feature in features if feature.modality == "text"), None)
        if whole is None or whole.values is None or said is None or not said.words:
            return tuple(replace(stretch, text=whole) for stretch in bare)
        texts: dict[str, Feature] = {}  # windows that share their words share their text
        made = []
        for stretch in bare:
            part = spoken(said, stretch.start, stretch.until)
            if part.text not in texts:
                texts[part.text] = self._features(MODALITIES["text"], replace(media, transcript=part), "")[0]
            made.append(replace(stretch, text=texts[part.text]))
        return tuple(made)

    def _backbone(self, modality: Modality) -> Backbone:
        if modality.name not in self._backbones:
            weights = self._weights.get(modality.backbone_role or "")
            self._backbones[modality.name] = modality.load(weights.path if weights else None, self._compute)
        return self._backbones[modality.name]

    def provenance(self, modality: Modality) -> str:
        """How a modality's features are made, in words."""
        role = modality.backbone_role or next(iter(modality.front_roles), None)
        if role is None:
            return f"{modality.name} v{modality.version}"
        weights, arithmetic = self._weights[role], modality.arithmetic(self._compute)
        return f"{weights.name}{' (random)' if weights.random else ''} {arithmetic} v{modality.version}"


def _job(clip: Clip, writer: StoreWriter) -> Job:
    return Job(clip, {name: (f.key, f.status, f.reason, f.origin) for name, f in writer.known(clip.id).items()})


def _why_again(job: Job, outcome: Outcome, writer: StoreWriter) -> str:
    """Why something that stood in the store was made again, if it was; other settings are no news to who gave them."""
    for feature in outcome.made.features:
        before = Origin.read(job.known.get(feature.modality, ("",) * 4)[3])
        now = Origin.read(feature.origin)
        if before and now and before.content != now.content:
            return REPLACED
    return DAMAGED if outcome.made.features and writer.is_damaged(job.clip.id) else ""


def _is_known(job: Job, modality: Modality, key: str) -> bool:
    """Whether every feature of a modality is stored under this key, and did not fail."""
    stored = (job.known.get(name) for name in modality.features)
    return all(known is not None and known[0] == key and known[1] != "failed" for known in stored)


def _failed(job: Job, modalities: Iterable[Modality], reason: str) -> Outcome:
    """The outcome of a clip that could not be read: every wanted feature failed, for one reason."""
    reason = legible(" ".join(reason.split()))
    features = [
        Feature(name, "", "", status="failed", reason=reason) for modality in modalities for name in modality.features
    ]
    return Outcome(job.clip, ClipFeatures(job.clip.id, math.nan, tuple(features)), failure=reason)


def _without_repeated_failure(job: Job, outcome: Outcome) -> Outcome:
    """An outcome without failures that are stored already in the same words, so that trying again adds nothing."""
    fresh = tuple(
        feature
        for feature in outcome.made.features
        if feature.status != "failed" or job.known.get(feature.modality) != ("", "failed", feature.reason, "")
    )
    return replace(outcome, made=replace(outcome.made, features=fresh))
