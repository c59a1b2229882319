"""Contrastive stage 1: beside an encoder a text encoder, and what the two have in common is learned from their pairs.

    steps of a modality → its encoder ┬ head → (K, B, E)         as without alignment
                                      └ Linear → (K, B, D) ─────┐
    text of the same clips → a text encoder → Linear → (K, B, D) ┴ contrastive term

The text encoder, both projections and the temperature serve training only: the result is a unimodal model. The
trade-off: each modality has a text encoder of its own, as in the pairs of networks of the source, so that modalities
are trained independently of each other; the text encoder of stage 2 is another.

Source: Yu et al. 2025, arXiv:2503.10603, whose first stage is this alone, before any regression; here it is a term
beside it, so that epochs can be chosen by r. Temperature as in CLIP, Radford et al. 2021, arXiv:2103.00020: learned,
.07 at first, at least .01.
Shapes: ``K`` models, ``B`` batch, ``D`` embedding width of text, ``E`` emotions.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.config import Stage1Settings
from mien.modalities import find_modality
from mien.modalities.stacked import Linear, RngStreams
from mien.model.fusion import Embedding
from mien.model.network import Inputs, ModelSpec, ParamGroup, Unimodal, make_encoder, split_groups
from mien.model.terms import Parts

TEMPERATURE, LARGEST_SCALE = 0.07, 100.0


class Aligned(nn.Module):
    """K unimodal models, each with a text encoder that it is aligned with in training.

    Attributes:
        unimodal: the models.
        anchor: the modality that they are aligned with.
    """

    def __init__(
        self,
        unimodal: Unimodal,
        anchor: str,
        width: int,
        stage: Stage1Settings,
        models: Sequence[ModelSpec],
        layers: int = 0,
    ) -> None:
        """``width`` is that of the anchor's features, of ``layers`` or of one; other initial weights stay the same."""
        super().__init__()
        self.unimodal, self.anchor = unimodal, anchor
        rng = RngStreams([model.seed for model in models], f"{unimodal.modality} alignment first weights")
        own, other = (find_modality(name).embedding(stage) for name in (unimodal.modality, anchor))
        self.beside = nn.ModuleDict(
            {
                "encoder": make_encoder(anchor, width, stage, [model.dropout for model in models], rng, layers),
                "from_own": Linear(rng, own, other),
                "from_anchor": Linear(rng, other, other),
            }
        )
        self.log_scale = nn.Parameter(torch.full((len(models), 1, 1), -math.log(TEMPERATURE)))

    def forward(self, inputs: Inputs, rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Intensities ``(K, B, E)``, of the modality alone."""
        return self.unimodal(inputs, rng)

    def with_parts(self, inputs: Inputs, rng: RngStreams | None = None) -> tuple[Float[Tensor, "K B E"], Parts]:
        """Intensities, and the projected embeddings of both modalities."""
        own = self.unimodal.encoder(inputs[self.unimodal.modality], rng)
        other = self.beside["encoder"](inputs[self.anchor], rng)
        projected = {
            self.unimodal.modality: self.beside["from_own"](own),
            self.anchor: self.beside["from_anchor"](other),
        }
        embeddings = {name: Embedding(part, inputs[name].mask.any(-1)) for name, part in projected.items()}
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        return self.unimodal.head(own, rng), Parts(inputs, embeddings, scale=scale)

    def groups(self) -> tuple[ParamGroup, ...]:
        """All parameters, at the full rate; the temperature does not decay."""
        return (
            *self.unimodal.groups(),
            *split_groups("alignment", "layers.alignment", self.beside, 1.0),
            ParamGroup("temperature", (self.log_scale,), 1.0, decays=False),
        )
