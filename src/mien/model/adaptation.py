"""Backbones that are trained, under the model that reads them: which of its parameters are, and how it is put together.

    states that enter its upper blocks ─▶ blocks ─▶ pooling ─▶ steps ─▶ encoder ─▶ head

``top_k`` trains the last blocks, ``full`` all of them, ``lora`` low-rank additions to the linear maps of all blocks.
What is below is frozen, so its output is computed once per clip. A backbone is one model: K = 1 here.

The trade-offs: an addition to the output of a layer needs no gradient of its weight, but some attention (WavLM's) reads
the weight and never calls the layer; so a layer with an addition does both. Dropout inside the blocks is drawn from
PyTorch's own generator, which is seeded from the model's stream before every step, so that a killed training continues
to the same bits.

Sources: LoRA, Hu et al. 2021, arXiv:2106.09685; rates that fall with depth, Howard and Ruder 2018, arXiv:1801.06146.
Shapes: ``B`` batch, ``T`` tokens or steps, ``S`` steps that an encoder reads, ``F`` width.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.config import AdaptSettings
from mien.errors import MienError
from mien.modalities.base import Pool
from mien.modalities.blocks import UpperBlocks
from mien.modalities.encoder import Steps
from mien.modalities.stacked import RngStreams, seeded
from mien.model.network import Multimodal, ParamGroup, Unimodal

ATTENTION = ("attention", "self_attn", "attn")
"""Parts of the names of the linear maps of a block's attention; the others are of its feed-forward part."""


class LowRank(nn.Linear):
    """A linear map whose weight is ``W + scale · up · down``; at first the addition is nothing.

    Called, it adds to the output, so that no gradient of the large ``W`` is computed; its ``weight`` is the sum.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        """A map in place of another, with its frozen weight ``(out, in)``; ``down`` is random, ``up`` zero."""
        nn.Module.__init__(self)  # its weight is no parameter
        self.out_features, self.in_features = linear.weight.shape
        self.scale = scale
        self.original, self.bias = linear.weight, linear.bias
        bound, device = math.sqrt(3 / self.in_features), linear.weight.device
        down = (torch.rand((rank, self.in_features), generator=generator) * 2 - 1) * bound
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(self.out_features, rank, device=device))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight with its addition."""
        return self.original + self.scale * (self.up @ self.down)

    def forward(self, input: Tensor) -> Tensor:
        """The map of ``(…, in)``."""
        added = nn.functional.linear(nn.functional.linear(input, self.down), self.up)
        return torch.add(nn.functional.linear(input, self.original, self.bias), added, alpha=self.scale)

    @property
    def factors(self) -> dict[str, Tensor]:
        """The addition: ``up`` times ``down``, without gradients."""
        return {"down": self.down.detach(), "up": self.scale * self.up.detach()}


