"""Text: transcript → one L2-normalised sentence vector, and the token states it was averaged from.

The sentence vector is what the paper trains on; the token states cost little and let a later model attend to words.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from mien.modalities.base import (
    Absent,
    Backbone,
    Compute,
    Modality,
    Output,
    Prepared,
    pretrained,
    to_numpy,
)
from mien.schema import Media, Transcript, Word

LONGEST_TOKENS = 512


def prepare(media: Media) -> Prepared | Absent:
    """The transcript, unless nothing was said."""
    if media.transcript is None or not media.transcript.text.strip():
        return Absent(media.absent.get("text", "nothing is said"))
    return Prepared(media.transcript, np.zeros(0, np.float32))


def load(folder: Path | None, compute: Compute) -> Backbone:
    """A sentence embedding model (MiniLM, GTE): masked mean over the last hidden states, L2-normalised."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = pretrained(AutoModel, folder, compute)

    @torch.inference_mode()
    def embed(prepared: Prepared) -> Mapping[str, Output]:
        said: Transcript = prepared.inputs
        batch = tokenizer(
            said.text, return_tensors="pt", truncation=True, max_length=LONGEST_TOKENS, return_offsets_mapping=True
        )
        offsets = batch.pop("offset_mapping")[0].numpy()  # (T, 2) characters
        states = model(**batch.to(compute.device)).last_hidden_state[0].float()  # (T, F)
        sentence = torch.nn.functional.normalize(states.mean(0, keepdim=True))  # (1, F); one text: nothing is masked
        cut = f"transcript cut to {LONGEST_TOKENS} tokens" if len(states) == LONGEST_TOKENS else ""
        return {
            "text": Output(to_numpy(sentence), np.zeros(1, np.float32), cut),
            "tokens": Output(to_numpy(states), token_seconds(said, offsets), cut),
        }

    return embed


def token_seconds(said: Transcript, offsets: np.ndarray) -> np.ndarray:
    """``(T,)`` when the word of each token begins; ``nan`` for special tokens and for a transcript without times."""
    starts, position = [], 0
    for word in said.words:
        position = said.text.find(word.text.strip(), position)
        if position < 0:
            break
        starts.append((position, word))
        position += len(word.text.strip())
    return np.array([_start_of(begin, end, starts) for begin, end in offsets], np.float32)


def _start_of(begin: int, end: int, starts: list[tuple[int, Word]]) -> float:
    spoken = [word.start for place, word in starts if place <= begin]
    return spoken[-1] if spoken and end > begin else float("nan")


TEXT = Modality(
    name="text",
    backbone_role="text",
    front_roles=("vad", "asr"),
    settings=("speech",),
    features=("text", "tokens"),
    prepare=prepare,
    load=load,
    version=1,
    source="GTE: Li et al. 2023, arXiv:2308.03281; mean pooling and normalisation as in its model card",
)
