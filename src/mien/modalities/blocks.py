"""The upper blocks of a pretrained transformer, cut off so that they can be trained on what enters them.

    states (B, T, F), mask  ─▶ block first … block L-1 ─▶ final normalisation ─▶ (B, T, F)

What lies below is frozen, so it is run once per clip, one clip at a time: convolutions that normalise over a whole clip
(wav2vec2-base, HuBERT) never see padding. In the blocks, padding is masked, and they have no other way to see it.

The trade-off: blocks are called here and not through the ``forward`` of transformers, which starts at the input. Each
family below states where its blocks lie and what else they are given; a test compares every family with its own
``forward``.

Shapes: ``B`` batch, ``T`` tokens or steps, ``F`` width, ``L`` blocks.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mien.compute.loading import transformers
from mien.errors import SettingsError


@dataclass(frozen=True)
class Family:
    """How the blocks of an architecture are reached.

    Attributes:
        blocks: the list of blocks, as a dotted name.
        norm: the normalisation behind the last block; empty if there is none.
        helper: the part of the model that makes what blocks are given besides states and mask; empty if nothing.
        given: what they are given, from the helper and the states.
        carries: whether a block hands a position bias to the next one, so that none can be cut off.
    """

    blocks: str
    norm: str = ""
    helper: str = ""
    given: Callable[[Any, Tensor], Mapping[str, Any]] = lambda _helper, _states: {}
    carries: bool = False


def _position_bias(encoder: Any, states: Tensor) -> Mapping[str, Any]:
    return {"position_bias": encoder.compute_position_bias(states)}


def _rotary(embedding: Any, states: Tensor) -> Mapping[str, Any]:
    return {"position_embeddings": embedding(states, torch.arange(states.shape[1], device=states.device)[None])}


_BERT = Family("encoder.layer")
_SPEECH = Family("encoder.layers")

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": Family("encoder.layer", helper="encoder", given=_position_bias),
    "gte": Family("layers", helper="rotary_emb", given=_rotary),
    "wav2vec2": _SPEECH,
    "hubert": _SPEECH,
    "wavlm": Family("encoder.layers", carries=True),
    "whisper": Family("encoder.layers", "encoder.layer_norm"),
    "dinov2": Family("encoder.layer", "layernorm"),
    "vit": Family("layers", "layernorm"),
}
"""By ``model_type``; large speech models normalise behind the last block too (``do_stable_layer_norm``)."""


def without_upper(model: Any, block: int) -> Any:
    """A transformers model without its blocks above ``block``: enough for the states that enter that one.

    The block itself stays, so that a normalisation behind the last one never reaches these states.
    """
    del model.get_submodule(FAMILIES[model.config.model_type].blocks)[block + 1 :]
    return model


def first_token_only(model: Any) -> Any:
    """A vision transformer whose last block computes nothing behind its attention but the first token, the class token.

    Its state is the same; those of the other tokens mean nothing.
    """

    def first(_module: nn.Module, states: tuple[Tensor]) -> tuple[Tensor]:
        return (states[0][:, :1],)

    last = model.get_submodule(FAMILIES[model.config.model_type].blocks)[-1]
    for module in (last.attention.o_proj, last.mlp):
        module.register_forward_pre_hook(first)  # what it gives is then broadcast over the sum with all tokens
    return model


class UpperBlocks(nn.Module):
    """The blocks of a backbone from one of them on, and the normalisation behind the last.

    Attributes:
        blocks: the lowest first.
        names: of each block within the whole model, as in the names of its tensors (``encoder.layer.4``).
        norm: the final normalisation, or ``None``.
        norm_name: its name within the whole model.
        checkpoints: whether activations are computed again in the backward pass, which saves memory.
    """

    def __init__(self, model: Any, first: int) -> None:
        """Cut a transformers model below block ``first``; what is below is released.

        Raises:
            SettingsError: its blocks cannot be cut there.
        """
        super().__init__()
        self.config = model.config
        family = FAMILIES[self.config.model_type]
        blocks = model.get_submodule(family.blocks)
        if not 0 <= first < len(blocks):
            raise SettingsError(f"no {len(blocks) - first} blocks in a backbone of {len(blocks)}")
        if family.carries and first:
            raise SettingsError(
                f"the blocks of {self.config.model_type} share a position bias that the lowest makes, so the upper "
                "ones cannot be trained alone: take lora or full"
            )
        self.blocks = nn.ModuleList(list(blocks)[first:])
        self.names = [f"{family.blocks}.{n}" for n in range(first, len(blocks))]
        self.norm_name = family.norm or (
            "encoder.layer_norm" if getattr(self.config, "do_stable_layer_norm", 0) else ""
        )
        self.norm = model.get_submodule(self.norm_name) if self.norm_name else None
        self.checkpoints = False
        del blocks[:]
        self._family = family
        self.helper = model.get_submodule(family.helper).requires_grad_(False) if family.helper else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """The last states, ``(B, T, F)``, from the states ``(B, T, F)`` that enter the lowest of these blocks.

        Args:
            states: padded.
            mask: ``(B, T)`` bool, false for padding; at least one is true in each row.
        """
        given = dict(self._family.given(self.helper, states))
        attended = self._attention_mask(states, mask)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # of WavLM's own making
            for block in self.blocks:
                made = self._run(block, states, attended, given)
                states = made[0] if isinstance(made, tuple) else made
                if self._family.carries:
                    given["position_bias"] = made[1]
        return states if self.norm is None else self.norm(states)

    def _run(self, block: nn.Module, states: Tensor, mask: Tensor | None, given: Mapping[str, Any]) -> Any:
        if self.checkpoints and torch.is_grad_enabled():
            return checkpoint(block, states, mask, use_reentrant=False, **given)
        return block(states, mask, **given)

    def _attention_mask(self, states: Tensor, mask: Tensor) -> Tensor | None:
        """The mask as the attention of transformers takes it; ``None`` without padding."""
        if bool(mask.all()):
            return None
        if self._family.carries:  # WavLM takes it as it is
            return mask
        with transformers() as library:
            return library.masking_utils.create_bidirectional_mask(self.config, states, mask)
