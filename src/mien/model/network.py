"""The whole model, K at a time: an encoder alone with its head (stage 1), or all encoders with fusion (stage 2).

Both map a batch ``{modality: Steps}`` to ``(K, B, E)``. ``groups`` defines which parameters are trained at which
learning rate: it is where adaptation is implemented. The foundation models are not part of this model.

Shapes: ``K`` models, ``B`` batch, ``T`` steps, ``F`` feature width, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mien.config import FitSettings, Settings, Stage1Settings, Stage2Settings
from mien.modalities import find_modality
from mien.modalities.encoder import NO_LAYERS, Encoder, LayerWeights, Steps
from mien.modalities.stacked import RngStreams
from mien.model.fusion import Embedding, Head
from mien.model.heads import HEADS
from mien.model.modality_mask import FusionSpec
from mien.model.terms import Parts

Inputs = Mapping[str, Steps]

LAYER_RATE = 10.0
"""Learning rate of the weights of layers as a share of their encoder's. They are logits: at the encoder's own rate,
AdamW moves them by about 0.2 in all on a few hundred clips, and a softmax then hardly leaves equal weights."""


@dataclass(frozen=True)
class ModelSpec:
    """Hyper-parameters that may differ between models trained at once."""

    seed: int
    lr: float
    weight_decay: float
    dropout: float
    modality_dropout: float = 0.0


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: ``encoder.text``, ``fusion`` …
        parameters: with a leading axis of models; in the order of the module.
        rate: share of the model's learning rate; 0 is frozen.
        decays: whether weight decay applies.
        stacked: whether parameters have the axis of models; those of a backbone, of a single model, have none.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    rate: float
    decays: bool = True
    stacked: bool = True

    @property
    def size(self) -> int:
        """Parameters per model."""
        return sum(parameter[0].numel() if self.stacked else parameter.numel() for parameter in self.parameters)


def variants(settings: Settings, stage: FitSettings) -> tuple[ModelSpec, ...]:
    """One model per seed, with the same other hyper-parameters."""
    drop = stage.modality_dropout if isinstance(stage, Stage2Settings) else 0.0
    return tuple(ModelSpec(seed, stage.lr, stage.weight_decay, stage.dropout, drop) for seed in settings.seeds)


class Unimodal(nn.Module):
    """The model of one modality: encoder and head."""

    def __init__(
        self,
        modality: str,
        width: int,
        n_targets: int,
        stage: Stage1Settings,
        models: Sequence[ModelSpec],
        layers: int = 0,
    ) -> None:
        """Models with initial weights from their seeds; ``width`` is that of the features, of ``layers`` or of one."""
        super().__init__()
        self.modality = modality
        self.encoder_rate = stage.source(modality).highest_rate
        rng = RngStreams([model.seed for model in models], f"{modality} first weights")
        rates = [model.dropout for model in models]
        self.encoder = make_encoder(modality, width, stage, rates, rng, layers)
        self.head = Head(rng, find_modality(modality).embedding(stage), n_targets, rates)

    def forward(self, inputs: Inputs, rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Intensities ``(K, B, E)``; for a clip without the modality, the bias of the head."""
        return self.head(self.encoder(inputs[self.modality], rng), rng)

    def hidden(self, inputs: Inputs) -> dict[str, Embedding]:
        """The activations of the encoder before its dropout."""
        steps = inputs[self.modality]
        return {self.modality: Embedding(self.encoder.hidden(steps), steps.mask.any(-1))}

    @property
    def attending(self) -> dict[str, Encoder]:
        """The encoder by modality, if it has attention pooling."""
        return {} if self.encoder.pool is None else {self.modality: self.encoder}

    def groups(self) -> tuple[ParamGroup, ...]:
        """All parameters: the head at the full rate, and the encoder too, unless it comes from another run."""
        return (
            *encoder_groups(self.modality, self.encoder, self.encoder_rate),
            ParamGroup("head", tuple(self.head.parameters()), 1.0),
        )


