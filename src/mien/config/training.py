"""Settings of training: split, selection of epochs, loss, and the two stages."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from mien.config.section import Count, ModalityName, Positive, Section, Seed, Width

HEAD_NAMES = (
    "concat",
    "gated",
    "late",
    "mean",
    "auxiliary",
    "cross_attention",
    "taemi",
    "recurrent",
    "hallmen",
    "temporal",
)
"""The fusion heads, each a file of this name in ``mien.model.heads``, which needs torch and is not imported here."""

if TYPE_CHECKING:
    HeadName = str
else:
    HeadName = Literal[HEAD_NAMES]


class SplitSettings(Section):
    """Training and validation clips."""

    kind: Literal["official", "ratio", "kfold"] = "official"
    """``official`` keeps the manifest's split; ``ratio`` and ``kfold`` redraw train + valid with a seed."""
    ratio: Count = 4
    """Training clips per validation clip, for ``ratio``."""
    folds: Annotated[int, Field(ge=2, le=1_000_000)] = 5
    """Number of folds, for ``kfold``."""
    fold: Annotated[int, Field(ge=0)] = 0
    """The validation fold, counted from 0, for ``kfold``."""
    seed: Seed = 42
    """Seed of the redraw."""
    by_participant: bool = True
    """Keep all clips of one participant in one split, where participants are known."""
    train_clips: Count | None = None
    """Train on this many of the training clips only, drawn participant by participant (the last one's clips are cut);
    ``null`` uses all. A larger number with the same ``train_clips_seed`` contains the smaller one's clips."""
    train_clips_seed: Seed = 0
    """Seed of the draw of ``train_clips``."""


class TrainSettings(Section):
    """Clips that choose the epochs, and the refit."""

    select: Literal["valid", "inner"] = "valid"
    """Clips that choose the epochs and calibrate scores and intervals: ``valid``, the validation clips, whose r and
    errors are then slightly optimistic; ``inner``, a part of the training clips, so that validation clips are only
    evaluated."""
    inner_ratio: Count = 4
    """Training clips per clip that ``inner`` sets aside, by participant where participants are known."""
    refit: bool = False
    """After ``select: inner``, train the final model again on all rated clips, training and validation, for the epochs
    chosen. The reported r is that of the model before."""


class LossSettings(Section):
    """The training loss: a weighted sum, averaged over emotions."""

    ccc: Annotated[float, Field(ge=0)] = 0.7
    """Weight of 1 - concordance correlation."""
    mse: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the mean squared error."""
    pearson: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - Pearson's r."""
    pearson_ramp: Annotated[float, Field(ge=0)] = 0.0
    """The weight of 1 - Pearson's r rises linearly over this many epochs; 0 uses it in full from the start."""
    memory_clips: Annotated[int, Field(ge=0, le=10_000_000)] = 1024
    """Clips over which the means and variances in CCC and r are accumulated; 0 uses the batch alone."""


class FitSettings(Section):
    """Training of one stage."""

    lr: Positive = 1e-3
    """Learning rate of AdamW (of the head, where parts differ)."""
    weight_decay: Annotated[float, Field(ge=0)] = 3.0
    """Decoupled weight decay of AdamW: a step multiplies the weights by 1 - lr * weight_decay."""
    batch_size: Count = 256
    """Maximum clips in a batch: a small set is divided into at least eight batches."""
    epochs: Count = 50
    """Maximum passes over the training clips."""
    patience: Annotated[int, Field(ge=0)] = 15
    """Stop a model after this many epochs without a better validation r; 0 never stops early."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.45
    """Share of activations dropped in training."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients of the trainable parameters are clipped to this norm; 0 disables clipping."""
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    """Schedule of the learning rate: reduced on a plateau of validation r, a cosine to zero, or constant."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of the learning rate at a plateau."""
    plateau_patience: Annotated[int, Field(ge=0)] = 6
    """Epochs without a better validation r that count as a plateau."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """The learning rate first rises linearly over this many epochs."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Per-step decay of the averaged weights that are evaluated and saved; 0 disables averaging."""
    loss: LossSettings = LossSettings()


