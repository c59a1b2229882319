"""Prosody: loudness, pitch and voicing, ten times per second. An example of a custom modality in one file.

No pretrained weights: each step has four measured values, and the encoder learns from them.

Shapes: ``N`` samples, ``T`` steps.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.compute.device import Compute
from mien.modalities.base import Absent, Backbone, Modality, Output, Prepared
from mien.schema import SAMPLE_RATE, Media

STEP, WINDOW = SAMPLE_RATE // 10, SAMPLE_RATE // 20  # samples
LOWEST, HIGHEST = 75, 400  # Hz, of a voice


def prepare(media: Media) -> Prepared | Absent:
    """The waveform, unless it is missing or shorter than one step."""
    if media.waveform is None:
        return Absent(media.absent.get("audio", "no audio"))
    if len(media.waveform) < STEP:
        return Absent(f"audio of {1000 * len(media.waveform) / SAMPLE_RATE:.0f} ms is too short")
    steps = len(media.waveform) // STEP
    return Prepared(media.waveform, (np.arange(steps, dtype=np.float32) + 0.5) * STEP / SAMPLE_RATE)


def load(_folder: Path | None, _compute: Compute) -> Backbone:
    """Nothing to load: the backbone only computes."""

    def measure(prepared: Prepared) -> Mapping[str, Output]:
        return {"prosody": Output(descriptors(prepared.inputs).astype(np.float16), prepared.seconds)}

    return measure


def descriptors(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``(N,)`` → ``(T, 4)``: loudness, pitch (octaves above the lowest), voicing strength, zero-crossing rate."""
    starts = np.arange(len(waveform) // STEP) * STEP
    frames = np.stack([waveform[start : start + WINDOW] for start in starts])
    frames = frames - frames.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(frames, 2 * WINDOW)) ** 2
    correlation = np.fft.irfft(power)[:, : SAMPLE_RATE // LOWEST + 1]  # autocorrelation (T, lags)
    correlation /= np.maximum(correlation[:, :1], 1e-8)
    lags = correlation[:, SAMPLE_RATE // HIGHEST :]
    lag = lags.argmax(-1) + SAMPLE_RATE // HIGHEST
    loudness = np.log10(np.maximum((frames**2).mean(-1), 1e-8)) / 4 + 1
    crossings = (np.diff(np.sign(frames)) != 0).mean(-1)
    return np.stack([loudness, np.log2(SAMPLE_RATE / lag / LOWEST), lags.max(-1), crossings], -1).astype(np.float32)


PROSODY = Modality(
    name="prosody",
    sense="audio",
    backbone_role=None,
    front_roles=(),
    settings=("speech.source",),
    features=("prosody",),
    prepare=prepare,
    load=load,
    version=1,
    source="autocorrelation pitch: L. Rabiner, IEEE Trans. ASSP 25 (1977) 24",
)
