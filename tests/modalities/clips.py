"""Media of one clip, with all that a modality may read."""

from pathlib import Path

import numpy as np

from mien.compute.device import resolve_compute
from mien.config import ComputeSettings
from mien.schema import SAMPLE_RATE, Clip, FaceTrack, Media, Transcript, Word

CPU = resolve_compute(ComputeSettings(device="cpu", precision="float32"))
WORDS = (Word(" so", 0.5, 0.7, 0.9), Word(" proud", 0.8, 1.2, 0.9))


class CropsOnDisk:
    """Crops that refuse to be read all at once."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, which: slice) -> np.ndarray:
        assert which.stop - which.start <= 16, "crops must be read in batches"
        frames = np.arange(which.start, min(which.stop, self.count))
        return np.broadcast_to(frames[:, None, None, None], (len(frames), 224, 224, 3)).astype(np.uint8)


def media(seconds: float = 2.0, crops: int = 20) -> Media:
    """Noise, two words, a face in most frames."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
    times = np.arange(crops, dtype=np.float32) / 4
    track = FaceTrack(
        CropsOnDisk(crops), times, crops + 4, np.ones((5, 58), np.float32), np.arange(5, dtype=np.float32), 5, 1,
        np.zeros((crops, 4), np.float32),
    )  # fmt: skip
    return Media(Clip("a", Path("a.mp4")), seconds, noise, Transcript("so proud", "asr", WORDS), track)
