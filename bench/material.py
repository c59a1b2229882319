"""Benchmark data: videos, streams in several codecs, folders of weights. Created once, in ``build/bench``.

The videos are from ``mien synth``; set ``MIEN_BENCH_CLIPS`` to a folder of further clips to decode them too.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from mien.data.manifest import read_manifest
from mien.schema import Clip
from mien.storage.files import atomic_file, atomic_folder

SCRATCH = Path(__file__).parents[1] / "build" / "bench"
WORKERS = 2
FPS, SECONDS, WIDTH, HEIGHT = 30, 12, 1280, 720

STREAMS = {
    "H.264 with B-frames": ("libx264", {"preset": "veryfast", "bf": "3"}),
    "H.264 without": ("libx264", {"preset": "veryfast", "bf": "0"}),
    "HEVC": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "MPEG-4": ("mpeg4", {"qscale": "4"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


def corpus(clips: int, seed: int = 0) -> Path:
    """A stand-in corpus of this many videos, in the challenge's layout; another seed gives other people."""
    from mien.synthetic.corpus import synth  # noqa: PLC0415 - imports torch, which a decoder process does not need

    folder = SCRATCH / (f"videos-{clips}-{seed}" if seed else f"videos-{clips}")
    return synth(folder, clips=clips, seed=seed, workers=WORKERS, progress=False)


def videos(clips: int) -> list[Clip]:
    """The clips of ``corpus``."""
    return list(read_manifest(corpus(clips)).clips)


def streams(kinds: int = len(STREAMS)) -> dict[str, Path]:
    """12 s of 1280 × 720 at 30 fps with audio, in the first ``kinds`` codecs: stand-in videos enlarged, with noise."""
    made = {}
    for name, (codec, options) in list(STREAMS.items())[:kinds]:
        path = SCRATCH / "streams" / f"{name.replace(' ', '-')}.mp4"
        if codec in av.codecs_available and not path.exists():
            _write(path, codec, options)
        if path.exists():
            made[name] = path
    return made


def own_clips() -> dict[str, Path]:
    """Further files to decode, from the folder ``MIEN_BENCH_CLIPS``."""
    folder = os.environ.get("MIEN_BENCH_CLIPS")
    files = sorted(Path(folder).iterdir()) if folder else []
    return {path.name: path for path in files if path.suffix in (".mp4", ".mov", ".mkv", ".webm")}


def long_video(seconds: int) -> Path:
    """One video repeated, by copying packets, until it is this long."""
    path = SCRATCH / "long" / f"{seconds}.mp4"
    if not path.exists():
        _repeat(videos(6)[0].path, path, seconds)
    return path


def _write(path: Path, codec: str, options: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (8, HEIGHT, WIDTH, 1)).astype(np.int16)
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as file:
        video = file.add_stream(codec, rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = file.add_stream("aac", rate=48_000, layout="mono")
        for n, image in zip(range(FPS * SECONDS), _images(), strict=False):
            noisy = np.clip(image + np.roll(noise[n % 8], 37 * n, axis=1), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        tone = 0.2 * np.sin(np.arange(48_000 * SECONDS) * 2 * np.pi * 220 / 48_000, dtype=np.float32)
        for at in range(0, len(tone), 1024):
            samples = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48_000, at, Fraction(1, 48_000)
            file.mux(audio.encode(samples))
        file.mux(audio.encode(None))


def _images() -> Iterator[np.ndarray]:
    while True:
        for clip in videos(6):
            with av.open(str(clip.path)) as video:
                for frame in video.decode(video=0):
                    yield frame.to_ndarray(width=WIDTH, height=HEIGHT, format="rgb24")


def _repeat(source: Path, path: Path, seconds: int) -> None:
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as out:
        with av.open(str(source)) as video:
            tracks = {stream.index: out.add_stream_from_template(stream) for stream in video.streams}
        length = 0.0
        while length < seconds:
            length = _append(source, out, tracks, length)


def _append(source: Path, out: OutputContainer, tracks: dict, offset: float) -> float:
    """Append all packets of a video; returns the new end in seconds."""
    end = offset
    with av.open(str(source)) as video:
        for packet in video.demux():
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(offset / packet.time_base)
            end = max(end, offset + float((packet.pts + packet.duration) * packet.time_base))
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, tracks[packet.stream_index]
            out.mux(packet)
    return end


def paper_folders() -> dict[str, Path]:
    """Folders with the backbones of the set ``paper`` and random weights: the same arithmetic."""
    import torch  # noqa: PLC0415 - slow to import, and only needed here
    from transformers import (  # noqa: PLC0415
        AutoTokenizer,
        BertConfig,
        BertModel,
        Dinov2Config,
        Dinov2Model,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    from mien.weights import locate  # noqa: PLC0415

    preprocessing = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    wide = {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096}
    builders = {
        "text": lambda: BertModel(BertConfig()),
        "audio": lambda: Wav2Vec2Model(Wav2Vec2Config(**wide, **preprocessing)),
        "vision": lambda: Dinov2Model(Dinov2Config(image_size=518, patch_size=14)),
    }
    folders = {role: SCRATCH / "paper" / role for role in builders}
    for role, folder in folders.items():
        if folder.exists():
            continue
        torch.manual_seed(0)
        with atomic_folder(folder) as part:
            builders[role]().save_pretrained(part)
            if role == "text":
                AutoTokenizer.from_pretrained(str(locate("all-minilm-l6-v2"))).save_pretrained(part)
            if role == "audio":
                Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(part)
    return folders
