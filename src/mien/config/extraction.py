"""Settings of extraction: decoding, faces, speech, backbones, compute."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

from mien.config.section import Fraction, Positive, Rate, Section

Source = Literal["video", "provided", "auto"]
BackboneUse = Literal["frozen", "layers", "top_k", "lora", "full"]
ADAPTED = ("top_k", "lora", "full")
"""Values of ``backbone.<modality>`` that train the backbone."""

Layers = (
    Literal["all"] | Annotated[tuple[Annotated[int, Field(ge=0, le=1000)], ...], Field(min_length=1, max_length=200)]
)


WeightsSet = Literal["small", "paper", "tiny"]
Reference = Annotated[str, Field(min_length=1, max_length=4096)]


class WeightsSettings(Section):
    """A set of pretrained weights, with backbones of your own in place of some of its."""

    set: WeightsSet = "small"
    """Set of pretrained weights (``mien weights list``)."""
    text: Reference | None = None
    """A text backbone instead of the set's: the folder of a Hugging Face model, or ``owner/name@commit`` of the hub,
    which ``mien weights fetch owner/name@commit`` downloads (BERT, RoBERTa, MPNet, GTE)."""
    audio: Reference | None = None
    """As ``text``, for audio (wav2vec 2.0, HuBERT, WavLM, Whisper)."""
    vision: Reference | None = None
    """As ``text``, for vision (DINOv2, ViT)."""

    @property
    def references(self) -> dict[str, str]:
        """The backbones of one's own, by role."""
        given = {"text": self.text, "audio": self.audio, "vision": self.vision}
        return {role: reference for role, reference in given.items() if reference is not None}

    def __str__(self) -> str:
        """The set, and the references: ``small, text: my-bert``."""
        return ", ".join([self.set, *(f"{role}: {reference}" for role, reference in self.references.items())])


class MediaSettings(Section):
    """Decoding of a file."""

    vision_fps: Rate = 4.0
    """Frames per second sampled for face crops, by presentation time."""
    motion_fps: Rate = 10.0
    """Frames per second sampled for facial movement, by presentation time."""
    longest_seconds: Positive = 7200.0
    """A longer clip is refused with a reason."""
    largest_megapixels: Positive = 40.0
    """A frame with more pixels is refused before it is decoded."""
    largest_side: Annotated[int, Field(ge=64, le=16_384)] = 1280
    """A larger frame is scaled down to this many pixels on its longer side first."""

    @property
    def face_rates(self) -> dict[str, float]:
        """Frames per second in which faces are tracked, by kind of input.

        Always both: which frames are seen decides how a face is followed, so that crops would be others beside motion
        than without it.
        """
        return {"vision": self.vision_fps, "motion": self.motion_fps}


class FaceSettings(Section):
    """Detection, tracking and cropping of faces."""

    source: Source = "video"
    """``provided`` uses the challenge's own ``face_images/{id}/`` as the crops for vision; ``auto`` uses them where a
    clip has them, else detects faces in the video."""
    crop_size: Annotated[int, Field(ge=1, le=1024)] = 224
    """Side of the square crops, pixels."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.3
    """Margin around the face box on each side, as a share of the box."""
    full_range: bool = True
    """Use a full-range detector where the short-range one finds no face."""


class SpeechSettings(Section):
    """Detection and transcription of speech."""

    source: Source = "video"
    """``provided`` uses the challenge's own ``audio/{id}.mp3`` (or ``.wav``, ``.flac``, ``.m4a``, ``.ogg``) instead of
    the video's audio; ``auto`` uses it where a clip has it, else the video's."""
    language: Annotated[str, Field(max_length=20)] = "en"
    """Language spoken, as a two-letter code; ``auto`` lets a multilingual recogniser detect it."""
    vad_threshold: Fraction = 0.5
    """Voice activity above which audio counts as speech."""
    shortest_speech_seconds: Positive = 0.25
    """Shorter speech is not transcribed."""
    beam_size: Annotated[int, Field(ge=1, le=100)] = 1
    """Beams of the recogniser's search; 1 is greedy."""


