"""torchcodec used as documented; run by decode.py in an environment that has it."""

import contextlib
import sys
from time import perf_counter

import torch
from torchcodec.decoders import AudioDecoder, VideoDecoder

torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    path = line.strip()
    began = perf_counter()
    decoder = VideoDecoder(path)
    first, end = decoder.metadata.begin_stream_seconds or 0.0, decoder.metadata.end_stream_seconds
    step = (end - first) / 16
    frames = decoder.get_frames_played_at([first + n * step for n in range(16)]).data
    height, width = frames.shape[-2:]
    size = [round(side * 224 / max(height, width)) for side in (height, width)]
    torch.nn.functional.interpolate(frames.float(), size=size, mode="bilinear", antialias=True).to(torch.uint8)
    with contextlib.suppress(ValueError):  # no audio
        AudioDecoder(path, sample_rate=16_000, num_channels=1).get_all_samples()
    print(perf_counter() - began, flush=True)
