"""The encoder that all four modalities share: steps in time → one vector per clip.

    steps (B, T, F) → masked single-query attention → (K, B, F) → less the center → LayerNorm → Linear → GELU → Dropout
                                                                                              → LayerNorm → (K, B, D)

With ``backbone.<name>: layers``, ``F`` is ``L`` layers side by side, each normalised when it was read
(``normalised_layers``), and each model learns their weights: the sum over layers moves behind the pooling, which is
linear in the steps, so that no step is repeated for K models:

    steps (B, T, L F) → attention with the query w ⊗ q → (K, B, L F) → less the center
                                                                     → sum over L, weighted by w → (K, B, F)

The center, if an encoder has one (``stage1.centered``, and layers of vision), is most of the mean over the training
clips: where states are nearly the same for all clips, the normalisation leaves little else to learn from
(``training/encoder_start.py``). Attention is not changed by it: it would add the same to the score of every step.

Its input is the output of a frozen backbone, the same for all K models and read once. Padding does not influence the
embedding, and a clip without the modality gets an embedding of zeros.

Source: the unimodal branches of "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026);
weights of layers: S3PRL's ``Featurizer`` with ``normalize`` (Yang et al. 2021, arXiv:2105.01051), a softmax over layers
each normalised over its features without weight and bias. There it starts equal, here see ``training/layer_start.py``.
Shapes: ``K`` models, ``B`` batch, ``T`` steps, ``L`` layers, ``F`` feature width, ``D`` embedding width.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import Dropout, LayerNorm, Linear, RngStreams

NO_LAYERS: Mapping[str, int] = MappingProxyType({})
"""No modality has layers."""


class Steps(NamedTuple):
    """One modality of a batch of clips.

    Attributes:
        values: ``(B, T, F)`` float; zeros where ``mask`` is false.
        mask: ``(B, T)`` bool; all false for a clip without this modality.
    """

    values: Tensor
    mask: Tensor


class LayerWeights(nn.Module):
    """K learned averages over the layers of a backbone; equal weights at first."""

    def __init__(self, models: int, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(models, layers))

    def weights(self) -> Float[Tensor, "K L"]:
        """The weights: those of a model sum to 1."""
        return torch.softmax(self.logits, -1)

    def forward(self, layers: Float[Tensor, "*shared B LF"]) -> Float[Tensor, "K B F"]:
        """The weighted sum of layers that are side by side, ``(K, B, L F)`` or ``(1, B, L F)``."""
        weights = self.weights()
        parts = layers.unflatten(-1, (weights.shape[1], -1))  # (K, B, L, F)
        return (parts * weights[:, None, :, None]).sum(-2)

    def of_steps(self, steps: Float[Tensor, "B S LF"]) -> Float[Tensor, "K B S F"]:
        """The weighted sum of layers for every step, which is repeated for each model: for few steps."""
        weights = self.weights()
        return torch.einsum("bslf,kl->kbsf", steps.unflatten(-1, (weights.shape[1], -1)), weights)


def layers_in(module: nn.Module) -> LayerWeights | None:
    """The weights of layers in a part of a model, if it has any."""
    return next((part for part in module.modules() if isinstance(part, LayerWeights)), None)


class AttentionPool(nn.Module):
    """Masked softmax attention with one learned query: ``(B, T, F)`` → ``(K, B, F)``, also of layers side by side.

    The paper scores steps with a linear layer of one output; its bias cancels in the softmax and is left out.
    """

    def __init__(self, rng: RngStreams, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter((rng.uniform(width) * 2 - 1) / math.sqrt(width))  # (K, F)

    def forward(self, steps: Steps, layers: LayerWeights | None = None) -> Float[Tensor, "K B F"]:
        """Average the steps, weighted by their scores; zeros for a clip without steps."""
        weights = self.weights(steps, layers).to(steps.values.dtype)
        return torch.bmm(weights, steps.values).transpose(0, 1).float()  # (B, K, F) → (K, B, F)

    def weights(self, steps: Steps, layers: LayerWeights | None = None) -> Float[Tensor, "B K T"]:
        """The attention weights: they sum to 1 over the steps of a clip; padding has weight 0."""
        values, mask = steps
        query = self.query if layers is None else (layers.weights()[..., None] * self.query[:, None]).flatten(1)
        scores = torch.einsum("btf,kf->bkt", values, query.to(values.dtype)).float()
        scores = torch.where(mask[:, None], scores, -torch.inf)
        scores = torch.where(mask.any(-1)[:, None, None], scores, 0.0)  # a softmax over no step would be nan
        return torch.softmax(scores, -1)


def layer_width(width: int, layers: int) -> int:
    """The width of one layer.

    Raises:
        ValueError: ``width`` is not a multiple of ``layers``.
    """
    if layers and width % layers:
        raise ValueError(f"features are {width} wide, which is not a multiple of {layers} layers")
    return width // max(1, layers)


def mean_pool(steps: Steps) -> Float[Tensor, "1 B F"]:
    """Masked mean over the steps, ``(B, T, F)`` → ``(1, B, F)``; zeros for a clip without steps."""
    count = steps.mask.sum(-1, keepdim=True).clamp(min=1)
    return (steps.values.float().sum(1) / count)[None]


class Encoder(nn.Module):
    """K encoders of one modality: attention or mean pooling, then the trunk.

    Attributes:
        center: ``(K, F)`` or ``(K, L F)``, what is subtracted from what was pooled, the same for all K; zeros at first,
            ``None`` if nothing is.
    """

    center: Tensor | None

    def __init__(
        self,
        rng: RngStreams,
        width: int,
        embedding: int,
        rates: Sequence[float],
        attention: bool,
        layers: int = 0,
        centered: bool = False,
    ) -> None:
        """K encoders, one per stream of ``rng``.

        Args:
            rng: for the initial weights.
            width: of the features: ``F``, or ``L F``.
            embedding: ``D``, of the result.
            rates: dropout rate of each model.
            attention: attention pooling, else mean pooling; a modality with one step per clip (text) needs none.
            layers: ``L``, the layers that are side by side in the features; 0 for a single sequence.
            centered: whether it has a center.

        Raises:
            ValueError: ``width`` is not a multiple of ``layers``.
        """
        super().__init__()
        models = len(rng.generators)
        self.register_buffer("center", torch.zeros(models, width) if centered else None)
        width = layer_width(width, layers)
        self.layers = LayerWeights(models, layers) if layers else None
        self.pool = AttentionPool(rng, width) if attention else None
        self.before = LayerNorm(models, width)
        self.linear = Linear(rng, width, embedding)
        self.dropout = Dropout(rates)
        self.after = LayerNorm(models, embedding)

    def forward(self, steps: Steps, rng: RngStreams | None = None) -> Float[Tensor, "K B D"]:
        """Embed a batch: ``(K, B, D)``, zeros for a clip without steps."""
        return self.embed_hidden(self.hidden(steps), steps.mask.any(-1), rng)

    def hidden(self, steps: Steps) -> Float[Tensor, "K B D"]:
        """The part before dropout: nothing in it is random, so it is the same in every epoch of a frozen encoder."""
        pooled = self.pool(steps, self.layers) if self.pool else mean_pool(steps)
        if self.center is not None:
            pooled = pooled - self.center[:, None]
        if self.layers is not None:
            pooled = self.layers(pooled)
        return nn.functional.gelu(self.linear(self.before(pooled)))

    def step_weights(self, steps: Steps) -> Float[Tensor, "B K T"]:
        """The attention weights of the steps of each clip; for an encoder with attention pooling."""
        assert self.pool is not None
        return self.pool.weights(steps, self.layers)

    def embed_hidden(
        self, hidden: Float[Tensor, "K B D"], present: Bool[Tensor, " B"], rng: RngStreams | None
    ) -> Float[Tensor, "K B D"]:
        """The part from dropout on; rows that are not ``present`` become zeros."""
        embedding = self.after(self.dropout(hidden, rng))
        return torch.where(present[:, None], embedding, 0.0)
