"""A backbone that is trained further, and what enters its trained blocks; both stay in memory while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mien.compute.device import Compute
from mien.config import AdaptSettings
from mien.errors import SettingsError
from mien.features.block_inputs import BlockInputs, block_inputs, check_inputs
from mien.modalities import find_modality
from mien.modalities.base import Modality, pretrained
from mien.modalities.blocks import UpperBlocks
from mien.model.adaptation import TrainableBackbone
from mien.model.inputs import ClipDataset, PackedSteps, load_dataset
from mien.training.cost import BlockCost, sequence_lengths
from mien.training.run_state import RunState
from mien.training.split_data import Side
from mien.weights import Weights, resolve_backbones
from mien.weights.architecture import read_architecture

ALL_STEPS = 1 << 30
"""No clip has more steps than this: what enters a block is never averaged over time."""

SIDES: tuple[Side, ...] = ("fit", "select")


@dataclass(frozen=True)
class BackbonePart:
    """The backbone of a modality, and what enters its trained blocks, by side."""

    modality: Modality
    method: str
    base: Weights
    backbone: TrainableBackbone
    inputs: dict[Side, PackedSteps]

    def cost(self, settings: AdaptSettings) -> BlockCost:
        """What its training costs."""
        upper = self.backbone.upper
        trained = sum(group.size for group in self.backbone.groups(self.modality.name, self.method, settings))
        steps = self.inputs["fit"]
        lengths = sequence_lengths(steps.has.cpu().numpy(), self.backbone.tokens)
        parameters = sum(parameter.numel() for parameter in upper.parameters())
        width = steps.values.shape[1]
        return BlockCost(parameters, trained, len(upper.blocks), width, lengths, self.method, settings.checkpoints)


def load_part(run: RunState, name: str) -> BackbonePart:
    """The backbone of a modality, and what enters its trained blocks of the clips that train and choose the epoch."""
    modality, settings = find_modality(name), run.settings.adapt
    assert modality.training is not None
    role = modality.backbone_role or ""
    base = resolve_backbones(run.settings.backbones, [role])[role]
    method: str = getattr(run.settings.backbone, name)
    depth = read_architecture(base.path).depth
    first = depth - settings.top_k if method == "top_k" else 0
    if first < 0:
        raise SettingsError(f"adapt.top_k: no {settings.top_k} blocks in a backbone of {depth}")
    run.log(f"backbone {name}: {method}, blocks {first + 1} to {depth} of {base.name}")
    for side in SIDES:
        check_inputs(run.store, run.data.side(side), modality)
    frozen = Compute(run.data.device, torch.float32)
    made: dict[Side, BlockInputs] = {
        side: block_inputs(run.store, run.data.side(side), modality, base.path, frozen, first, settings.longest_seconds)
        for side in SIDES
    }
    width = {name: max(one.packed.width for one in made.values())}
    inputs: dict[Side, PackedSteps] = {
        side: load_dataset({name: one.packed}, run.data.labels(side), width, ALL_STEPS, run.data.precision,
                           run.data.device).modalities[name]
        for side, one in made.items()
    }  # fmt: skip
    upper = UpperBlocks(pretrained("AutoModel", base.path, frozen), first)
    upper.checkpoints = settings.checkpoints
    tokens = max(one.tokens for one in made.values())
    longest = run.settings.stage1.longest_steps
    backbone = TrainableBackbone(upper, modality.training.pool(base.path), longest, tokens)
    if method == "lora":
        backbone.add_low_rank(settings, run.settings.seeds[0])
    return BackbonePart(modality, method, base, backbone, inputs)


def inputs_of(run: RunState, parts: Sequence[BackbonePart], side: Side) -> ClipDataset:
    """The clips of a side: what enters trained blocks, and in a joint training the features of the other modalities."""
    trained = {part.modality.name: part.inputs[side] for part in parts}
    is_joint = run.settings.stage2.adaptation == "joint"
    others = tuple(name for name in run.modalities if name not in trained) if is_joint else ()
    known = run.data.clips(side, others)
    names = run.modalities if is_joint else tuple(trained)
    return ClipDataset({n: trained.get(n) or known.modalities[n] for n in names}, known.labels, known.precision)
