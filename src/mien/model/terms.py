"""Further terms of the training loss, off by default: auxiliary predictions, and alignment with the words of a clip.

    auxiliary     squared error of each modality's own scores                       ``mien.model.losses.branch_loss``
    contrastive   a clip's voice or face is nearer to its own words than to those of other clips in the batch
    triplet       clips with similar words have similar embeddings of voice and face

A module gives what it computed of a batch, ``Parts``; for each term ``TERMS`` has a function of that, which gives a
loss per model. The trade-off of alignment: it needs no ratings, but helps only where the voice and the face tell
something of what is said.

Sources: contrastive, van den Oord et al. 2018, arXiv:1807.03748, in the symmetric form of CLIP, Radford et al. 2021,
arXiv:2103.00020, as in the first stage of Yu et al. 2025, arXiv:2503.10603; triplet guided by text, Qiu et al. 2024,
doi:10.1109/CVPRW63382.2024.00477 (which gives the idea, but neither the choice of clips nor the margin: those are ours,
and the squared distance between normalised embeddings and its margin of .2 are those of Schroff et al. 2015,
arXiv:1503.03832).
Shapes: ``K`` models, ``B`` batch, ``N`` clips of it that have both modalities, ``D`` width, ``E`` emotions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mien.modalities import anchor_of
from mien.modalities.encoder import Steps, mean_pool
from mien.model.fusion import Embedding
from mien.model.losses import branch_loss

MARGIN = 0.2
"""Of the triplet term: by how much clips with other words should be further away, in squared distance (at most 4)."""


@dataclass(frozen=True)
class Parts:
    """What a model computed of a batch, besides its scores.

    Attributes:
        inputs: the batch.
        embeddings: by modality; the contrastive term aligns the two that there are.
        branches: scores of each modality alone ``(K, B, E)``.
        scale: ``(K, 1, 1)`` inverse temperature of the contrastive term.
    """

    inputs: Mapping[str, Steps]
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    branches: Mapping[str, Tensor] = field(default_factory=dict)
    scale: Tensor | None = None


def contrastive(
    first: Float[Tensor, "K B D"],
    second: Float[Tensor, "K B D"],
    both: Bool[Tensor, " B"],
    scale: Float[Tensor, "K 1 1"],
) -> Float[Tensor, " K"]:
    """Symmetric InfoNCE: which of the second embeddings belongs to each first one, and the reverse.

    Args:
        first, second: embeddings of two modalities of the same clips, of any length.
        both: the clips that have both; the others are left out.
        scale: the inverse temperature that cosines are multiplied by.

    Returns:
        ``(K,)`` the mean of both cross entropies; 0 for fewer than two clips. Equal embeddings of all clips give ln N.
    """
    count = int(both.sum())
    if count < 2:
        return first.new_zeros(len(first))
    first, second = (torch.nn.functional.normalize(part[:, both], dim=-1) for part in (first, second))
    logits = scale * torch.bmm(first, second.transpose(1, 2))  # (K, N, N)
    right = torch.diagonal(logits, dim1=1, dim2=2)  # (K, N)
    return (0.5 * (logits.logsumexp(2) + logits.logsumexp(1)) - right).mean(1)


def triplet(
    embeddings: Float[Tensor, "K B D"], words: Float[Tensor, "B F"], both: Bool[Tensor, " B"]
) -> Float[Tensor, " K"]:
    """Text-guided triplet loss: the clip with the most similar words should be nearer than those with other words.

    For each clip, the positive is the one with the highest cosine of the words, and the negatives are the half of the
    others with the lowest cosine, if lower than that of the positive: clips with the same words are never negatives.

    Args:
        embeddings: of one modality.
        words: text features of the clips, the same for all models.
        both: the clips that have the modality and words; the others are left out.

    Returns:
        ``(K,)`` mean over clips and negatives of how much nearer a negative is than the positive, plus ``MARGIN``,
        where that is above 0; 0 for fewer than three clips.
    """
    count = int(both.sum())
    if count < 3:
        return embeddings.new_zeros(len(embeddings))
    words = torch.nn.functional.normalize(words[both], dim=-1)
    alike = (words @ words.T).fill_diagonal_(-torch.inf)  # (N, N)
    closest, positive = alike.max(1, keepdim=True)
    rank = alike.argsort(1, descending=True).argsort(1)  # 0 for the positive, N - 1 for the clip itself
    negative = (rank >= count // 2) & (rank < count - 1) & (alike < closest)
    points = torch.nn.functional.normalize(embeddings[:, both], dim=-1)
    distance = 2 - 2 * torch.bmm(points, points.transpose(1, 2))  # (K, N, N), squared
    nearer = distance.gather(2, positive.expand(len(points), -1, -1)) - distance + MARGIN
    return torch.where(negative, nearer.clamp(min=0), 0.0).sum((1, 2)) / negative.sum().clamp(min=1)


def _auxiliary(parts: Parts, labels: Tensor) -> Tensor:
    present = {name: steps.mask.any(-1) for name, steps in parts.inputs.items()}
    return branch_loss({name: branch.float() for name, branch in parts.branches.items()}, present, labels)


def _contrastive(parts: Parts, _: Tensor) -> Tensor:
    assert parts.scale is not None
    first, second = parts.embeddings.values()
    return contrastive(first.values.float(), second.values.float(), first.present & second.present, parts.scale)


def _triplet(parts: Parts, _: Tensor) -> Tensor:
    """The mean over the modalities other than text."""
    anchor = anchor_of(parts.embeddings)
    assert anchor is not None
    words, spoken = mean_pool(parts.inputs[anchor])[0], parts.embeddings[anchor].present
    others = [part for name, part in parts.embeddings.items() if name != anchor]
    return torch.stack([triplet(part.values.float(), words, part.present & spoken) for part in others]).mean(0)


TERMS: Mapping[str, Callable[[Parts, Tensor], Tensor]] = {
    "auxiliary": _auxiliary,
    "contrastive": _contrastive,
    "triplet": _triplet,
}
"""``Parts`` and labels ``(B, E)`` → ``(K,)`` losses, by the name of the setting that is its weight."""
