"""What is measured on: films, streams of several kinds, folders of weights. Made once, in ``build/bench``.

Films are those of ``mien synth``; whoever has other clips names their folder in ``MIEN_BENCH_CLIPS``, and they are
decoded too.
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
    """A stand-in corpus of this many films, in the challenge's layout; another seed gives other people."""
    from mien.synthetic.corpus import synth  # noqa: PLC0415 - imports torch, which a process that decodes has no use for

    folder = SCRATCH / (f"films-{clips}-{seed}" if seed else f"films-{clips}")
    return synth(folder, clips=clips, seed=seed, workers=WORKERS, progress=False)


def films(clips: int) -> list[Clip]:
    """The films of ``corpus``."""
    return list(read_manifest(corpus(clips)).clips)


def streams(kinds: int = len(STREAMS)) -> dict[str, Path]:
    """12 s of 1280 × 720 at 30 fps with sound, in the first so many codecs: a film enlarged, with a camera's noise."""
    made = {}
    for name, (codec, options) in list(STREAMS.items())[:kinds]:
        path = SCRATCH / "streams" / f"{name.replace(' ', '-')}.mp4"
        if codec in av.codecs_available and not path.exists():
            _write(path, codec, options)
        if path.exists():
            made[name] = path
    return made


def clips_of_ones_own() -> dict[str, Path]:
    """Further files to decode, when ``MIEN_BENCH_CLIPS`` names a folder of them."""
    folder = os.environ.get("MIEN_BENCH_CLIPS")
    files = sorted(Path(folder).iterdir()) if folder else []
    return {path.name: path for path in files if path.suffix in (".mp4", ".mov", ".mkv", ".webm")}


def long_film(seconds: int) -> Path:
    """One film again and again, its packets copied, until it is this long."""
    path = SCRATCH / "long" / f"{seconds}.mp4"
    if not path.exists():
        _repeat(films(6)[0].path, path, seconds)
    return path


def _write(path: Path, codec: str, options: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (8, HEIGHT, WIDTH, 1)).astype(np.int16)
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as file:
        video = file.add_stream(codec, rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = file.add_stream("aac", rate=48_000, layout="mono")
        for n, picture in zip(range(FPS * SECONDS), _pictures(), strict=False):
            noisy = np.clip(picture + np.roll(noise[n % 8], 37 * n, axis=1), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        tone = 0.2 * np.sin(np.arange(48_000 * SECONDS) * 2 * np.pi * 220 / 48_000, dtype=np.float32)
        for at in range(0, len(tone), 1024):
            heard = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 48_000, at, Fraction(1, 48_000)
            file.mux(sound.encode(heard))
        file.mux(sound.encode(None))


def _pictures() -> Iterator[np.ndarray]:
    while True:
        for clip in films(6):
            with av.open(str(clip.path)) as film:
                for frame in film.decode(video=0):
                    yield frame.to_ndarray(width=WIDTH, height=HEIGHT, format="rgb24")


def _repeat(source: Path, path: Path, seconds: int) -> None:
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as out:
        with av.open(str(source)) as film:
            tracks = {stream.index: out.add_stream_from_template(stream) for stream in film.streams}
        length = 0.0
        while length < seconds:
            length = _append(source, out, tracks, length)


def _append(source: Path, out: OutputContainer, tracks: dict, offset: float) -> float:
    """Copy all packets of a film behind what there is; returns the new end."""
    end = offset
    with av.open(str(source)) as film:
        for packet in film.demux():
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(offset / packet.time_base)
            end = max(end, offset + float((packet.pts + packet.duration) * packet.time_base))
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, tracks[packet.stream_index]
            out.mux(packet)
    return end


def paper_folders() -> dict[str, Path]:
    """The backbones of the set ``paper`` with random weights, as folders: their arithmetic without their knowledge."""
    import torch  # noqa: PLC0415 - seconds, and only this needs it
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

    hearing = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    wide = {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096}
    makes = {
        "text": lambda: BertModel(BertConfig()),
        "audio": lambda: Wav2Vec2Model(Wav2Vec2Config(**wide, **hearing)),
        "vision": lambda: Dinov2Model(Dinov2Config(image_size=518, patch_size=14)),
    }
    folders = {role: SCRATCH / "paper" / role for role in makes}
    for role, folder in folders.items():
        if folder.exists():
            continue
        torch.manual_seed(0)
        with atomic_folder(folder) as part:
            makes[role]().save_pretrained(part)
            if role == "text":
                AutoTokenizer.from_pretrained(str(locate("all-minilm-l6-v2"))).save_pretrained(part)
            if role == "audio":
                Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(part)
    return folders
