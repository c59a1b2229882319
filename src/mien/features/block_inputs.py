"""What enters the trained blocks of a backbone, for many clips: from their inputs, through the frozen part, once.

Inputs are the transcripts of a table, or those that an extraction has kept (``kept_inputs.py``).

The trade-off: states are kept in memory in half precision, which is quick to train from and needs room: 16 kB for a
sentence of MiniLM, 270 kB for seven seconds of Whisper tiny, 200 kB for one crop of DINOv2-small.

Shapes: ``T`` steps, ``S`` steps of all clips, ``F`` width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.compute.device import Compute
from mien.errors import DataError, MienError
from mien.features.kept_inputs import KeptInputs
from mien.features.store import Packed, Store
from mien.modalities.base import Modality, Prepared
from mien.schema import SAMPLE_RATE, Clip, Media, Transcript

BATCH_CLIPS = 256
"""Clips whose inputs are in memory at once."""


@dataclass(frozen=True)
class BlockInputs:
    """The states that enter a block, of many clips.

    Attributes:
        packed: ``(S, F)``; a clip without the modality has no steps.
        tokens: of each step, where a step is an image; else 0.
    """

    packed: Packed
    tokens: int


def check_inputs(store: Store, clips: Sequence[Clip], modality: Modality) -> None:
    """Check that the inputs of all clips that have a modality can be read.

    Raises:
        DataError: some cannot; the message has their number and the first, and says how to keep them.
    """
    index = KeptInputs(store.root).index()
    lacking = [
        clip.id
        for clip in clips
        if _has(store, clip, modality)
        and not _is_given(clip, modality)
        and modality.sense not in index.get(clip.id, {})
    ]
    if lacking:
        raise DataError(
            f"{store.root}: no kept {modality.sense} inputs of {len(lacking)} of {len(clips)} clips, first "
            f"{lacking[0]}, from which the {modality.name} backbone is trained; run the mien extract command that made "
            "the store again, with --keep-inputs (imported and synthetic features have no inputs)"
        )


def block_inputs(
    store: Store, clips: Sequence[Clip], modality: Modality, folder: Path, compute: Compute, block: int, seconds: float
) -> BlockInputs:
    """The states of clips that enter a block of a modality's backbone.

    Args:
        store: with kept inputs.
        clips: in the order of the result.
        modality: whose backbone is trained.
        folder: of its weights.
        compute: of the frozen part.
        block: number of the lowest trained block.
        seconds: of sound that are read, from the beginning of each clip.

    Raises:
        DataError: inputs are missing, or the modality is missing where the store has it.
        Damaged: a kept input is damaged.
        MienError: states are not finite.
    """
    assert modality.training is not None
    check_inputs(store, clips, modality)
    enter, parts, lengths, tokens = modality.training.enter(folder, compute, block), [], [], 0
    for begin in range(0, len(clips), BATCH_CLIPS):
        prepared = list(_read(store, clips[begin : begin + BATCH_CLIPS], modality, seconds))
        states = iter(enter([one for one in prepared if one is not None]))
        for clip, one in zip(clips[begin : begin + BATCH_CLIPS], prepared, strict=True):
            made = np.empty((0, 0), np.float16) if one is None else next(states)
            if not np.isfinite(made).all():
                raise MienError(
                    f"{clip.id}: the states that enter block {block} of the {modality.name} backbone are not finite in "
                    "half precision"
                )
            if made.ndim == 3:
                tokens, made = made.shape[1], made.reshape(-1, made.shape[-1])
            lengths.append(len(made))
            parts += [made] * (len(made) > 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values: npt.NDArray[np.float16] = np.concatenate(parts) if parts else np.empty((0, 0), np.float16)
    return BlockInputs(Packed(values, offsets), tokens)


def _read(store: Store, clips: Iterable[Clip], modality: Modality, seconds: float) -> Iterator[Prepared | None]:
    """The inputs of each clip; ``None`` where the store does not have the modality."""
    kept = KeptInputs(store.root)
    for clip in clips:
        if not _has(store, clip, modality):
            yield None
            continue
        given = Transcript(clip.transcript or "", "given") if _is_given(clip, modality) else None
        media = Media(clip, float("nan"), transcript=given) if given else kept.read(clip.id, modality.sense)
        prepared = modality.prepare(media) if media else None
        if not isinstance(prepared, Prepared):
            raise DataError(
                f"{store.root}: {clip.id} has {modality.name} features, but its inputs have none; extract it again"
            )
        if modality.sense == "audio":
            prepared = Prepared(prepared.inputs[: int(seconds * SAMPLE_RATE)], prepared.seconds)
        yield prepared


def _has(store: Store, clip: Clip, modality: Modality) -> bool:
    row = store.row(clip.id, modality.name)
    return row is not None and row.steps > 0


def _is_given(clip: Clip, modality: Modality) -> bool:
    return modality.sense == "text" and clip.transcript is not None
