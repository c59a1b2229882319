"""Cross-attention: the text of a clip queries the steps of every other modality.

    text steps  → mean → normalise → Linear → missing → (K, B, W)   the query
    other steps → downsample → normalise → attention with 4 heads, by modality → missing → (K, B, W)
    concatenation → regressor → (K, B, E), no sigmoid

The encoders of stage 1 attend with one query for all clips; here the text of the clip is the query. As published, a
learned token replaces a missing modality, and is the query if text is missing (``missing="token"``); with ``"zero"``
the query of a clip without text is a bias. The query is the modality with a single vector per clip, else the first.

Source: "TAEMI", Zhu et al. 2026, arXiv:2603.14976, where each attention also has an output projection and reads every
step (``taemi.py``). The regressor, and where the token enters (after the attention), are ours.
Shapes: ``K`` models, ``B`` batch, ``S`` segments, ``F`` feature width, ``W`` width, ``J`` heads of attention,
``E`` emotions.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities import anchor_of
from mien.modalities.encoder import LayerWeights, Steps, layer_width, layers_in, mean_pool
from mien.modalities.stacked import Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.steps import MAX_SEGMENTS, Projection, downsample, normalized
from mien.model.modality_mask import FusionSpec
from mien.model.regressor import Regressor

_HEADS = 4


class Attention(nn.Module):
    """K multi-head attentions of one query per clip over its steps.

    With a single query, keys need not be computed: ``q · (x W) = x · (W q)``, and the mean of values is the value of
    the mean. So the steps are read once for all models.
    """

    def __init__(
        self, rng: RngStreams, width: int, steps: int, layers: int = 0, output_projection: bool = False
    ) -> None:
        """``width`` is that of the query and the output, ``steps`` that of the features, of ``layers`` or of one."""
        super().__init__()
        steps = layer_width(steps, layers)
        self.layers = LayerWeights(len(rng.generators), layers) if layers else None
        self.query = Linear(rng, width, width)
        self.key = nn.Parameter((rng.uniform(steps, width) * 2 - 1) / math.sqrt(steps))  # a bias would cancel
        self.value = Linear(rng, steps, width)
        self.out = Linear(rng, width, width) if output_projection else None

    def forward(self, query: Float[Tensor, "K B W"], steps: Steps) -> Float[Tensor, "K B W"]:
        """Attend; a clip without steps gives what steps of zero values would."""
        values = normalized(steps, self.layers)
        axes = "bsf" if self.layers is None else "kbsf"
        query, key, value = (x.unflatten(-1, (_HEADS, -1)) for x in (self.query(query), self.key, self.value.weight))
        projected = torch.einsum("kbjw,kfjw->kbjf", query, key) / math.sqrt(key.shape[-1])
        scores = torch.einsum(f"kbjf,{axes}->kbjs", projected, values).float()
        scores = torch.where(steps.mask[:, None], scores, -torch.inf)
        scores = torch.where(steps.mask.any(-1)[:, None, None], scores, 0.0)  # a softmax over no step would be nan
        context = torch.einsum(f"kbjs,{axes}->kbjf", torch.softmax(scores, -1), values)
        attended = torch.einsum("kbjf,kfjw->kbjw", context, value).flatten(2) + self.value.bias
        return attended if self.out is None else self.out(attended)


class CrossAttention(FusionHead):
    """K fusions by cross-attention from text.

    Attributes:
        output_projection: whether each attention has one.
        max_segments: that the steps of a clip are averaged to; ``None`` reads every step.
    """

    reads_steps = True
    output_projection: ClassVar[bool] = False
    max_segments: ClassVar[int | None] = MAX_SEGMENTS

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the features, in a fixed order."""
        rng, widths = spec.rng, spec.widths
        width = _HEADS * max(1, spec.hidden // _HEADS)
        super().__init__(spec, dict.fromkeys(widths, width))
        self.query_modality = anchor_of(widths) or next(iter(widths))
        queries, layers = self.query_modality, {name: spec.layers.get(name, 0) for name in widths}
        self.project = Projection(rng, widths[queries], width, layers[queries])
        self.attention = nn.ModuleDict(
            {
                name: Attention(rng, width, steps, layers[name], self.output_projection)
                for name, steps in widths.items()
                if name != queries
            }
        )
        self.regressor = Regressor(spec, width * len(widths))

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, rng)
        parts = {self.query_modality: self._query(inputs[self.query_modality])}
        query = self.presence.fill(self.query_modality, parts[self.query_modality], kept)
        parts |= {name: attention(query, self._steps(inputs[name])) for name, attention in self.attention.items()}
        return self.regressor(self.presence.concatenate(parts, kept, rng is not None), rng)

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers, by modality."""
        return {
            self.query_modality: self.project.layers,
            **{name: layers_in(one) for name, one in self.attention.items()},
        }

    def _steps(self, steps: Steps) -> Steps:
        """The steps that are attended to; zeros where the mask is false."""
        if self.max_segments is None:
            return Steps(torch.where(steps.mask[..., None], steps.values.float(), 0.0), steps.mask)
        return downsample(steps, self.max_segments)

    def _query(self, steps: Steps) -> Float[Tensor, "K B W"]:
        """The mean over the steps, projected."""
        here = steps.mask.any(-1, keepdim=True)  # (B, 1)
        mean = torch.where(here, mean_pool(steps)[0], 0.0)
        return self.project(Steps(mean[:, None], here)).squeeze(2)


HEAD = CrossAttention