class TrainableBackbone(nn.Module):
    """The upper blocks of a backbone with their pooling: steps that enter them → steps that an encoder reads."""

    def __init__(self, upper: UpperBlocks, pool: Pool, longest: int, tokens: int = 0) -> None:
        """A backbone of which nothing is trained yet.

        Args:
            upper: its blocks.
            pool: of its last states.
            longest: more steps are averaged to this many, as they are when features are read.
            tokens: of each step, where a step is an image; 0 where the steps of a clip are one sequence.
        """
        super().__init__()
        self.upper = upper.requires_grad_(False).eval()
        self._pool = pool
        self.longest = longest
        self.tokens = tokens

    def forward(self, steps: Steps, rng: RngStreams | None = None) -> Steps:
        """The steps of a batch; those of a clip without any are zeros."""
        self.upper.train(rng is not None)
        with _dropout_of(rng, steps.values.device):
            made = self._images(steps) if self.tokens else self._sequence(steps)
        return averaged_steps(made, self.longest)

    def _sequence(self, steps: Steps) -> Steps:
        states, mask = steps
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        made = self._pool(self.upper(states, mask | first), mask)  # a softmax over no token would be nan
        here = mask if made.shape[1] == mask.shape[1] else mask.any(1, keepdim=True)
        return Steps(torch.where(here[..., None], made, 0.0), here)

    def _images(self, steps: Steps) -> Steps:
        """Each image is a sequence of its own: ``(B, S · tokens, F)`` → ``(B, S, F)``."""
        here = steps.mask[:, :: self.tokens]  # (B, S)
        images = steps.values.unflatten(1, (-1, self.tokens))[here]  # (images, tokens, F)
        made = steps.values.new_zeros((*here.shape, images.shape[-1]))
        if len(images):
            whole = torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)
            pooled = self._pool(self.upper(images, whole), whole)
            made = made.to(pooled.dtype).index_put(tuple(here.nonzero().T), pooled)
        return Steps(made, here)

    def add_low_rank(self, settings: AdaptSettings, seed: int) -> None:
        """Add low-rank additions to the linear maps of the blocks."""
        generator = seeded(seed, "first weights of additions")
        scale = settings.lora_alpha / settings.lora_rank
        for block in self.upper.blocks:
            for name, linear in list(_linear_maps(block, settings.lora_parts)):
                block.set_submodule(name, LowRank(linear, settings.lora_rank, scale, generator))

    def linear_maps(self) -> Iterator[tuple[str, nn.Linear]]:
        """The linear maps of the blocks, with their names in the whole model."""
        for name, block in zip(self.upper.names, self.upper.blocks, strict=True):
            for inner, linear in _linear_maps(block, "all"):
                yield f"{name}.{inner}", linear

    def groups(self, modality: str, method: str, settings: AdaptSettings) -> tuple[ParamGroup, ...]:
        """The trained parameters by block, the lowest first; a block's rate falls with its depth. They do not decay.

        Args:
            modality: its name.
            method: ``top_k``, ``lora`` or ``full``.
            settings: rates.
        """
        blocks = list(zip(self.upper.names, self.upper.blocks, strict=True))
        groups = []
        for depth, (name, block) in zip(range(len(blocks) - 1, -1, -1), blocks, strict=True):
            trained = [p for n, p in block.named_parameters() if method != "lora" or _is_addition(n)]
            rate = settings.layer_decay**depth * (settings.lora_lr / settings.lr if method == "lora" else 1.0)
            label = f"backbone.{modality} {name.rpartition('.')[2]}"
            groups.append(ParamGroup(label, tuple(trained), rate, decays=False, stacked=False))
        if self.upper.norm is not None and method != "lora":
            norm = ParamGroup(f"backbone.{modality} norm", tuple(self.upper.norm.parameters()), 1.0, False, False)
            groups.append(norm)
        return tuple(groups)

    def changes(self) -> dict[str, Tensor]:
        """What training changed, by the names of the whole model's tensors.

        Whole tensors, or for a weight with an addition its two factors, ``<weight>.down`` and ``<weight>.up`` (scaled).
        """
        low_rank = {
            f"{name}.weight.{part}": tensor
            for name, linear in self.linear_maps()
            if isinstance(linear, LowRank)
            for part, tensor in linear.factors.items()
        }
        if low_rank:
            return low_rank
        parts = [*zip(self.upper.names, self.upper.blocks, strict=True)]
        parts += [(self.upper.norm_name, self.upper.norm)] if self.upper.norm is not None else []
        return {f"{name}.{inner}": p.detach() for name, part in parts for inner, p in part.named_parameters()}


