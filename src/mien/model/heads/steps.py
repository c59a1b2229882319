"""Steps for heads that read them: downsampled to a few per clip, and projected for K models.

Shapes: ``K`` models, ``B`` batch, ``T`` steps, ``S`` segments, ``L`` layers, ``F`` feature width, ``W`` projected
width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.encoder import LayerWeights, Steps, layer_width
from mien.modalities.stacked import Linear, RngStreams

MAX_SEGMENTS = 24
"""Of a clip, in heads that do not read every step."""


def downsample(steps: Steps, max_segments: int = MAX_SEGMENTS) -> Steps:
    """Average consecutive steps of each clip into at most ``max_segments`` segments.

    The cost of a recurrence grows with the number of steps, and a clip of 12 s has up to 600 audio steps. With 24
    segments it costs a twentieth; the trade-off is that changes within a segment, half a second in such a clip, are
    averaged out. Faces, at 4 to 6 per second, lose little and text nothing.

    Args:
        steps: ``(B, T, F)``.
        max_segments: maximum number of segments per clip.

    Returns:
        ``(B, S, F)`` float32 with ``S`` at most ``max_segments``. A clip with ``n`` steps without padding has
        ``min(n, max_segments)`` segments of ``n / max_segments`` steps, rounded up or down, whatever the batch. Clips
        of at most ``max_segments`` steps are unchanged; zeros where the mask is false.

    >>> given = Steps(torch.tensor([[[1.0], [2.0], [3.0], [6.0], [0.0]]]), torch.tensor([[True] * 4 + [False]]))
    >>> downsample(given, 2).values.flatten().tolist()
    [1.5, 4.5]
    """
    values, mask = steps
    segments = min(max_segments, mask.shape[1])
    count = mask.sum(-1, keepdim=True)  # (B, 1)
    rank = mask.long().cumsum(-1) - 1  # (B, T): index of a step among those of its clip
    segment = torch.where(mask, rank * segments // count.clamp(min=segments), -1)
    place = torch.arange(segments, device=mask.device)
    members = segment[:, None] == place[:, None]  # (B, S, T)
    sums = torch.bmm(members.to(values.dtype), values).float()  # ones and zeros are exact in half precision too
    means = sums / members.sum(-1, keepdim=True).clamp(min=1)
    kept = place < count  # (B, S)
    return Steps(torch.where(kept[..., None], means, 0.0), kept)


def normalized(steps: Steps, layers: LayerWeights | None = None) -> Float[Tensor, "*models B S F"]:
    """Every step with mean 0 and variance 1 over its features, without weight and bias.

    With ``layers``, first the weighted sum of the layers, which differs between models: ``(K, B, S, F)``.
    """
    values = steps.values.float()
    summed = values if layers is None else layers.of_steps(values)
    return nn.functional.layer_norm(summed, summed.shape[-1:])


class Projection(nn.Module):
    """K linear maps of all steps: ``(B, S, F)``, shared by the models, → ``(K, B, S, W)``."""

    def __init__(self, rng: RngStreams, width: int, out: int, layers: int = 0) -> None:
        """``width`` is that of the features: of ``layers`` side by side, or of one."""
        super().__init__()
        self.linear = Linear(rng, layer_width(width, layers), out)
        self.layers = LayerWeights(len(rng.generators), layers) if layers else None

    def forward(self, steps: Steps) -> Float[Tensor, "K B S W"]:
        """Normalise and project; where the mask is false, the bias."""
        values = normalized(steps, self.layers)
        flat = values.flatten(-3, -2)
        return self.linear(flat.expand(len(self.linear.weight), -1, -1)).unflatten(1, steps.mask.shape)
