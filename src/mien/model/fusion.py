"""Embeddings → intensities: masking of missing and dropped modalities (``modality_mask.py``), then a regressor.

    embeddings {modality: (K, B, D)} → missing → dropout of whole modalities → concatenation (K, B, sum of D)
        → LayerNorm → Dropout → Linear → GELU → Dropout → Linear → (K, B, E), no sigmoid

Source: "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026); learned tokens for missing
modalities: "TAEMI" (ABAW 2026).
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` embedding width, ``H`` hidden width, ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.encoder import LayerWeights
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.modality_mask import FusionSpec, ModalityMask
from mien.model.regressor import Regressor


class Embedding(NamedTuple):
    """One modality of a batch, embedded.

    Attributes:
        values: ``(K, B, D)``; zeros where missing.
        present: ``(B,)`` bool.
    """

    values: Tensor
    present: Tensor


class Head(nn.Module):
    """The regressor of one encoder in stage 1: Dropout → Linear, ``(K, B, D)`` → ``(K, B, E)``."""

    def __init__(self, rng: RngStreams, width: int, n_targets: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.dropout = Dropout(rates)
        self.linear = Linear(rng, width, n_targets)

    def forward(self, embedding: Float[Tensor, "K B D"], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        return self.linear(self.dropout(embedding, rng))


class FusionHead(nn.Module):
    """Base class of K fusion heads, ``{modality: Embedding}`` or ``{modality: Steps}`` → ``(K, B, E)``.

    Built from a ``FusionSpec``, called with its inputs and ``RngStreams``; methods and attributes here are defaults.

    Attributes:
        reads_steps: whether it reads the steps of features, in its own branches, instead of the encoders' embeddings.
        has_auxiliary: whether ``auxiliary`` gives scores.
    """

    reads_steps: ClassVar[bool] = False
    has_auxiliary: ClassVar[bool] = False

    def __init__(self, spec: FusionSpec, parts: Mapping[str, int] | None = None) -> None:
        """K heads, one per random stream; ``parts`` are the widths of maskable parts, by default ``spec.widths``."""
        super().__init__()
        self.presence = ModalityMask(spec, parts)

    def start_from(self, heads: Mapping[str, Head]) -> None:
        """Copy the regressors of stage 1, by modality, if the head has such parts."""

    def auxiliary(
        self, _inputs: Mapping[str, Any], _rng: RngStreams | None = None, /
    ) -> dict[str, Float[Tensor, "K B E"]]:
        """Scores of each modality alone ``(K, B, E)`` for an auxiliary loss, if the head has one."""
        return {}

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers by modality, if the head reads steps; ``None`` for a single sequence."""
        return {}


class Fusion(FusionHead):
    """K regressors over the concatenated embeddings of several modalities."""

    def __init__(self, spec: FusionSpec) -> None:
        """K regressors, one per random stream; ``spec.widths`` are those of the embeddings."""
        super().__init__(spec)
        self.regressor = Regressor(spec, sum(spec.widths.values()))

    def forward(self, embeddings: Mapping[str, Embedding], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities: ``(K, B, E)``."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, rng)
        parts = {name: part.values for name, part in embeddings.items()}
        return self.regressor(self.presence.concatenate(parts, kept, rng is not None), rng)
