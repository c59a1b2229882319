"""Text: transcript → one L2-normalised sentence vector, and the token states that it is the mean of.

The paper trains on the sentence vector; the token states cost little and let a later model attend to words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from mien.compute.derived import derived
from mien.compute.engine import States, compile_backbone
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
    to_numpy,
)
from mien.modalities.blocks import without_upper
from mien.schema import Media, Transcript, Word
from mien.weights.own import pooling_of

LONGEST_TOKENS = 512
BATCH_TEXTS = 32


def prepare(media: Media) -> Prepared | Absent:
    """The transcript, unless it is empty."""
    if media.transcript is None or not media.transcript.text.strip():
        return Absent(media.absent.get("text", "nothing is said"))
    return Prepared(media.transcript, np.zeros(0, np.float32))


def load(folder: Path | None, compute: Compute, layers: tuple[int, ...] = ()) -> Backbone:
    """A sentence embedding model (MiniLM, GTE): masked mean over the last hidden states, L2-normalised.

    The first token instead of the mean where the sentence-transformers record of the model says so.

    With ``layers`` it also gives a sentence vector of each of these layers, made in the same way.
    """
    assert folder is not None
    tokenizer, longest = _tokenizer(folder)
    pooling = pooling_of(folder)
    ids = torch.ones(1, 8, dtype=torch.int64)
    model = compile_backbone(
        lambda on: States(pretrained("AutoModel", folder, on), layers), folder, compute, ({1: 8}, {1: 8}), layers,
        example=(ids, ids),
    )  # fmt: skip

    def embed(prepared: Prepared) -> Mapping[str, Output]:
        transcript: Transcript = prepared.inputs
        tokens = tokenizer.encode(transcript.text)
        states = model(torch.tensor([tokens.ids]), torch.tensor([tokens.attention_mask]))[0]  # (T, F), or (T, L', F)
        pooled = states[:1] if pooling == "cls" else states.mean(0, keepdim=True)  # a single text has no padding
        sentence = to_numpy(torch.nn.functional.normalize(pooled, dim=-1))  # (1, F), or (1, L', F)
        last = states[:, -1] if layers else states
        cut = f"transcript cut to {longest} tokens" if len(states) == longest else ""
        made = split_layers("text", sentence, np.zeros(1, np.float32), layers)
        made = {name: replace(output, remark=cut) for name, output in made.items()}
        return made | {"tokens": Output(to_numpy(last), token_seconds(transcript, tokens.offsets), cut)}

    return embed


def _tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of a text model, which cuts and pads at the end of a text, and the most tokens that it leaves."""

    def make(library: Any) -> dict[str, Any]:
        tokenizer = library.AutoTokenizer.from_pretrained(str(folder))
        positions = longest_text(library.AutoConfig.from_pretrained(str(folder)))
        longest = min(LONGEST_TOKENS, tokenizer.model_max_length, positions)
        padding = {"pad_id": tokenizer.pad_token_id, "pad_token": tokenizer.pad_token}
        return {"tokenizer": tokenizer.backend_tokenizer.to_str(), "padding": padding, "longest": longest}

    made = derived("tokenizer", folder, make)
    tokenizer = Tokenizer.from_str(made["tokenizer"])
    tokenizer.enable_truncation(made["longest"])
    tokenizer.enable_padding(**made["padding"])
    return tokenizer, made["longest"]


def enter(folder: Path, compute: Compute, block: int) -> Entering:
    """Transcripts → the token states that enter a block, ``(T, F)`` each; texts of similar length share a batch."""
    tokenizer, _ = _tokenizer(folder)

    def lower_part(on: Compute) -> States:
        return States(without_upper(pretrained("AutoModel", folder, on), block), (block,))

    run = compile_backbone(lower_part, folder, compute, ({1: 8}, {1: 8}))

    def token_states(prepared: Sequence[Prepared]) -> Iterator[np.ndarray]:
        texts = [one.inputs.text for one in prepared]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        made: dict[int, np.ndarray] = {}
        for part in slices(len(texts), BATCH_TEXTS):
            places = order[part]
            batch = tokenizer.encode_batch([texts[place] for place in places])
            ids, mask = (torch.tensor([getattr(one, name) for one in batch]) for name in ("ids", "attention_mask"))
            states = run(ids, mask)[:, :, 0]  # (B, T, F)
            lengths = mask.sum(1).tolist()
            made |= {p: to_numpy(row[:n]) for p, row, n in zip(places, states, lengths, strict=True)}
        return (made.pop(place) for place in range(len(texts)))

    return token_states


def pool(folder: Path) -> Pool:
    """Token states → the sentence vector that ``load`` makes of them."""
    first = pooling_of(folder) == "cls"

    def sentence(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        share = mask[..., None] / mask.sum(1).clamp(min=1)[:, None, None]
        pooled = states[:, :1] if first else (states * share).sum(1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=-1)  # (B, 1, F)

    return sentence


def longest_text(config: Any) -> int:
    """Tokens that a text model has positions for; RoBERTa and its relatives count theirs from the padding's on."""
    positions = int(getattr(config, "max_position_embeddings", LONGEST_TOKENS))
    offset = config.model_type in ("roberta", "xlm-roberta", "mpnet")
    return positions - (int(config.pad_token_id or 0) + 1 if offset else 0)


def token_seconds(transcript: Transcript, offsets: Iterable[tuple[int, int]]) -> np.ndarray:
    """``(T,)`` start of each token's word; ``nan`` for special tokens and for a transcript without times."""
    word_starts = _word_positions(transcript)
    return np.array([_start_of(begin, end, word_starts) for begin, end in offsets], np.float32)


def cut_transcript(transcript: Transcript, start: float, end: float) -> Transcript:
    """The part of a transcript from ``start`` to ``end`` seconds: the words with their midpoint in between.

    The text is cut from the whole text, so that all parts together are the transcript.

    >>> words = (Word("so", 0.0, 0.4, 1.0), Word("happy,", 0.5, 1.3, 1.0), Word("really", 1.4, 2.0, 1.0))
    >>> cut_transcript(Transcript("so happy, really", "tiny", words), 0.5, 1.5).text
    'happy,'
    """
    positions = _word_positions(transcript)
    edges = [0, *(place for place, _ in positions[1:]), len(transcript.text)]
    chosen = [n for n, (_, word) in enumerate(positions) if start <= (word.start + word.end) / 2 < end]
    text = transcript.text[edges[chosen[0]] : edges[chosen[-1] + 1]] if chosen else ""
    return replace(transcript, text=text.strip(), words=tuple(positions[n][1] for n in chosen))


def _word_positions(transcript: Transcript) -> list[tuple[int, Word]]:
    """The position in the text of each word, up to the first word that is not found."""
    positions, position = [], 0
    for word in transcript.words:
        position = transcript.text.find(word.text.strip(), position)
        if position < 0:
            break
        positions.append((position, word))
        position += len(word.text.strip())
    return positions


def _start_of(begin: int, end: int, word_starts: list[tuple[int, Word]]) -> float:
    before = [word.start for place, word in word_starts if place <= begin]
    return before[-1] if before and end > begin else float("nan")


TEXT = Modality(
    name="text",
    sense="text",
    backbone_role="text",
    front_roles=("vad", "asr"),
    settings=("speech",),
    features=("text", "tokens"),
    prepare=prepare,
    load=load,
    load_layers=load,
    training=Training(enter, pool),
    version=3,
    source="GTE: Li et al. 2023, arXiv:2308.03281; mean pooling and normalisation as in its model card",
    sequence=False,
)
