"""Cross-attention: the text of a clip queries the steps of every other modality.

    text steps  → mean → normalise → Linear → missing → (K, B, W)   the query
    other steps → downsample → normalise → attention with 4 heads, by modality → missing → (K, B, W)
    concatenation → regressor → (K, B, E), no sigmoid

The encoders of stage 1 attend with one query for all clips; here the text of the clip is the query. As published, a
learned token replaces a missing modality, and is the query if text is missing (``missing="token"``); with ``"zero"``
the query of a clip without text is a bias. The query is the modality with a single vector per clip, else the first.

Source: "TAEMI", Zhu et al. 2026, arXiv:2603.14976; 512 wide with dropout .1 there, ``hidden`` wide with the
dropout of stage 2 here, and without the output projection of each attention.
Shapes: ``K`` models, ``B`` batch, ``S`` segments, ``F`` feature width, ``W`` width, ``J`` heads of attention,
``E`` emotions.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities import find_modality
from mien.modalities.encoder import LayerWeights, Steps, layer_width, layers_in, mean_pool
from mien.modalities.stacked import Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.steps import Projection, downsample, normalized
from mien.model.modality_mask import FusionSpec
from mien.model.regressor import Regressor

_HEADS = 4


class Attention(nn.Module):
    """K multi-head attentions of one query per clip over its steps.

    With a single query, keys need not be computed: ``q · (x W) = x · (W q)``, and the mean of values is the value of
    the mean. So the steps are read once for all models.
    """

    def __init__(self, rng: RngStreams, width: int, steps: int, layers: int = 0) -> None:
        """``width`` is that of the query and the output, ``steps`` that of the features, of ``layers`` or of one."""
        super().__init__()
        steps = layer_width(steps, layers)
        self.layers = LayerWeights(len(rng.generators), layers) if layers else None
        self.query = Linear(rng, width, width)
        self.key = nn.Parameter((rng.uniform(steps, width) * 2 - 1) / math.sqrt(steps))  # a bias would cancel
        self.value = Linear(rng, steps, width)

    def forward(self, query: Float[Tensor, "K B W"], steps: Steps) -> Float[Tensor, "K B W"]:
        """Attend; for a clip without steps, the bias of the values."""
        values = normalized(steps, self.layers)
        axes = "bsf" if self.layers is None else "kbsf"
        query, key, value = (x.unflatten(-1, (_HEADS, -1)) for x in (self.query(query), self.key, self.value.weight))
        projected = torch.einsum("kbjw,kfjw->kbjf", query, key) / math.sqrt(key.shape[-1])
        scores = torch.einsum(f"kbjf,{axes}->kbjs", projected, values).float()
        scores = torch.where(steps.mask[:, None], scores, -torch.inf)
        scores = torch.where(steps.mask.any(-1)[:, None, None], scores, 0.0)  # a softmax over no step would be nan
        context = torch.einsum(f"kbjs,{axes}->kbjf", torch.softmax(scores, -1), values)
        return torch.einsum("kbjf,kfjw->kbjw", context, value).flatten(2) + self.value.bias


class CrossAttention(FusionHead):
    """K fusions by cross-attention from text."""

    reads_steps = True

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the features, in a fixed order."""
        rng, widths = spec.rng, spec.widths
        width = _HEADS * max(1, spec.hidden // _HEADS)
        super().__init__(spec, dict.fromkeys(widths, width))
        self.query_modality = next((name for name in widths if not find_modality(name).sequence), next(iter(widths)))
        queries, layers = self.query_modality, {name: spec.layers.get(name, 0) for name in widths}
        self.project = Projection(rng, widths[queries], width, layers[queries])
        self.attention = nn.ModuleDict(
            {name: Attention(rng, width, steps, layers[name]) for name, steps in widths.items() if name != queries}
        )
        self.regressor = Regressor(spec, width * len(widths))

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, rng)
        parts = {self.query_modality: self._query(inputs[self.query_modality])}
        query = self.presence.fill(self.query_modality, parts[self.query_modality], kept)
        parts |= {name: attention(query, downsample(inputs[name])) for name, attention in self.attention.items()}
        return self.regressor(self.presence.concatenate(parts, kept, rng is not None), rng)

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers, by modality."""
        return {
            self.query_modality: self.project.layers,
            **{name: layers_in(one) for name, one in self.attention.items()},
        }

    def _query(self, steps: Steps) -> Float[Tensor, "K B W"]:
        """The mean over the steps, projected."""
        here = steps.mask.any(-1, keepdim=True)  # (B, 1)
        mean = torch.where(here, mean_pool(steps)[0], 0.0)
        return self.project(Steps(mean[:, None], here)).squeeze(2)


HEAD = CrossAttention
