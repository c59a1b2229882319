"""Every setting of mien, in one tree of strict, frozen models: one YAML file, then dotted overrides.

    settings = read_settings(Path("recipes/default.yaml"), ["stage2.lr=1e-4", "speech.language=de"])

The sections stand in the order in which a clip meets them. An unknown key is an error that names the nearest one.
Whatever leads to memory or time has an upper bound, since settings also come with models and stores of other people.
``Settings.model_json_schema()`` is what editors and other programs read.
"""

import difflib
import re
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.errors import DataError, SettingsError
from mien.storage.files import read_bytes_checked

ModalityName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Rate = Annotated[float, Field(gt=0, le=1000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Source = Literal["video", "provided", "auto"]
HeadName = Literal["concat", "gated", "late", "mean", "auxiliary", "cross_attention", "recurrent", "temporal"]
"""Those of ``mien.model.heads.HEADS``, which is above: the settings are checked before a head can be made."""


class Section(BaseModel):
    """A frozen group of settings that accepts no unknown key and no value of the wrong type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class MediaSettings(Section):
    """How a file is decoded."""

    vision_fps: Rate = 4.0
    """Frames per second looked at for face crops, by presentation time."""
    motion_fps: Rate = 10.0
    """Frames per second looked at for facial movement, by presentation time."""
    longest_seconds: Positive = 7200.0
    """A longer clip is refused with a reason."""
    largest_megapixels: Positive = 40.0
    """A frame with more pixels is refused before it is decoded."""
    largest_side: Annotated[int, Field(ge=64, le=16_384)] = 1280
    """A larger frame is scaled down to this many pixels on its longer side before anything looks at it."""


class FaceSettings(Section):
    """How faces are found, followed and cut out."""

    source: Source = "video"
    """``provided`` takes the challenge's own ``face_images/{id}/`` as the crops for vision; ``auto`` takes them where a
    clip has them, else looks for faces in the video."""
    crop_size: Annotated[int, Field(ge=1, le=1024)] = 224
    """Side of the square crops, pixels."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.3
    """Added around the face box on each side, as a share of the box."""
    full_range: bool = True
    """Look again with a full-range detector where the short-range one finds no face."""


class SpeechSettings(Section):
    """How speech is found and written down."""

    source: Source = "video"
    """``provided`` hears the challenge's own ``audio/{id}.mp3`` (or ``.wav``, ``.flac``, ``.m4a``, ``.ogg``) instead of
    the video's sound; ``auto`` hears it where a clip has it, else the video's."""
    language: Annotated[str, Field(max_length=20)] = "en"
    """Language spoken, as a two-letter code; ``auto`` lets a multilingual recogniser decide."""
    vad_threshold: Fraction = 0.5
    """Voice activity above which sound counts as speech."""
    shortest_speech_seconds: Positive = 0.25
    """Shorter speech is not transcribed."""
    beam_size: Annotated[int, Field(ge=1, le=100)] = 1
    """Beams of the recogniser's search; 1 is greedy."""


class ComputeSettings(Section):
    """What the work on a clip may take of this machine."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes a GPU when there is one."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the frozen backbones: ``auto`` takes OpenVINO where it is installed and the device is a processor, else
    PyTorch."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """``auto`` takes bfloat16 where the device computes in it, else float32; ``int8`` is for backbones under OpenVINO
    (weights in 8 bits, activations quantised as they come), and is ``auto`` in training."""
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """Threads per worker; 0 takes ``OMP_NUM_THREADS`` where that is set, else shares the cores among the workers."""
    clip_seconds: Positive | None = None
    """A clip that takes longer is given up; ``null`` allows 600 s, and one more for every 50 kB of its file."""
    decoder_gigabytes: Annotated[float, Field(ge=0.5)] = 4.0
    """Address space of the process that decodes: a file that wants more is given up."""


class SplitSettings(Section):
    """Which clips are trained on and which are judged on while training."""

    kind: Literal["official", "ratio", "kfold"] = "official"
    """``official`` keeps the manifest's own; ``ratio`` and ``kfold`` redraw train + valid by a seeded rule."""
    ratio: Count = 4
    """Training clips per validation clip, for ``ratio``."""
    folds: Annotated[int, Field(ge=2, le=1_000_000)] = 5
    """Number of folds, for ``kfold``."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold is judged on, counted from 0, for ``kfold``."""
    seed: Seed = 42
    """Seed of the redraw."""
    by_participant: bool = True
    """Keep all clips of one participant on one side, where participants are known."""


class LossSettings(Section):
    """What training makes small: a weighted sum, averaged over emotions."""

    ccc: Annotated[float, Field(ge=0)] = 0.7
    """Weight of 1 - concordance correlation."""
    mse: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the mean squared error."""
    pearson: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - Pearson's r."""
    pearson_ramp: Annotated[float, Field(ge=0)] = 0.0
    """The weight of 1 - Pearson's r rises linearly over this many epochs; 0 has it whole from the start."""
    memory_clips: Annotated[int, Field(ge=0, le=10_000_000)] = 1024
    """Clips that the means and variances in CCC and r remember; 0 takes those of the batch alone."""


class FitSettings(Section):
    """How one stage is trained."""

    lr: Positive = 1e-3
    """Learning rate of AdamW (of the head, where parts differ)."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled weight decay of AdamW."""
    batch_size: Count = 256
    """Clips in a batch, at most: a small set is cut into eight batches at least."""
    epochs: Count = 50
    """At most this many passes over the training clips."""
    patience: Annotated[int, Field(ge=0)] = 6
    """Stop a model after this many epochs without a better validation r; 0 never stops early."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.45
    """Share of activations dropped in training."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients of the trainable parameters are scaled down to this norm; 0 leaves them."""
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    """How the learning rate goes: halved on a plateau of validation r, a cosine to zero, or not at all."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What a plateau multiplies the learning rate with."""
    plateau_patience: Annotated[int, Field(ge=0)] = 2
    """Epochs without a better validation r that make a plateau."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """The learning rate rises linearly over this many epochs first."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Per-step decay of the averaged weights that are judged and kept; 0 keeps the weights themselves."""
    loss: LossSettings = LossSettings()


class Stage1Settings(FitSettings):
    """One encoder per modality, trained alone on the features of a frozen backbone."""

    embedding: Width = 384
    """Width of what a text, audio or vision encoder gives."""
    motion_embedding: Width = 128
    """Width of what the motion encoder gives."""
    motion_epochs: Count = 100
    """``epochs`` of the motion encoder."""
    longest_steps: Count = 100
    """The steps of a longer clip are averaged to this many."""


class Stage2Settings(FitSettings):
    """The encoders together: fusion, with the encoders adapted as far as is asked."""

    head: HeadName = "concat"
    """How the modalities meet: the paper's concatenation, or a rival's way. The last three have branches of their own
    instead of the stage-1 encoders, and go with ``adaptation: joint``."""
    auxiliary: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the squared errors of the modalities alone, for ``head: auxiliary``."""
    hidden: Width = 384
    """Width of the regressor's hidden layer."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Chance that a modality of a training clip is dropped; at least one is always kept."""
    missing: Literal["zero", "token"] = "zero"
    """What stands for a missing modality: zeros, or a learned vector."""
    adaptation: Literal["frozen", "encoder", "joint"] = "encoder"
    """``frozen`` trains the regressor only, ``encoder`` also the stage-1 encoders, more slowly; ``joint`` starts
    everything from scratch, without stage 1."""
    encoder_rate: Positive = 0.05
    """Learning rate of the encoders as a share of ``lr``, for ``encoder``."""


class Settings(Section):
    """Everything that can be set."""

    weights: Literal["small", "paper", "tiny"] = "small"
    """Which set of pretrained weights (``mien weights list``)."""
    modalities: Annotated[tuple[ModalityName, ...], Field(max_length=100)] = ("text", "audio", "vision", "motion")
    """Which modalities of the table (``mien.modalities``) are extracted, trained and used."""
    media: MediaSettings = MediaSettings()
    faces: FaceSettings = FaceSettings()
    speech: SpeechSettings = SpeechSettings()
    compute: ComputeSettings = ComputeSettings()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1000)] = (0, 1, 2, 3, 4)
    """One model is trained per seed, all at once; the scores of a run are the mean over its models."""
    batch_seed: Seed = 0
    """Seed of the order of batches, which all models of a run share."""
    interval_level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of ratings that prediction intervals shall hold."""
    split: SplitSettings = SplitSettings()
    stage1: Stage1Settings = Stage1Settings()
    stage2: Stage2Settings = Stage2Settings()


def read_settings(file: str | Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Settings from a YAML file (or the defaults), then ``section.key=value`` overrides, the value read as YAML.

    Raises:
        SettingsError: the file cannot be read, a key does not exist, or a value is not allowed.

    >>> read_settings(overrides=["media.vision_fps=2"]).media.vision_fps
    2.0
    >>> read_settings(overrides=["media.vison_fps=2"])
    Traceback (most recent call last):
    mien.errors.SettingsError: media.vison_fps: no such setting; did you mean 'vision_fps'?
    """
    file = Path(file) if file else None
    values = read_yaml(file) if file else {}
    for override in overrides:
        set_dotted(values, override)
    try:
        return Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise SettingsError(_first_complaint(error, file)) from error