class Multimodal(nn.Module):
    """All encoders and the fusion head; a head that reads steps has no encoders below it.

    Attributes:
        modalities: in order.
        fusion: the head.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        n_targets: int,
        settings: Settings,
        models: Sequence[ModelSpec],
        layers: Mapping[str, int] = NO_LAYERS,
    ) -> None:
        """Models with initial weights from their seeds.

        Args:
            widths: of the features, by modality.
            n_targets: ``E``.
            settings: of which ``stage1`` (widths) and ``stage2`` are used.
            models: ``K`` of them.
            layers: ``L``, of the modalities whose features are several layers side by side.
        """
        super().__init__()
        stage1, stage2 = settings.stage1, settings.stage2
        rng = RngStreams([model.seed for model in models], "fusion first weights")
        rates = [model.dropout for model in models]
        self.modalities = tuple(widths)
        self.highest_rates = {name: stage1.source(name).highest_rate for name in widths}
        head = HEADS[stage2.head]
        encoded = {} if head.reads_steps else widths
        self.encoders = nn.ModuleDict(
            {
                name: make_encoder(name, width, stage1, rates, rng, layers.get(name, 0))
                for name, width in encoded.items()
            }
        )
        spec = FusionSpec(
            rng=rng,
            widths=widths if head.reads_steps else {name: find_modality(name).embedding(stage1) for name in widths},
            hidden=stage2.hidden,
            n_targets=n_targets,
            rates=rates,
            modality_rates=[model.modality_dropout for model in models],
            missing=stage2.missing,
            layers=layers if head.reads_steps else NO_LAYERS,
        )
        self.fusion = head(spec)

    @property
    def reads_steps(self) -> bool:
        """Whether the head reads the steps of features."""
        return self.fusion.reads_steps

    def encoder(self, modality: str) -> Encoder:
        """The encoder of a modality."""
        encoder = self.encoders[modality]
        assert isinstance(encoder, Encoder)
        return encoder

    @property
    def attending(self) -> dict[str, Encoder]:
        """The encoders with attention pooling, by modality; empty if the head reads steps."""
        encoders = {name: self.encoder(name) for name in self.encoders}
        return {name: encoder for name, encoder in encoders.items() if encoder.pool is not None}

    def embed(self, inputs: Inputs, rng: RngStreams | None = None) -> dict[str, Embedding]:
        """The embeddings of all modalities."""
        return {
            name: Embedding(self.encoder(name)(inputs[name], rng), inputs[name].mask.any(-1))
            for name in self.modalities
        }

    def hidden(self, inputs: Inputs) -> dict[str, Embedding]:
        """The activations of all encoders before their dropout."""
        return {
            name: Embedding(self.encoder(name).hidden(inputs[name]), inputs[name].mask.any(-1))
            for name in self.modalities
        }

    def forward(self, inputs: Inputs, rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Intensities ``(K, B, E)`` from the available modalities."""
        return self.fusion(inputs if self.reads_steps else self.embed(inputs, rng), rng)

    def with_parts(self, inputs: Inputs, rng: RngStreams | None = None) -> tuple[Float[Tensor, "K B E"], Parts]:
        """Intensities, with the embeddings, and scores of each modality alone if the head has an auxiliary loss."""
        embeddings = {} if self.reads_steps else self.embed(inputs, rng)
        head_inputs = embeddings or inputs
        scores = self.fusion(head_inputs, rng)
        return scores, Parts(inputs, embeddings, self.fusion.auxiliary(head_inputs, rng))

    def groups(self, stage: Stage2Settings) -> tuple[ParamGroup, ...]:
        """Parameter groups with their rates under ``stage.adaptation``."""
        rate = {"frozen": 0.0, "encoder": stage.encoder_rate, "joint": 1.0}[stage.adaptation]
        rates = {name: min(rate, self.highest_rates[name]) for name in self.encoders}
        encoders = (group for name in rates for group in encoder_groups(name, self.encoder(name), rates[name]))
        return (*encoders, *split_groups("fusion", "layers", self.fusion, 1.0))


class FrozenEncoders(nn.Module):
    """A model on the hidden activations of its encoders, which are computed once for all epochs.

    The encoders' dropout is active in training, as when they are fine-tuned, so ``frozen`` and ``encoder`` differ in
    the adaptation alone.
    """

    def __init__(self, model: Unimodal | Multimodal) -> None:
        super().__init__()
        self.model = model

    def forward(self, hidden: Mapping[str, Embedding], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Intensities ``(K, B, E)`` from ``hidden`` of the model."""
        if isinstance(self.model, Unimodal):
            part = hidden[self.model.modality]
            return self.model.head(self.model.encoder.embed_hidden(part.values, part.present, rng), rng)
        embeddings = {
            name: Embedding(self.model.encoder(name).embed_hidden(part.values, part.present, rng), part.present)
            for name, part in hidden.items()
        }
        return self.model.fusion(embeddings, rng)


def encoder_groups(modality: str, encoder: Encoder, rate: float) -> tuple[ParamGroup, ...]:
    """The parameters of an encoder, and those of its layers, if it learns weights of layers."""
    return split_groups(f"encoder.{modality}", f"layers.{modality}", encoder, rate)


def split_groups(name: str, layers: str, module: nn.Module, rate: float) -> tuple[ParamGroup, ...]:
    """The parameters of a module; the weights of layers in it are a group of their own, at ``LAYER_RATE``.

    These do not decay: at their rate, they would soon be equal again.
    """
    logits = [part.logits for part in module.modules() if isinstance(part, LayerWeights)]
    others = tuple(one for one in module.parameters() if all(one is not two for two in logits))
    group = ParamGroup(name, others, rate)
    return (group, ParamGroup(layers, tuple(logits), LAYER_RATE * rate, decays=False)) if logits else (group,)


def encoders_of(module: Unimodal | Multimodal) -> dict[str, Encoder]:
    """The encoders of a model, by modality; none if its head reads steps."""
    if isinstance(module, Unimodal):
        return {module.modality: module.encoder}
    return {name: module.encoder(name) for name in module.encoders}


def layers_of(module: Unimodal | Multimodal) -> dict[str, LayerWeights]:
    """The part of a model that weighs the layers of a backbone, by modality that is read as layers."""
    found = {name: encoder.layers for name, encoder in encoders_of(module).items()}
    if isinstance(module, Multimodal):
        found |= module.fusion.layer_weights()
    return {name: layers for name, layers in found.items() if layers is not None}


def learned_layers(module: Unimodal | Multimodal) -> dict[str, Float[Tensor, "K L"]]:
    """The learned weights of layers, by modality that has them, in the order of the layers."""
    return {name: layers.weights().detach() for name, layers in layers_of(module).items()}


def make_encoder(
    modality: str, width: int, stage: Stage1Settings, rates: Sequence[float], rng: RngStreams, layers: int = 0
) -> Encoder:
    """The encoder of a modality, with attention pooling if it is a sequence; ``layers`` as for ``Encoder``."""
    known = find_modality(modality)
    centered = modality in stage.centered or bool(layers and known.centered_layers)
    return Encoder(rng, width, known.embedding(stage), rates, known.sequence, layers, centered)