class AdaptSettings(FitSettings):
    """Training of a backbone's blocks, with an encoder and a head on top that stage 1 then replaces."""

    objective: Literal["loss", "cross_entropy"] = "loss"
    """``loss`` is that of the stages; ``cross_entropy`` is that of ratings from 0 to 1, of which the head gives the log
    odds. It is the likelihood of votes (0 or 1, or shares of raters), and not for ``stage2.adaptation: joint``."""
    lr: Positive = 1e-4
    """Learning rate of the highest trained block."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Each lower block has this share of the rate of the one above it."""
    head_rate: Positive = 10.0
    """Learning rate of the encoder and the head as a multiple of ``lr``."""
    top_k: Count = 2
    """Blocks that ``backbone.<modality>: top_k`` trains, counted from the last."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the additions of ``backbone.<modality>: lora``."""
    lora_alpha: Positive = 16.0
    """Their scale, as a multiple of 1 / ``lora_rank``."""
    lora_lr: Positive = 5e-4
    """Learning rate of the additions, in place of ``lr``."""
    lora_parts: Literal["all", "attention", "feed_forward"] = "all"
    """The linear maps of a block that have additions."""
    longest_seconds: Annotated[float, Field(gt=0, le=30)] = 12.0
    """Training reads so much of the sound of a clip, from its beginning; features are made of all of it."""
    checkpoints: bool = False
    """Compute activations again in the backward pass: a third slower, and a fraction of the memory."""
    batch_size: Count = 32
    """Maximum clips in a batch."""
    epochs: Count = 5
    """Maximum passes over the training clips."""
    patience: Annotated[int, Field(ge=0)] = 3
    """Stop after this many epochs without a better validation r; 0 never stops early."""
    schedule: Literal["plateau", "cosine", "constant"] = "cosine"
    """Schedule of the learning rate: reduced on a plateau of validation r, a cosine to zero, or constant."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.25
    """The learning rate first rises linearly over this many epochs."""


class EncoderSource(Section):
    """The encoder of a modality from another run, on other clips and other targets."""

    model_config = ConfigDict(serialize_by_alias=True)

    run: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(default=None, alias="from")
    """A run, whose stage-1 encoder (of its refit, if it has one) is used, or a model folder. Its features must be made
    by the same backbone. The new run keeps a copy."""
    use: Literal["kept", "adapted", "start"] = "kept"
    """``kept`` never trains the encoder, only the new heads; ``adapted`` trains it slowly, at ``rate``; ``start`` only
    starts from it."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """For ``adapted``: its highest learning rate, in both stages, as a share of ``lr``."""

    @model_validator(mode="after")
    def _used(self) -> "EncoderSource":
        if self.run is None and (self.use, self.rate) != ("kept", 0.05):
            raise ValueError("use and rate need from, the run that the encoder comes from")
        return self

    @property
    def highest_rate(self) -> float:
        """Upper bound of the encoder's learning rate, as a share of ``lr``; 0 never trains it."""
        return 1.0 if self.run is None else {"kept": 0.0, "adapted": self.rate, "start": 1.0}[self.use]


class Stage1Settings(FitSettings):
    """One encoder per modality, trained alone on the features of a frozen backbone."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """Share of activations dropped in training."""
    embedding: Width = 384
    """Width of the embedding of a text, audio or vision encoder."""
    motion_embedding: Width = 128
    """Width of the embedding of the motion encoder."""
    motion_epochs: Count = 100
    """``epochs`` of the motion encoder."""
    longest_steps: Count = 100
    """The steps of a longer clip are averaged to this many."""
    centered: Annotated[tuple[ModalityName, ...], Field(max_length=100)] = ()
    """Modalities whose encoders subtract most of the mean of the training clips, which a model stores. Worth a try for
    ``vision`` where faces matter: alone it gains, with the other modalities it may lose."""
    contrastive: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a contrastive loss (InfoNCE) between the embedding of a modality and that of a text encoder beside it,
    which is dropped afterwards; 0 for none."""
    text: EncoderSource = EncoderSource()
    audio: EncoderSource = EncoderSource()
    vision: EncoderSource = EncoderSource()
    motion: EncoderSource = EncoderSource()

    def source(self, modality: str) -> EncoderSource:
        """Where the encoder of a modality comes from; without a ``run``, it is trained from scratch."""
        return getattr(self, modality, EncoderSource())


class Stage2Settings(FitSettings):
    """Fusion of the encoders, with their adaptation."""

    head: HeadName = "concat"
    """Fusion head: the paper's concatenation, or an alternative. ``cross_attention``, ``taemi``, ``recurrent``,
    ``hallmen`` and ``temporal`` have branches of their own instead of the stage-1 encoders, and need
    ``adaptation: joint``."""
    auxiliary: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the squared errors of the modalities alone, for ``head: auxiliary``."""
    triplet: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a triplet loss guided by text: clips with similar words should have similar embeddings of the other
    modalities; 0 for none. It needs text, and encoders that learn (not ``frozen``)."""
    hidden: Width = 384
    """Width of the regressor's hidden layer."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Probability that a modality of a training clip is dropped; at least one is always kept."""
    missing: Literal["zero", "token"] = "zero"
    """Replacement of a missing modality: zeros, or a learned vector."""
    adaptation: Literal["frozen", "encoder", "joint"] = "encoder"
    """``frozen`` trains the regressor only, ``encoder`` also the stage-1 encoders, more slowly; ``joint`` trains
    everything from scratch, without stage 1."""
    encoder_rate: Positive = 0.05
    """Learning rate of the encoders as a share of ``lr``, for ``encoder``."""