def settings_of(base: Settings, changes: Mapping[str, Any], where: str) -> Settings:
    """``base`` with some settings changed by dotted name; ``where`` says in messages what was read.

    Raises:
        SettingsError: a setting does not exist, or a value is not allowed.
    """
    values = base.model_dump()
    for name, value in changes.items():
        *sections, key = str(name).split(".")
        inner = values
        for section in sections:
            inner = inner.get(section)
            if not isinstance(inner, dict):
                raise SettingsError(f"{where}: {name}: no such setting")
        inner[key] = value
    try:
        return Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise SettingsError(f"{where}: {_first_complaint(error, None)}") from error


LOCAL_COMPUTE = ("device", "threads", "clip_seconds", "decoder_gigabytes")
LOCAL_MEDIA = ("longest_seconds", "largest_megapixels")
"""Settings that say what work may take of this machine, and not what comes out of it."""


def with_local_limits(settings: Settings, local: Settings | None = None) -> Settings:
    """Settings that came with a model or a store, but with the limits of this machine.

    Args:
        settings: what came from somebody else.
        local: whose limits hold here; by default those of ``Settings()``.

    >>> theirs = read_settings(overrides=["media.longest_seconds=1e6", "media.vision_fps=2"])
    >>> ours = with_local_limits(theirs)
    >>> ours.media.longest_seconds, ours.media.vision_fps
    (7200.0, 2.0)
    """
    local = local or Settings()
    compute = {name: getattr(local.compute, name) for name in LOCAL_COMPUTE}
    media = {name: getattr(local.media, name) for name in LOCAL_MEDIA}
    return settings.model_copy(
        update={
            "compute": settings.compute.model_copy(update=compute),
            "media": settings.media.model_copy(update=media),
        }
    )


