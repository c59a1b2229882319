"""What a speech encoder reads instead of the waveform itself, as the file ``preprocessor_config.json`` beside it says.

    log_mel     Whisper: log-mel spectrogram, 100 frames a second (Radford et al. 2022, section 2.2)
    waveform    wav2vec 2.0 and its relatives: the waveform, normalised or as it is

The numbers are those of the feature extractors of transformers, which need its import (``compute/derived.py``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from mien.compute.derived import derived

FLOOR = 1e-10
"""Energies below are as good as none."""

RANGE = 8.0
"""Decades below the highest energy that are told apart."""


def front_end(folder: Path) -> tuple[Literal["log_mel", "waveform"], Callable[[torch.Tensor], torch.Tensor]]:
    """The kind of a speech encoder's input, and a function that makes it of a waveform ``(N,)`` at 16 kHz.

    It returns ``(M, N // hop)`` for ``M`` mel bands, or ``(N,)``.
    """

    def make(library: Any) -> dict[str, Any]:
        extractor = library.AutoFeatureExtractor.from_pretrained(str(folder))
        if (filters := getattr(extractor, "mel_filters", None)) is None:
            return {"normalise": bool(extractor.do_normalize)}
        return {"filters": filters.T.tolist(), "window": extractor.n_fft, "hop": extractor.hop_length}

    made = derived("speech front end", folder, make)
    if "filters" in made:
        filters = torch.tensor(made["filters"])  # (M, window / 2 + 1)
        return "log_mel", lambda waveform: log_mel(waveform, filters, made["window"], made["hop"])
    return "waveform", normalised if made["normalise"] else lambda waveform: waveform


def log_mel(waveform: torch.Tensor, filters: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """The base-10 logarithm of the energy in each mel band, mapped so that speech lies between about -1 and 1."""
    spectrum = torch.stft(waveform, window, hop, window=torch.hann_window(window), return_complex=True)
    energy = filters @ (spectrum[:, :-1].abs() ** 2).contiguous()
    levels = energy.clamp(min=FLOOR).log10()
    return (levels.clamp(min=levels.max() - RANGE) + 4) / 4


def normalised(waveform: torch.Tensor) -> torch.Tensor:
    """The waveform with mean 0 and variance 1."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
