"""Audio: 16 kHz waveform → the last hidden states of a speech encoder, 50 steps a second.

Two families: wav2vec 2.0 (the paper's, affect-tuned) and the encoder of Whisper, which is run on the true length of the
waveform instead of on 30 padded seconds. Long audio is encoded in chunks of 30 s, so that memory does not grow with its
length; a step does not see beyond its chunk.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.compute.engine import States, choose_layers, compile_backbone
from mien.modalities.affect import NAMES, WithAffect, affect_head
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
    to_numpy,
)
from mien.modalities.front_ends import front_end
from mien.schema import SAMPLE_RATE, Media

CHUNK_SECONDS = 30
SHORTEST_SAMPLES = 400
"""One window of the convolutions of wav2vec 2.0, 25 ms; a shorter waveform gives no step."""

STEPS_PER_SECOND = 50


def prepare(media: Media) -> Prepared | Absent:
    """The waveform, unless there is none, it is digitally silent, or too short for a single step."""
    if media.waveform is None:
        return Absent(media.absent.get("audio", "no audio"))
    if len(media.waveform) < SHORTEST_SAMPLES:
        return Absent(f"audio of {1000 * len(media.waveform) / SAMPLE_RATE:.0f} ms is too short")
    if not np.any(media.waveform):
        return Absent("the audio track is digitally silent")
    return Prepared(media.waveform, np.zeros(0, np.float32))


def load(folder: Path | None, compute: Compute, layers: tuple[int, ...] = (), affect: bool = False) -> Backbone:
    """The speech encoder in a folder: that of a Whisper model, or wav2vec 2.0 and its relatives.

    With ``layers`` it also gives their states. Those below the last layer are as they enter the next one: where a
    model normalises after its last layer only (Whisper, large wav2vec 2.0), they are not normalised. With ``affect``
    it also gives the last states with three more columns (``affect.py``).
    """
    assert folder is not None
    encode = _encode_chunk(folder, compute, layers, affect)

    def encode_audio(prepared: Prepared) -> Mapping[str, Output]:
        waveform: np.ndarray = prepared.inputs

        times: list[np.ndarray] = []

        def steps(chunk: slice) -> torch.Tensor:
            states = encode(waveform[chunk])  # (T, F), or (T, L', F)
            times.append(chunk.start / SAMPLE_RATE + (np.arange(len(states)) + 0.5) / STEPS_PER_SECOND)
            return states

        chunks = [c for c in slices(len(waveform), CHUNK_SECONDS * SAMPLE_RATE) if c.stop - c.start >= SHORTEST_SAMPLES]
        values = stack_rows(map(steps, chunks), len(waveform) * STEPS_PER_SECOND // SAMPLE_RATE + len(chunks))
        seconds = np.concatenate(times).astype(np.float32)  # wav2vec 2.0 has 1,499 steps in 30 s
        if affect:
            states, values = np.ascontiguousarray(values[:, : -len(NAMES)]), np.ascontiguousarray(values)
            return {"audio": Output(states, seconds), "audio_affect": Output(values, seconds)}
        return split_layers("audio", values, seconds, layers)

    return encode_audio


def _encode_chunk(
    folder: Path, compute: Compute, layers: tuple[int, ...], affect: bool = False
) -> Callable[[np.ndarray], torch.Tensor]:
    """A function of a waveform of at most ``CHUNK_SECONDS``: its states ``(T, F)``, with layers ``(T, L', F)``.

    With ``affect``, ``(T, F + 3)``.
    """
    kind, inputs_of = front_end(folder)

    def module(on: Compute) -> torch.nn.Module:
        states = (
            _WhisperEncoder(pretrained("WhisperModel", folder, on), layers)
            if kind == "log_mel"
            else States(pretrained("AutoModel", folder, on), layers)
        )
        return WithAffect(states, affect_head(folder, on)) if affect else states

    free = {2: 200} if kind == "log_mel" else {1: 4000}
    example = inputs_of(torch.zeros(SAMPLE_RATE))[None]
    run = compile_backbone(module, folder, compute, (free,), ("affect",) if affect else layers, example=(example,))
    return lambda waveform: run(inputs_of(torch.tensor(waveform))[None])[0]


def enter(folder: Path, compute: Compute, block: int) -> Entering:
    """Waveforms → the states of their first ``CHUNK_SECONDS`` that enter a block, ``(T, F)`` each."""
    encode = _encode_chunk(folder, compute, (block,))

    def states(prepared: Sequence[Prepared]) -> Iterator[np.ndarray]:
        return (to_numpy(encode(one.inputs[: CHUNK_SECONDS * SAMPLE_RATE])[:, 0]) for one in prepared)

    return states


def pool(_folder: Path) -> Pool:
    """The last states are the steps."""
    return lambda states, _mask: states


class _WhisperEncoder(torch.nn.Module):
    """Whisper's encoder, layer by layer: the ``forward`` of transformers accepts exactly 30 s."""

    def __init__(self, model: Any, layers: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        self.layers = layers

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """``(1, 80, 2T)`` log-mel frames, 100 a second → ``(1, T, F)``; with layers ``(1, T, L', F)``."""
        states = torch.nn.functional.gelu(self.encoder.conv1(mel))
        states = torch.nn.functional.gelu(self.encoder.conv2(states)).transpose(1, 2)  # (1, T, F)
        states = states + self.encoder.embed_positions.weight[: states.shape[1]]
        below = []
        for layer in self.encoder.layers:
            below.append(states)
            states = layer(states, None)
        last = self.encoder.layer_norm(states)
        return choose_layers([*below, last], self.layers) if self.layers else last


AUDIO = Modality(
    name="audio",
    sense="audio",
    backbone_role="audio",
    front_roles=(),
    settings=("speech.source",),
    features=("audio",),
    prepare=prepare,
    load=load,
    load_layers=load,
    load_affect=lambda folder, compute: load(folder, compute, affect=True),
    training=Training(enter, pool),
    steps_per_second=lambda _: STEPS_PER_SECOND,
    last_layer_lead=4.0,
    version=3,
    source="wav2vec 2.0 tuned for affect: Wagner et al. 2023, arXiv:2203.07378; Whisper: Radford et al. 2022",
)
