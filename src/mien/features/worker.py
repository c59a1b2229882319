"""From a clip to its features: it is decoded once, and each frozen backbone runs once.

    extractor = plan(settings)()    # in each worker
    outcome = extractor(job)

A worker takes a clip all the way from its file to its features, unless backbones have workers of their own
(``stages.py``). Loaded models and requests are separate objects:

    Engines      weights, backbones, face detector, recogniser, decoder    loaded once, ahead of need or at it
    Extraction   settings, weights by name, windows                        what is requested now
    Extractor    both together: clip → features                            stateless; made for each call
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from mien.compute.device import Compute, choose_threads, resolve_compute
from mien.config import Settings, with_changes
from mien.errors import Damaged, DataError, MediaError, MienError, OutputError
from mien.features.engines import Engines
from mien.features.jobs import ClipJob, ClipOutcome, failed, is_known
from mien.features.keys import Keys
from mien.features.layers import chosen_layers, with_layers
from mien.features.load_inputs import ClipInputs, InputPlan, hasher
from mien.features.spans import Windows
from mien.features.windows import WindowSpan, window_spans
from mien.media.decoder import seconds_for
from mien.modalities import get_modalities
from mien.modalities.affect import affect_head
from mien.modalities.base import Absent, InputKind, Modality
from mien.modalities.text import TEXT, cut_transcript
from mien.scale import Cluster, Pool
from mien.schema import ClipFeatures, Feature, Media
from mien.weights import Weights, resolve_backbones

GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Extraction:
    """Everything that decides the features; called once in each worker, it returns the ``Extractor``.

    Attributes:
        settings: rates, sources, limits, and the weights to load.
        weights: by role; located and not loaded.
        threads: number of threads of each engine.
        windows: requested windows, if any.
        inputs: where inputs are kept, if they are.
        prepares: whether clips are only decoded, for workers that run the backbones (``stages.py``).
    """

    settings: Settings
    weights: tuple[tuple[str, Weights], ...]
    threads: int = 1
    windows: Windows | None = None
    inputs: InputPlan | None = None
    prepares: bool = False

    def __call__(self, engines: Engines | None = None) -> "Extractor":
        """An extractor in this process, whose number of torch threads is set; with new engines if none are given.

        Args:
            engines: of an extraction with equal ``loads``.
        """
        torch.set_num_threads(self.threads)
        return Extractor(self, engines)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The requested modalities, in the order of the table."""
        return get_modalities(self.settings.modalities)

    @property
    def stored_features(self) -> tuple[str, ...]:
        """The names of all its features."""
        return tuple(name for one in self.modalities for name in one.stored_features(self.settings.backbone))

    def engines(self) -> Engines:
        """Engines for all extractions with equal ``loads``; nothing is loaded yet."""
        return Engines(self.loads.settings, dict(self.weights), self.threads)

    @property
    def loads(self) -> "Extraction":
        """What has to be loaded for it: equal for extractions that differ only in sources, time limit and windows."""
        usual = {"faces.source": "video", "speech.source": "video", "compute.clip_seconds": None}
        return replace(self, settings=with_changes(self.settings, usual, "loading"), windows=None, inputs=None)

    def seconds_for(self, job: ClipJob) -> float:
        """Time limit of a clip in a worker."""
        return seconds_for(job.clip.path, self.settings.compute) + GRACE_SECONDS


def plan(settings: Settings, workers: Pool = 0, windows: Windows | None = None) -> Extraction:
    """An extraction: weights are located (not loaded) and threads are shared among the workers.

    With ``windows``, outcomes also contain the windows of each clip. On a cluster, device, engine and precision are
    those of this machine: nodes on which ``auto`` would differ compute the same features, or report what they lack.

    Raises:
        SettingsError: a modality does not exist, an engine is not installed, the number of threads is invalid, or a
            backbone does not have the requested layers.
        WeightsMissing: weights are not in the cache; the message names the command that downloads them.
        WeightsError: a backbone of one's own cannot be loaded safely, or has no head of affect.
    """
    compute = resolve_compute(settings.compute)  # fails before any worker is started
    if isinstance(workers, Cluster):
        settings = with_arithmetic(settings, compute)
    roles = {
        role
        for modality in get_modalities(settings.modalities)
        for role in (modality.backbone_role, *modality.front_roles)
        if role
    }
    weights = resolve_backbones(settings.backbones, sorted(roles))
    for modality in get_modalities(settings.modalities):
        if settings.backbone.reads_layers(modality.name) and modality.load_layers:
            chosen_layers(settings.backbone, modality, weights[modality.backbone_role or ""])
        if modality.load_affect and settings.backbone.affect:
            affect_head(weights[modality.backbone_role or ""].path, Compute(torch.device("cpu"), torch.float32))
    threads = choose_threads(settings.compute, workers)
    return Extraction(settings, tuple(sorted(weights.items())), threads, windows)


