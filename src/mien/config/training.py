"""Settings of training: split, loss, and the two stages."""

from typing import Annotated, Literal

from pydantic import Field

from mien.config.section import Count, Positive, Section, Seed, Width

HeadName = Literal["concat", "gated", "late", "mean", "auxiliary", "cross_attention", "recurrent", "temporal"]
"""Those of ``mien.model.heads.HEADS``, which is above: the settings are checked before a head can be made."""


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
