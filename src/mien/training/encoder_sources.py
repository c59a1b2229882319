"""Encoders from other runs (``stage1.<modality>.from``): found, checked against the new run, and kept in it.

    RUN                     a run: the encoder of RUN/refit/<modality>, else of RUN/stage1/<modality>, else of RUN/model
    OUT/sources/<modality>/ what the new run keeps: a copy of that model folder, and ``source.json``: its name, and the
                            clips that it has seen

The new run reads only its copy, so that it can be continued and refitted after the source is gone. An encoder fits if
its features were made in the same way. A backbone that the source has trained is a backbone of one's own, a file in its
model: features made with that file have the same provenance, and its encoder then fits.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mien.config import EncoderSource, Settings
from mien.data.source_clips import SourceClips
from mien.data.splits import Split
from mien.errors import ModelError, SettingsError
from mien.evaluation.seen_clips import run_split, seen_by
from mien.features.store import Store, made_alike
from mien.modalities import find_modality
from mien.modalities.encoder import Encoder
from mien.model.bundle import Bundle
from mien.model.description import read_layers
from mien.model.encoder_origin import EncoderOrigin, origins_in
from mien.model.licences import licences_of
from mien.model.model_folder import load_bundle, read_config, resolve_model_dir, weights_file
from mien.model.network import Unimodal
from mien.schema import Manifest
from mien.starters import NAMES, starter
from mien.storage.checksums import SUMS, read_checksummed, read_sums, write_checksummed
from mien.storage.files import atomic_folder, sha256_of
from mien.training.leaks import leak_notes
from mien.training.split_data import SplitData

Part = Literal["stage1", "refit", "model"]

_RECORD = "source.json"
_PARTS: tuple[Part, ...] = ("refit", "stage1")


@dataclass(frozen=True)
class Source:
    """An encoder from another run.

    Attributes:
        modality: its name.
        setting: where it comes from, and how it is used.
        run: name of the run or the model folder.
        part: ``stage1``, ``refit`` or ``model``.
        bundle: the model that it is a part of.
        seen: the clips that it has seen; ``None`` if the model did not lie in its run.
    """

    modality: str
    setting: EncoderSource
    run: str
    part: Part
    bundle: Bundle
    seen: tuple[SourceClips, ...] | None

    @property
    def label(self) -> str:
        """For messages."""
        return f"stage1.{self.modality}.from: {self.setting.run}"

    @property
    def encoder(self) -> Encoder:
        """The encoders of its models."""
        module = self.bundle.module
        return module.encoder if isinstance(module, Unimodal) else module.encoder(self.modality)

    @cached_property
    def origin(self) -> EncoderOrigin:
        """For ``provenance.json``."""
        made, folder = self.bundle.provenance, self.bundle.folder
        assert folder is not None
        data = made.get("data", {})
        earlier = origins_in(made).get(self.modality)
        return EncoderOrigin(
            run=self.run,
            part=self.part,
            sha256=sha256_of(weights_file(folder)),
            data=str(data.get("name", "unknown data")),
            trained_on=str(made.get("trained_on", "unknown data")),
            targets=self.bundle.targets,
            models=len(self.bundle.models),
            use=self.setting.use,
            rate=self.setting.rate,
            synthetic=bool(data.get("synthetic")) or bool(earlier and earlier.synthetic),
            weights=licences_of(read_config(folder), made).weights,
            earlier=(f"{earlier.run}, {earlier.trained_on}", *earlier.earlier) if earlier else (),
        )


Reader = Callable[[str, EncoderSource], Source]
"""Reads the encoder of a modality."""


def given_sources(settings: Settings, modalities: Iterable[str]) -> dict[str, EncoderSource]:
    """The modalities whose encoder comes from another run, by the settings."""
    given = {name: settings.stage1.source(name) for name in modalities}
    return {name: source for name, source in given.items() if source.run is not None}


def find_sources(
    settings: Settings, data: SplitData, out: Path | None = None, read: Reader | None = None
) -> dict[str, Source]:
    """The encoders that come from other runs, by modality, checked against the features of the new run.

    Args:
        settings: of the new run.
        data: its features.
        out: its folder, which may keep copies.
        read: reads a source, by default ``read_source``.

    Raises:
        SettingsError: there is no such run or model, or its encoder is of another modality, width, backbone, layers or
            embedding.
        ModelError: it is damaged, or the new run was begun with another encoder.
    """
    trained = [name for name in data.widths if settings.backbone.adapts(name)]
    for name in given_sources(settings, data.widths):
        if trained and settings.stage2.adaptation == "joint":
            raise SettingsError(
                f"stage1.{name}.from: joint training with backbones starts from no encoder; set stage2.adaptation to "
                f"encoder, or backbone.{trained[0]} to frozen or layers"
            )
        if name in trained:
            raise SettingsError(
                f"stage1.{name}.from: an encoder fits one backbone only, but backbone.{name}: "
                f"{getattr(settings.backbone, name)} trains it further; set it to frozen or layers"
            )
    find = read or (lambda name, given: _find(name, given, out))
    names = [name for name in data.widths if name in settings.modalities]
    found = {name: find(name, given) for name, given in given_sources(settings, names).items()}
    for source in found.values():
        _check(source, settings, data)
    return found


def _find(modality: str, given: EncoderSource, out: Path | None) -> Source:
    copy = None if out is None else out / "sources" / modality
    if copy is None or not (copy / _RECORD).exists():
        return read_source(modality, given)
    kept = _read_copy(modality, given, copy)
    if Path(given.run or "").expanduser().is_dir():
        now = read_source(modality, given)
        if now.origin.sha256 != kept.origin.sha256:
            raise ModelError(
                f"{out}: was begun with another {modality} encoder of {given.run}, which has changed since; "
                "name another folder with --out"
            )
    return kept


def read_source(modality: str, given: EncoderSource) -> Source:
    """The encoder of a run or a model.

    Raises:
        SettingsError: there is none, or none of this modality.
        ModelError: the model is damaged.
    """
    label, folder = f"stage1.{modality}.from: {given.run}", Path(given.run or "").expanduser()
    folder = starter(given.run or "") or folder
    if not folder.is_dir():
        raise SettingsError(
            f"{label}: no such folder (from {Path.cwd()}); expected a run of mien train, a model, or one that ships "
            f"with mien: {', '.join(NAMES)}"
        )
    models: dict[Part, Path] = {name: folder / name / modality / "model" / "config.json" for name in _PARTS}
    parts: list[Part] = [name for name, file in models.items() if file.exists()]
    part: Part = parts[0] if parts else "model"
    place = resolve_model_dir(folder if part == "model" else folder / part / modality)
    if not (place / "config.json").exists():
        raise SettingsError(f"{label}: holds no run and no model; expected a run of mien train, or a model")
    bundle = load_bundle(place, device="cpu")
    if modality not in bundle.modalities:
        raise SettingsError(f"{label}: has no {modality} encoder, but one of {', '.join(bundle.modalities)}")
    if getattr(bundle.module, "reads_steps", False):
        raise SettingsError(f"{label}: its head {bundle.settings.stage2.head} has no encoders below it")
    known = run_split(bundle)
    seen = None if known is None else seen_by(known, bundle)
    return Source(modality, given, folder.resolve().name, part, bundle, seen)


def _read_copy(modality: str, given: EncoderSource, folder: Path) -> Source:
    """The copy of an encoder that a run keeps."""
    record = read_checksummed(folder / _RECORD)
    try:
        seen = None if record["seen"] is None else tuple(map(SourceClips.read, record["seen"]))
        return Source(modality, given, record["run"], record["part"], load_bundle(folder, device="cpu"), seen)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / _RECORD}: damaged ({error}); delete {folder} and train again") from error


def keep_sources(out: Path, sources: Mapping[str, Source]) -> None:
    """Copy what the new run needs of the sources into its folder, unless it is there."""
    for name, source in sources.items():
        folder, place = out / "sources" / name, source.bundle.folder
        assert place is not None
        if folder.resolve() == place.resolve():
            continue
        seen = None if source.seen is None else [one.record() for one in source.seen]
        with atomic_folder(folder, (_RECORD,)) as part:
            for file in (*read_sums(place), SUMS):
                shutil.copyfile(place / file, part / file)
            write_checksummed(part / _RECORD, {"run": source.run, "part": source.part, "seen": seen})


def _check(source: Source, settings: Settings, data: SplitData) -> None:
    """Check that an encoder fits the features, the backbone and the embedding of the new run."""
    name, bundle, label = source.modality, source.bundle, source.label
    theirs, ours = bundle.feature_provenance.get(name, "unknown"), data.store.provenance(name)
    if not made_alike(theirs, ours):
        run = source.setting.run or ""
        trained = run if starter(run) else bundle.adapted.get(find_modality(name).backbone_role or "")
        how = f"--set weights.{name}={trained}" if trained else "the same backbone and version"
        raise SettingsError(
            f"{label}: its {name} features were made by {theirs}, but those in {data.store.root} by {ours}; extract "
            f"these with {how}"
        )
    read, expected = read_layers(bundle.settings, (name,)).get(name, ()), data.inputs[name].layers
    if read != expected:
        raise SettingsError(
            f"{label}: reads {_layers_text(read)} of the {name} backbone, but this run {_layers_text(expected)}; "
            f"set backbone.{name} and backbone.{name}_layers to the same in both"
        )
    if (name in bundle.settings.stage1.centered) != (name in settings.stage1.centered):
        theirs, ours = ("has a", "none") if name in bundle.settings.stage1.centered else ("has no", "one")
        raise SettingsError(
            f"{label}: its {name} encoder {theirs} center, but that of this run has {ours}; set stage1.centered to the "
            "same in both"
        )
    if bundle.widths[name] != data.widths[name]:
        raise SettingsError(
            f"{label}: reads {name} features {bundle.widths[name]} wide, but those in {data.store.root} are "
            f"{data.widths[name]} wide"
        )
    widths = [find_modality(name).embedding(stage) for stage in (bundle.settings.stage1, settings.stage1)]
    if widths[0] != widths[1]:
        setting = "motion_embedding" if name == "motion" else "embedding"
        raise SettingsError(
            f"{label}: its {name} embedding is {widths[0]} wide, but that of this run {widths[1]}; "
            f"set stage1.{setting}={widths[0]}"
        )


def _layers_text(layers: Sequence[int]) -> str:
    return f"layers {', '.join(map(str, layers))}" if layers else "the last layer"


def source_notes(
    sources: Mapping[str, Source], manifest: Manifest, store: Store, split: Split, inner: Split | None, seeds: int
) -> tuple[str, ...]:
    """What is to be said of the clips and models behind encoders from other runs, a line each.

    Args:
        sources: by modality.
        manifest, store: the data of the new run.
        split: of which the validation clips are reported.
        inner: the training clips, divided again, if these choose the epochs.
        seeds: number of models of the new run.

    Raises:
        DataError: an encoder was trained on validation clips.
    """
    return tuple(note for one in sources.values() for note in _notes(one, manifest, store, split, inner, seeds))


def _notes(
    source: Source, manifest: Manifest, store: Store, split: Split, inner: Split | None, seeds: int
) -> Iterable[str]:
    """The notes on one encoder."""
    which = f"{source.modality} encoder of {source.run}"
    if source.origin.synthetic:
        yield f"{which}: was trained on synthetic people"
    if (models := len(source.bundle.models)) < seeds:
        yield f"{which}: has {models} models for {seeds}, so that some start from the same one"
    if source.seen is None:
        yield f"{which}: does not lie in its run, so it is unknown whether it was trained on these validation clips"
        return
    label = f"{source.label}: its {source.modality} encoder"
    remedy = "use a run on other clips, or another split"
    yield from leak_notes(which, (label, remedy), source.seen, manifest, store, split, inner)