def with_arithmetic(settings: Settings, compute: Compute) -> Settings:
    """Settings whose device, engine and precision are those of ``compute`` where they were ``auto``."""
    chosen = {"device": compute.device.type, "engine": compute.engine, "precision": compute.precision}
    automatic = {name: value for name, value in chosen.items() if getattr(settings.compute, name) == "auto"}
    return with_changes(settings, {f"compute.{name}": value for name, value in automatic.items()}, "--cluster")


class Extractor:
    """Makes the features of one clip."""

    def __init__(self, extraction: Extraction, engines: Engines | None = None) -> None:
        """An extractor for an extraction, with the given engines or new ones."""
        self.engines = engines or extraction.engines()
        self._settings = extraction.settings
        self._windows = extraction.windows
        self._inputs = extraction.inputs
        self._prepares = extraction.prepares
        self._modalities = extraction.modalities
        self._stored_features = extraction.stored_features

    def close(self) -> None:
        """Close the face detector, and end the decoder process."""
        self.engines.senses.close()

    def __call__(self, job: ClipJob) -> ClipOutcome:
        """Compute the features of a clip that are not stored yet; a clip that cannot be read gives failed features."""
        outcome = self._outcome(job)
        if outcome.failure is not None:
            self.engines.senses.loaded.cancel()  # it needs no more models, and the program may end with it
        return outcome

    def _outcome(self, job: ClipJob) -> ClipOutcome:
        try:
            try:
                return self._extract(job)
            except Damaged as error:
                if self._inputs is None:
                    raise
                remark = f"a kept input was damaged, so the clip was read again: {error}"
                return replace(self._extract(job, trusted=False), remarks=(remark,))
        except OutputError as error:
            if self._inputs is not None:  # a full disk stops the extraction
                raise
            return failed(job, self._stored_features, str(error))
        except (MienError, OSError) as error:
            return failed(job, self._stored_features, str(error))
        except Exception as error:  # noqa: BLE001 - an error in one clip must not stop the others
            return failed(job, self._stored_features, f"{job.clip.file_name}: {type(error).__name__}: {error}")
        finally:
            if self._inputs is not None and not self._prepares:
                self._inputs.discard(job.clip)

    def _extract(self, job: ClipJob, trusted: bool = True) -> ClipOutcome:
        """The outcome of a clip; kept inputs are read unless they are not ``trusted``."""
        engines = self.engines
        if not job.known and self._inputs is None:  # all is needed, and the decoder has yet to start
            speech = TEXT in self._modalities and job.clip.transcript is None
            engines.load_ahead(self._modalities, transcribe=speech)
        decoder = engines.senses.decoder
        limit = seconds_for(job.clip.path, self._settings.compute)
        decoder.begin(job.clip.path, limit)
        sha256 = hasher(limit, job.clip.file_name) if self._inputs else decoder.sha256
        clip_keys = Keys(job.clip, self._settings, engines.weights, engines.compute, sha256)
        inputs = ClipInputs(job.clip, clip_keys, self._settings, self._inputs, trusted)
        keys, unreadable = self._keys(clip_keys, job)
        if not keys:
            return failed(job, [name for name in self._stored_features if name not in job.known], unreadable[0].reason)
        missing = {name for name, key in keys.items() if not is_known(job, name, key)}
        incomplete = [m for m in self._modalities if missing & set(m.stored_features(self._settings.backbone))]
        reused = tuple(m.name for m in self._modalities if m.name in keys and m not in incomplete)
        unreadable = tuple(
            feature for feature in unreadable if feature.modality not in job.known
        )  # stored features stay
        unkept = inputs.unkept({modality.sense for modality in self._modalities if modality.name in keys})
        if not missing and not unkept:
            known = ClipFeatures(job.clip.id, math.nan, unreadable)
            return ClipOutcome(job.clip, known, reused, kept=inputs.kept)
        began = perf_counter()
        senses: set[InputKind] = {*(modality.sense for modality in incomplete), *unkept}
        try:
            media = inputs.load(senses, engines.senses)
        except MediaError as error:
            return failed(job, [name for name in self._stored_features if name in missing], str(error))
        clip_keys.check_unchanged()
        taken = {"media": perf_counter() - began}
        if self._prepares and incomplete:
            nothing = ClipFeatures(job.clip.id, math.nan, ())
            return ClipOutcome(job.clip, nothing, seconds_taken=taken, kept=inputs.kept, prepared=True)
        features: list[Feature] = []
        for modality in incomplete:
            began, engines.senses.stage = perf_counter(), modality.name
            origin = clip_keys.origin_text(modality)
            made = self.features(modality, media, keys)
            features += (replace(feature, origin=origin) for feature in made if feature.modality in missing)
            taken[modality.name] = perf_counter() - began
        transcript = media.transcript if "text" in senses else None
        cut = [f.reason for f in features if f.modality == TEXT.name and f.status == "present" and f.reason]
        made = ClipFeatures(job.clip.id, media.seconds, (*features, *unreadable), transcript, (*media.notes, *cut))
        spans = self._window_spans(media, features)
        return ClipOutcome(job.clip, made, reused, taken, window_spans=spans, faces=media.face_count, kept=inputs.kept)

    def _keys(self, clip_keys: Keys, job: ClipJob) -> tuple[dict[str, str], tuple[Feature, ...]]:
        """The key of each feature; failed features where the source file cannot be read."""
        keys: dict[str, str] = {}
        unreadable: tuple[Feature, ...] = ()
        for modality in self._modalities:
            names = modality.stored_features(self._settings.backbone)
            try:
                keys |= {name: clip_keys.of(modality, name) for name in names}
            except (DataError, MediaError) as error:
                unreadable += failed(job, names, str(error)).made.features
        return keys, unreadable

    def features(self, modality: Modality, media: Media, keys: Mapping[str, str] | None = None) -> list[Feature]:
        """The features of one backbone, with their keys, if there are any; an absent modality has its reason."""
        keys = keys or {}
        made = self.provenance(modality)
        prepared = modality.prepare(media)
        if isinstance(prepared, Absent):
            names = modality.stored_features(self._settings.backbone)
            return [Feature(n, keys.get(n, ""), made, status="absent", reason=prepared.reason) for n in names]
        features = []
        for name, output in self.engines.backbone(modality)(prepared).items():
            values = output.values.astype(np.float16, copy=False)
            if not np.isfinite(values).all():
                raise MediaError(f"{media.clip.file_name}: the {name} backbone returned values that are not finite")
            reason = "; ".join(filter(None, (prepared.remark, output.remark)))
            seconds, how = output.seconds.astype(np.float32), with_layers(made, output.layers)
            features.append(Feature(name, keys.get(name, ""), how, values, seconds, reason=reason))
        return features

    def _window_spans(self, media: Media, features: Iterable[Feature]) -> tuple[WindowSpan, ...]:
        """The windows of a clip, each with the text feature of its words, or of the whole clip if words lack times."""
        if self._windows is None or math.isnan(media.seconds):
            return ()
        spans, transcript = window_spans(self._windows, media.seconds), media.transcript
        name = TEXT.main_feature(self._settings.backbone)
        whole = next((feature for feature in features if feature.modality == name), None)
        if whole is None or whole.values is None or transcript is None or not transcript.words:
            return tuple(replace(span, text=whole) for span in spans)
        texts: dict[str, Feature] = {}  # windows with the same words share a feature
        windows = []
        for span in spans:
            part = cut_transcript(transcript, span.start, span.until)
            if part.text not in texts:
                made = self.features(TEXT, replace(media, transcript=part))
                texts[part.text] = next(feature for feature in made if feature.modality == name)
            windows.append(replace(span, text=texts[part.text]))
        return tuple(windows)

    def provenance(self, modality: Modality) -> str:
        """How a modality's features are made; see ``provenance_of``."""
        return provenance_of(modality, self.engines.weights, self.engines.compute)


def provenance_of(modality: Modality, weights: Mapping[str, Weights], compute: Compute) -> str:
    """Weights, arithmetic and code version of a modality's features, as text."""
    role = modality.backbone_role or next(iter(modality.front_roles), None)
    if role is None:
        return f"{modality.name} v{modality.version}"
    one, arithmetic = weights[role], modality.arithmetic(compute)
    return f"{one.name}{' (random)' if one.random else ''} {arithmetic} v{modality.version}"