class BackboneSettings(Section):
    """How a model uses each pretrained backbone."""

    text: BackboneUse = "layers"
    """``frozen`` reads the last layer. ``layers`` also extracts the other layers, as a feature of its own
    (``text_layers``); the encoder learns a weight for each. Imported and synthetic features have no layers. The others
    train the backbone itself, before stage 1, and read its last layer: ``top_k`` its last blocks, ``lora`` low-rank
    additions to the weights of all blocks, ``full`` all blocks (see ``adapt``). What is below the blocks stays."""
    audio: BackboneUse = "frozen"
    """As ``text``, for audio (``audio_layers``, much larger than those of text)."""
    vision: BackboneUse = "frozen"
    """As ``text``, for vision (``vision_layers``)."""
    text_layers: Layers = "all"
    """Layers that ``layers`` extracts and reads: ``all``, or numbers. 0 is the embedding of the input; the highest is
    the last layer. Training may read fewer layers than were extracted."""
    audio_layers: Layers = "all"
    """As ``text_layers``, for audio."""
    vision_layers: Layers = "all"
    """As ``text_layers``, for vision."""

    affect: bool = False
    """Append to every step of ``audio`` the arousal, dominance and valence that its backbone predicts, about 0 to 1, as
    a feature of its own (``audio_affect``). For weights with such a head (``paper``), and ``audio: frozen``."""

    @field_validator("affect")
    @classmethod
    def _of_the_last_layer(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("audio", "frozen") != "frozen":
            message = "should be false unless audio is frozen, as it goes with the last layer of the published weights"
            raise PydanticCustomError("affect", message)
        return value

    @field_validator("text_layers", "audio_layers", "vision_layers", mode="wrap")
    @classmethod
    def _ascending(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Layers:
        """Numbers in ascending order, each once."""
        try:
            layers: Layers = validate(tuple(value) if isinstance(value, list) else value)  # a list in JSON
        except ValidationError as error:
            raise PydanticCustomError("layers", "should be all, or a list of layers from 0 on") from error
        return layers if layers == "all" else tuple(sorted(set(layers)))

    def reads_layers(self, modality: str) -> bool:
        """Whether the weights of the layers of a modality's backbone are learned."""
        return getattr(self, modality, "frozen") == "layers"

    def adapts(self, modality: str) -> bool:
        """Whether a modality's backbone is trained."""
        return getattr(self, modality, "frozen") in ADAPTED

    def layers_of(self, modality: str) -> Layers:
        """The layers of a modality that ``layers`` extracts and reads."""
        return getattr(self, f"{modality}_layers")


class ComputeSettings(Section):
    """Device, engine and limits of the work on a clip."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` uses a GPU when there is one."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """Engine of the frozen backbones: ``auto`` uses OpenVINO where it is installed and the device is a CPU, else
    PyTorch."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """``auto`` uses bfloat16 where the device supports it, else float32; ``int8`` is for backbones under OpenVINO
    (weights in 8 bits, dynamic quantisation of activations), and is ``auto`` in training."""
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """Threads per worker; 0 uses ``OMP_NUM_THREADS`` where that is set, else divides the cores among the workers."""
    backbone_workers: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Workers that only run backbones, beside those that decode for them; with 0, each worker does both. ``null`` takes
    one on a machine with a GPU, one for each GPU of a cluster, and 0 on a CPU."""
    clip_seconds: Positive | None = None
    """A clip that takes longer fails; ``null`` allows 600 s, plus 1 s per 50 kB of its file."""
    decoder_gigabytes: Annotated[float, Field(ge=0.5)] = 4.0
    """Address space of the decoder process; a file that needs more fails."""
    memory_gigabytes: Annotated[float, Field(gt=0)] | None = None
    """Memory for the features of a training; the largest modalities, if they do not fit, are read from a temporary
    file, batch by batch, with the same result. ``null`` holds all in memory."""
