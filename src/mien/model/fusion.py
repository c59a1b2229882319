"""Embeddings → intensities: what is missing or dropped (``modality_mask.py``), then the regressor (``regressor.py``).

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

from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.modality_mask import FusionSpec, ModalityMask
from mien.model.regressor import Regressor


class Embedding(NamedTuple):
    """One modality of a batch, embedded.

    Attributes:
        values: ``(K, B, D)``; zeros where it is absent.
        present: ``(B,)`` bool.
    """

    values: Tensor
    present: Tensor


class Head(nn.Module):
    """The regressor of one encoder in stage 1: Dropout → Linear, ``(K, B, D)`` → ``(K, B, E)``."""

    def __init__(self, chance: RngStreams, width: int, targets: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.dropout = Dropout(rates)
        self.linear = Linear(chance, width, targets)

    def forward(self, embedding: Float[Tensor, "K B D"], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        return self.linear(self.dropout(embedding, chance))


class FusionHead(nn.Module):
    """K ways in which modalities meet, ``{modality: Embedding}`` or ``{modality: Steps}`` → ``(K, B, E)``.

    Made from a ``FusionSpec``, called with what it reads and a source of chance. What the rest of the package asks of a
    head is answered here; a head that answers otherwise says so itself.

    Attributes:
        reads_steps: whether it reads features step by step, in branches of its own, and not the encoders' embeddings.
    """

    reads_steps: ClassVar[bool] = False

    def __init__(self, design: FusionSpec, parts: Mapping[str, int] | None = None) -> None:
        """K heads, one per stream of chance; ``parts`` are widths of what is dropped or filled, else the design's."""
        super().__init__()
        self.presence = ModalityMask(design, parts)

    def start_from(self, heads: Mapping[str, Head]) -> None:
        """Begin with the regressors of stage 1, by modality, where a head has something like them; else nothing."""

    def auxiliary(
        self, _inputs: Mapping[str, Any], _chance: RngStreams | None = None, /
    ) -> dict[str, Float[Tensor, "K B E"]]:
        """What each modality says alone, by modality ``(K, B, E)``, where that is to enter the loss; else nothing."""
        return {}


class Fusion(FusionHead):
    """K regressors over the concatenated embeddings of several modalities."""

    def __init__(self, design: FusionSpec) -> None:
        """K regressors, one per stream of chance; the design's widths are those of the embeddings."""
        super().__init__(design)
        self.regressor = Regressor(design, sum(design.widths.values()))

    def forward(self, embeddings: Mapping[str, Embedding], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present: ``(K, B, E)``."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, chance)
        parts = {name: part.values for name, part in embeddings.items()}
        return self.regressor(self.presence.concatenate(parts, kept, chance is not None), chance)
