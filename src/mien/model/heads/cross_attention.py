"""Text asks, the others answer: cross-attention from the clip's text to the steps of every other modality.

    text steps  → mean → normalise → Linear → missing → (K, B, W)   the query
    other steps → coarse → normalise → attention with 4 heads, by modality → missing → (K, B, W)
    concatenation → regressor → (K, B, E), no sigmoid

Where the encoders of stage 1 weigh steps alike for all clips, here what is said decides which moments of voice and
face count. As published, a learned token stands for a missing modality, and asks in place of a missing text
(``missing="token"``); with ``"zero"`` a clip without text is asked what the offset of the query asks. Text is what has
one vector for the whole clip; where no modality is like that, the first of them asks.

Source: "TAEMI", Zhu et al. 2026, arXiv:2603.14976; 512 wide there, ``hidden`` here, without the output projection of
each attention, which the regressor's first layer makes up for.
Shapes: ``K`` models, ``B`` batch, ``S`` segments, ``F`` feature width, ``W`` width, ``J`` heads of attention,
``E`` emotions.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities import find_modality
from mien.modalities.encoder import Steps, mean_pool
from mien.modalities.stacked import Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.steps import Projection, coarse, normal
from mien.model.modality_mask import FusionSpec
from mien.model.regressor import Regressor

_HEADS = 4


class Attention(nn.Module):
    """K attentions with several heads, of one query per clip over its steps.

    With a single query, keys need not be made: ``q · (x W) = x · (W q)``, and the average of values is the value of the
    average. So the steps are read once for all models.
    """

    def __init__(self, chance: RngStreams, width: int, steps: int) -> None:
        """``width`` is that of the query and the result, ``steps`` that of the features."""
        super().__init__()
        self.query = Linear(chance, width, width)
        self.key = nn.Parameter((chance.uniform(steps, width) * 2 - 1) / math.sqrt(steps))  # an offset would cancel
        self.value = Linear(chance, steps, width)

    def forward(self, query: Float[Tensor, "K B W"], steps: Steps) -> Float[Tensor, "K B W"]:
        """What the steps answer; the value of nothing, the offset, for a clip without steps."""
        values = normal(steps)
        query, key, value = (x.unflatten(-1, (_HEADS, -1)) for x in (self.query(query), self.key, self.value.weight))
        asked = torch.einsum("kbjw,kfjw->kbjf", query, key) / math.sqrt(key.shape[-1])
        scores = torch.einsum("kbjf,bsf->kbjs", asked, values).float()
        scores = torch.where(steps.mask[:, None], scores, -torch.inf)
        scores = torch.where(steps.mask.any(-1)[:, None, None], scores, 0.0)  # a softmax over nothing would be nan
        answer = torch.einsum("kbjs,bsf->kbjf", torch.softmax(scores, -1), values)
        return torch.einsum("kbjf,kfjw->kbjw", answer, value).flatten(2) + self.value.bias


class CrossAttention(FusionHead):
    """K fusions by cross-attention from text."""

    reads_steps = True

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the features, in a fixed order."""
        chance, widths = design.chance, design.widths
        width = _HEADS * max(1, design.hidden // _HEADS)
        super().__init__(design, dict.fromkeys(widths, width))
        self.asking = next((name for name in widths if not find_modality(name).sequence), next(iter(widths)))
        self.project = Projection(chance, widths[self.asking], width)
        self.attention = nn.ModuleDict(
            {name: Attention(chance, width, steps) for name, steps in widths.items() if name != self.asking}
        )
        self.regressor = Regressor(design, width * len(widths))

    def forward(self, inputs: Mapping[str, Steps], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, chance)
        parts = {self.asking: self._ask(inputs[self.asking])}
        query = self.presence.fill(self.asking, parts[self.asking], kept)
        parts |= {name: attend(query, coarse(inputs[name])) for name, attend in self.attention.items()}
        return self.regressor(self.presence.concatenate(parts, kept, chance is not None), chance)

    def _ask(self, steps: Steps) -> Float[Tensor, "K B W"]:
        """The mean of the steps, projected."""
        here = steps.mask.any(-1, keepdim=True)  # (B, 1)
        mean = torch.where(here, mean_pool(steps)[0], 0.0)
        return self.project(Steps(mean[:, None], here)).squeeze(2)
