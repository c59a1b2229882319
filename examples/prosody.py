"""Prosody: how loud, how high and how clear a voice is, ten times a second. A modality of one's own in one file.

No pretrained weights: the four figures of each step are measured, and the encoder learns what they mean.

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
    """The sound, unless there is none or it is shorter than one step."""
    if media.waveform is None:
        return Absent(media.absent.get("audio", "no sound"))
    if len(media.waveform) < STEP:
        return Absent(f"sound of {1000 * len(media.waveform) / SAMPLE_RATE:.0f} ms is too short")
    steps = len(media.waveform) // STEP
    return Prepared(media.waveform, (np.arange(steps, dtype=np.float32) + 0.5) * STEP / SAMPLE_RATE)


def load(_folder: Path | None, _compute: Compute) -> Backbone:
    """Nothing to load: the backbone is arithmetic."""

    def measure(prepared: Prepared) -> Mapping[str, Output]:
        return {"prosody": Output(figures(prepared.inputs).astype(np.float16), prepared.seconds)}

    return measure


def figures(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``(N,)`` → ``(T, 4)``: loudness, pitch (octaves above the lowest), its clearness, share of zero crossings."""
    starts = np.arange(len(sound) // STEP) * STEP
    frames = np.stack([sound[start : start + WINDOW] for start in starts])
    frames = frames - frames.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(frames, 2 * WINDOW)) ** 2
    echo = np.fft.irfft(power)[:, : SAMPLE_RATE // LOWEST + 1]  # autocorrelation (T, lags)
    echo /= np.maximum(echo[:, :1], 1e-8)
    lags = echo[:, SAMPLE_RATE // HIGHEST :]
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