def read_local(overrides: Iterable[str]) -> Settings:
    """The limits of this machine, from ``name=value`` overrides of those settings that are its own.

    Raises:
        SettingsError: one is of another setting, or not allowed.

    >>> read_local(["compute.threads=2"]).compute.threads
    2
    """
    own = [f"compute.{name}" for name in LOCAL_COMPUTE] + [f"media.{name}" for name in LOCAL_MEDIA]
    overrides = list(overrides)
    for override in overrides:
        name = override.partition("=")[0].strip()
        if name not in own:
            raise SettingsError(f"{name}: comes with the model; what this machine sets is {', '.join(own)}")
    return read_settings(overrides=overrides)


LARGEST_SETTINGS = 1_000_000
"""Bytes of a YAML file."""


def read_yaml(file: Path) -> dict[str, Any]:
    """What stands in a YAML file, by name.

    Raises:
        SettingsError: it cannot be read, or is no mapping.
    """
    try:
        values = yaml.load(read_bytes_checked(file, LARGEST_SETTINGS).decode("utf-8"), _Loader)
    except DataError as error:
        raise SettingsError(str(error)) from error
    except YAML_FAULTS as error:
        raise SettingsError(f"{file}: not valid YAML ({_in_short(error)})") from error
    if not isinstance(values or {}, dict):
        raise SettingsError(f"{file}: expected settings by name, found {type(values).__name__}")
    return values or {}


YAML_FAULTS = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: a date in month 99 is a ``ValueError``, a thousand brackets are a ``RecursionError``."""


DEEPEST = 20


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but ``1e-4`` is a number, as everybody means it, and nothing is said by reference.

    References make settings that grow without end, or contain themselves, of a few lines; depth takes quadratic time.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next part of the document."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"*{event.anchor}: write the value out, references are not read")
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        made = super().compose_node(parent, index)
        self._depth -= 1
        return made


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def set_dotted(values: dict[str, Any], override: str) -> None:
    """Put ``section.key=value``, the value read as YAML, into nested ``values``.

    Raises:
        SettingsError: it is not written so.
    """
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"{override!r}: an override is written name=value, for example media.vision_fps=2")
    try:
        value = yaml.load(text, _Loader)
    except YAML_FAULTS as error:
        raise SettingsError(f"{name}: {_shown(text)} is not a valid value") from error
    *sections, key = name.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {section!r} is a single value, not a section")
        values = inner
    values[key] = value


def _tuples(value: Any) -> Any:
    """Lists as tuples: YAML has only lists, and the frozen settings hold only tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _first_complaint(error: ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    prefix = f"{file}: " if file else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _keys_at(where[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_keys_at(where[:-1]))}"
        return f"{prefix}{'.'.join(where)}: no such setting{hint}"
    return f"{prefix}{'.'.join(where)}: {first['msg'][0].lower()}{first['msg'][1:]}, found {_shown(first['input'])}"


def _shown(value: Any) -> str:
    """A value as it is told in a message, not too long."""
    return textwrap.shorten(reprlib.repr(value), 200)


def _in_short(error: Exception) -> str:
    return textwrap.shorten(str(error), 300)


def _keys_at(path: list[str]) -> list[str]:
    """The names of the settings in the section at ``path``."""
    section: type[BaseModel] = Settings
    for name in path:
        inner = section.model_fields[name].annotation if name in section.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)
