"""The encoder that all four modalities share: steps in time → one vector per clip.

    steps (B, T, F) → masked single-query attention → (K, B, F) → LayerNorm → Linear → GELU → Dropout → LayerNorm
                                                                                                    → (K, B, D)

Its input is the output of a frozen backbone, the same for all K models and read once. Padding does not influence the
embedding, and a clip without the modality gets an embedding of zeros.

Source: the unimodal branches of "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026).
Shapes: ``K`` models, ``B`` batch, ``T`` steps, ``F`` feature width, ``D`` embedding width.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import Dropout, LayerNorm, Linear, RngStreams


class Steps(NamedTuple):
    """One modality of a batch of clips.

    Attributes:
        values: ``(B, T, F)`` float; zeros where ``mask`` is false.
        mask: ``(B, T)`` bool; all false for a clip without this modality.
    """

    values: Tensor
    mask: Tensor


class AttentionPool(nn.Module):
    """Masked softmax attention with one learned query: ``(B, T, F)`` → ``(K, B, F)``.

    The paper scores steps with a linear layer of one output; its bias cancels in the softmax and is left out.
    """

    def __init__(self, rng: RngStreams, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter((rng.uniform(width) * 2 - 1) / math.sqrt(width))  # (K, F)

    def forward(self, steps: Steps) -> Float[Tensor, "K B F"]:
        """Average the steps, weighted by their scores; zeros for a clip without steps."""
        weights = self.weights(steps).to(steps.values.dtype)
        return torch.bmm(weights, steps.values).transpose(0, 1).float()  # (B, K, F) → (K, B, F)

    def weights(self, steps: Steps) -> Float[Tensor, "B K T"]:
        """The attention weights: they sum to 1 over the steps of a clip; padding has weight 0."""
        values, mask = steps
        scores = torch.einsum("btf,kf->bkt", values, self.query.to(values.dtype)).float()
        scores = torch.where(mask[:, None], scores, -torch.inf)
        scores = torch.where(mask.any(-1)[:, None, None], scores, 0.0)  # a softmax over no step would be nan
        return torch.softmax(scores, -1)


def mean_pool(steps: Steps) -> Float[Tensor, "1 B F"]:
    """Masked mean over the steps, ``(B, T, F)`` → ``(1, B, F)``; zeros for a clip without steps."""
    count = steps.mask.sum(-1, keepdim=True).clamp(min=1)
    return (steps.values.float().sum(1) / count)[None]


class Encoder(nn.Module):
    """K encoders of one modality: attention or mean pooling, then the trunk."""

    def __init__(self, rng: RngStreams, width: int, embedding: int, rates: Sequence[float], attention: bool) -> None:
        """K encoders, one per stream of ``rng``.

        Args:
            rng: for the initial weights.
            width: ``F``, of the features.
            embedding: ``D``, of the result.
            rates: dropout rate of each model.
            attention: attention pooling, else mean pooling; a modality with one step per clip (text) needs none.
        """
        super().__init__()
        models = len(rng.generators)
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
        pooled = self.pool(steps) if self.pool else mean_pool(steps)
        return nn.functional.gelu(self.linear(self.before(pooled)))

    def embed_hidden(
        self, hidden: Float[Tensor, "K B D"], present: Bool[Tensor, " B"], rng: RngStreams | None
    ) -> Float[Tensor, "K B D"]:
        """The part from dropout on; rows that are not ``present`` become zeros."""
        embedding = self.after(self.dropout(hidden, rng))
        return torch.where(present[:, None], embedding, 0.0)
