"""Vision: face crops → one DINOv2 class token each.

Crops are read from the track in batches, so that an hour of video needs no more memory than a minute.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.compute.engine import choose_layers, compile_backbone
from mien.config import FaceSettings
from mien.modalities.base import (
    Absent,
    Backbone,
    Compute,
    Entering,
    Modality,
    Output,
    Pool,
    Prepared,
    Training,
    pretrained,
    slices,
    split_layers,
    stack_rows,
)
from mien.modalities.blocks import first_token_only
from mien.schema import Media
from mien.weights.own import image_statistics

BATCH_CROPS = 16


def prepare(media: Media) -> Prepared | Absent:
    """The crops of the main face; frames without a face are counted in the remark."""
    track = media.faces
    if track is None or not len(track.crops):
        return Absent(media.absent.get("vision") or f"no face in {track.vision_frames if track else 0} frames")
    found, searched = len(track.crops), track.vision_frames
    return Prepared(
        track.crops, track.crop_seconds, f"face in {found} of {searched} frames" if found < searched else ""
    )


def load(folder: Path | None, compute: Compute, layers: tuple[int, ...] = ()) -> Backbone:
    """DINOv2 or ViT: the class token of each crop, after the final normalisation.

    Crops are normalised as the model's ``preprocessor_config.json`` says. Positions of a ViT that was trained on images
    of another size than the crops are interpolated, as DINOv2's always are.

    With ``layers`` it also gives the class tokens of these layers, each through the final normalisation, as DINOv2's
    ``get_intermediate_layers(norm=True)`` does.
    """
    assert folder is not None
    side = FaceSettings().crop_size  # of most crops
    model = compile_backbone(
        lambda on: _ClassToken(pretrained("AutoModel", folder, on), layers), folder, compute, ({0: 2},), layers,
        example=(torch.zeros(1, 3, side, side),),
    )  # fmt: skip
    images = _images(folder, compute)

    def encode_crops(prepared: Prepared) -> Mapping[str, Output]:
        def tokens(part: slice) -> torch.Tensor:
            return model(images(prepared.inputs[part]))  # (B, F), or (B, L', F)

        crops = len(prepared.inputs)
        return split_layers(
            "vision", stack_rows(map(tokens, slices(crops, BATCH_CROPS)), crops), prepared.seconds, layers
        )

    return encode_crops


def _images(folder: Path, compute: Compute) -> Callable[[np.ndarray], torch.Tensor]:
    """A function of crops ``(B, S, S, 3)`` uint8: images ``(B, 3, S, S)``, normalised as the model reads them."""
    mean, std = (torch.tensor(v, device=compute.device).view(1, 3, 1, 1) for v in image_statistics(folder))

    def normalise(crops: np.ndarray) -> torch.Tensor:
        images = torch.from_numpy(crops).to(compute.device).permute(0, 3, 1, 2)
        return images.float().div_(255).sub_(mean).div_(std)

    return normalise


def enter(folder: Path, compute: Compute, block: int) -> Entering:
    """Crops → the states of all tokens that enter a block, ``(T, tokens, F)`` for the ``T`` crops of a clip."""
    model = compile_backbone(
        lambda on: _Entering(pretrained("AutoModel", folder, on), block), folder, compute, ({0: 2},), (block,)
    )
    images = _images(folder, compute)

    def states(prepared: Sequence[Prepared]) -> Iterator[np.ndarray]:
        for one in prepared:
            crops = len(one.inputs)
            yield stack_rows((model(images(one.inputs[part])) for part in slices(crops, BATCH_CROPS)), crops)

    return states


def pool(_folder: Path) -> Pool:
    """The class token."""
    return lambda states, _mask: states[:, 0]


class _Entering(torch.nn.Module):
    """``(B, 3, S, S)`` images → the states that enter a block, ``(B, tokens, F)``."""

    def __init__(self, model: Any, block: int) -> None:
        super().__init__()
        self.model = model
        self.block = block

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images, output_hidden_states=True, **_sizes(self.model)).hidden_states[self.block]


def _sizes(model: Any) -> Mapping[str, bool]:
    """Options that let a model read images of any size."""
    return {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}


class _ClassToken(torch.nn.Module):
    """``(B, 3, S, S)`` images → ``(B, F)``; with layers ``(B, L', F)``."""

    def __init__(self, model: Any, layers: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.model = first_token_only(model)
        self.layers = layers
        self.options = _sizes(model)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.layers:
            return self.model(images, **self.options).last_hidden_state[:, 0]
        found = self.model(images, output_hidden_states=True, **self.options)
        below = [self.model.layernorm(states[:, 0]) for states in found.hidden_states[:-1]]
        return choose_layers([*below, found.last_hidden_state[:, 0]], self.layers)


VISION = Modality(
    name="vision",
    sense="vision",
    backbone_role="vision",
    front_roles=("landmarker", "full_range"),
    settings=("faces", "media.vision_fps", "media.motion_fps"),
    features=("vision",),
    prepare=prepare,
    load=load,
    load_layers=load,
    centered_layers=True,
    training=Training(enter, pool),
    steps_per_second=lambda media: media.vision_fps,
    version=6,
    source="DINOv2: Oquab et al. 2023, arXiv:2304.07193",
)