class Adapted(nn.Module):
    """Backbones that are trained, and the model that reads them: states → ``(1, B, E)``."""

    def __init__(self, backbones: Mapping[str, TrainableBackbone], model: Unimodal | Multimodal) -> None:
        """The model reads features of the other modalities as they are.

        Args:
            backbones: by modality.
            model: of one seed.
        """
        super().__init__()
        self.backbones = nn.ModuleDict(backbones)
        self.model = model

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "1 B E"]:
        """Intensities of a batch."""
        read = {name: self.backbones[name](steps, rng) if name in self.backbones else steps
                for name, steps in inputs.items()}  # fmt: skip
        return self.model(read, rng)

    def backbone(self, modality: str) -> TrainableBackbone:
        """The backbone of a modality."""
        backbone = self.backbones[modality]
        assert isinstance(backbone, TrainableBackbone)
        return backbone

    def groups(
        self, methods: Mapping[str, str], settings: AdaptSettings, above: Sequence[ParamGroup]
    ) -> tuple[ParamGroup, ...]:
        """The trained parameters of the backbones, and those above them at ``settings.head_rate``.

        Args:
            methods: by modality.
            settings: rates.
            above: of the model, with their shares of its rate.
        """
        below = (group for name, how in methods.items() for group in self.backbone(name).groups(name, how, settings))
        faster = (replace(group, rate=group.rate * settings.head_rate) for group in above)
        return (*below, *faster)


def averaged_steps(steps: Steps, longest: int) -> Steps:
    """Clips of more than ``longest`` steps averaged to that many, as ``inputs.averaged`` does, with gradients.

    >>> made = averaged_steps(Steps(torch.tensor([[[0.0], [2], [4], [5], [6]]]), torch.ones(1, 5, dtype=torch.bool)), 2)
    >>> made.values.ravel().tolist()
    [1.0, 5.0]
    """
    values, mask = steps
    if mask.shape[1] <= longest:
        return steps
    count = mask.sum(1, keepdim=True)  # (B, 1); a clip's steps come first
    kept = count.clamp(max=longest)
    edges = torch.arange(longest + 1, device=mask.device).minimum(kept) * count // kept.clamp(min=1)  # (B, longest + 1)
    sums = nn.functional.pad(values.float().cumsum(1), (0, 0, 1, 0))  # zeros first
    at = sums.gather(1, edges[..., None].expand(-1, -1, values.shape[-1]))
    lengths = edges.diff(dim=1)
    return Steps(at.diff(dim=1) / lengths.clamp(min=1)[..., None], lengths > 0)


def check_gradients(backbone: TrainableBackbone, loss: Tensor) -> None:
    """Check that the loss depends on every trained linear map: one that is bypassed would silently stay as it is.

    Args:
        backbone: of which parameters are trained.
        loss: of one batch, with its graph.

    Raises:
        MienError: it does not depend on some; the message names the first.
    """
    trained = {
        name: [p for p in module.parameters() if p.requires_grad]
        for name, module in backbone.linear_maps()
        if any(p.requires_grad for p in module.parameters())
    }
    parameters = [p for parts in trained.values() for p in parts]
    found = dict(zip(map(id, parameters), torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))
    dead = [
        name
        for name, parts in trained.items()
        if not any((g := found[id(p)]) is not None and bool(g.any()) for p in parts)
    ]
    if not trained or dead:
        first = f"first {dead[0]}" if dead else "none is trained"
        raise MienError(
            f"{len(dead)} of {len(trained)} trained linear maps of the backbone have no gradient ({first}): its "
            "architecture does not use them in the usual way, so they would stay as they are"
        )


def _linear_maps(block: nn.Module, parts: str) -> Iterator[tuple[str, nn.Linear]]:
    """The linear maps of a block, all or those of its ``attention`` or the others, with their names in it."""
    for name, module in block.named_modules():
        is_attention = any(part in name.split(".") for part in ATTENTION)
        if isinstance(module, nn.Linear) and (parts == "all" or (parts == "attention") == is_attention):
            yield name, module


def _is_addition(name: str) -> bool:
    return name.endswith((".down", ".up"))


@contextmanager
def _dropout_of(rng: RngStreams | None, device: torch.device) -> Iterator[None]:
    """Seeds PyTorch's own generator from the stream of the model while its blocks run."""
    if rng is None:
        yield
        return
    (generator,) = rng.generators
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
