"""Small test clips, made on the spot, whose frames and sound say what they are.

Every picture shows its own number as a 4 x 4 board of black and white fields (the first one is red: it marks the upper
left corner), over a texture that moves, so that codecs have something to predict. The sound is any function of time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "clips"
"""Real clips beside the repository; tests that use them are skipped where they are absent."""

QUIET = {"libx265": {"x265-params": "log-level=none"}}
B_PICTURES = {"bf": "3", "b-adapt": "0", "g": "48"}
"""x264 options for three B frames between any two others."""

Wave = Callable[[np.ndarray], np.ndarray]


def tone(seconds: np.ndarray) -> np.ndarray:
    """A 440 Hz tone at a tenth of full scale."""
    return 0.1 * np.sin(2 * np.pi * 440 * seconds)


def beep(start: float, end: float) -> Wave:
    """Silence but for a loud 1 kHz tone from ``start`` to ``end`` seconds."""
    return lambda t: np.where((t >= start) & (t < end), 0.8 * np.sin(2 * np.pi * 1000 * t), 0.0)


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: float = 25,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (160, 120),
    codec: str | None = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    rotation: float = 0,
    hflip: bool = False,
    pixel_aspect: Fraction | None = None,
    told_rate: int | None = None,
    sound: str | None = "aac",
    sound_rate: int = 44_100,
    layout: str = "stereo",
    sound_start: float = 0.0,
    wave: Wave = tone,
    still: bool = False,
    grey: bool = False,
    container: str | None = None,
) -> Path:
    """Write a clip and return its path.

    Args:
        path: the suffix chooses the container, unless ``container`` does.
        seconds, fps: length and rate of the pictures, unless ``times`` gives their presentation times, in seconds.
        size: width and height.
        codec, sound: encoders; ``None`` leaves the track out.
        rotation, hflip: the display matrix: degrees counterclockwise, mirrored.
        told_rate: the frame rate that the header tells; the pictures stay where they are.
        sound_start: seconds by which the sound track starts later than the pictures.
        wave: the sound, ``(N,)`` seconds → ``(N,)`` in [-1, 1], the same in all channels.
        still: one and the same picture all the time, which encodes quickly.
        grey: pictures with nothing on them, for sizes that take long to draw.
    """
    shown = list(times) if times is not None else [index / fps for index in range(round(seconds * fps))]
    length = shown[-1] + 1 / fps if shown else seconds
    with av.open(str(path), "w", format=container) as output:
        video: Any = None
        audio: Any = None
        if codec is not None:
            rate = Fraction(told_rate or fps).limit_denominator(1001)
            video = output.add_stream(
                cast("Any", codec), rate=rate, options={**QUIET.get(codec, {}), **(options or {})}
            )
            video.width, video.height, video.pix_fmt = *size, pix_fmt
            video.codec_context.time_base = Fraction(1, 12_800) if times is not None or told_rate else 1 / rate
            if pixel_aspect:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation or hflip:
                video.set_display_rotation(rotation, hflip=hflip)
        if sound is not None:
            audio = output.add_stream(cast("Any", sound), rate=sound_rate, layout=layout)
        pictures = _pictures(shown, size, still, grey) if video is not None else iter(())
        blocks = _blocks(length, audio, sound_start, wave) if audio is not None else iter(())
        _interleave(output, video, pictures, audio, blocks)
    return path


def picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """``(H, W, 3)`` uint8: the number ``index`` in black and white fields over a moving texture."""
    width, height = size
    bits = [index >> place & 1 for place in range(16)]
    board = np.array(bits).reshape(4, 4).repeat(-(-height // 4), 0).repeat(-(-width // 4), 1)[:height, :width]
    y, x = np.mgrid[:height, :width]
    texture = 20 * np.sin((x + 3 * index) / 7) * np.cos((y - 2 * index) / 5)
    grey = np.where(board, 205, 50) + texture
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[: height // 4, : width // 4] = (220, 30, 30)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def index_of(rgb: np.ndarray) -> int:
    """The number that a frame shows; the first field is the corner mark, so numbers must be even."""
    height, width = rgb.shape[0] // 4, rgb.shape[1] // 4
    fields = [
        rgb[row * height + height // 4 : row * height + height * 3 // 4, column * width + width // 4 :][
            :, : width // 2
        ].mean()
        for row in range(4)
        for column in range(4)
    ]
    return sum(1 << place for place, level in enumerate(fields) if place and level > 127) // 2


def _pictures(
    shown: Sequence[float], size: tuple[int, int], still: bool, grey: bool
) -> Iterator[tuple[float, av.VideoFrame]]:
    frame = av.VideoFrame.from_ndarray(picture(0, size), format="rgb24") if still else None
    if grey:
        frame = av.VideoFrame(*size, "yuv420p")
        for plane in frame.planes:
            np.frombuffer(cast("Any", plane), np.uint8)[:] = 128
    for index, seconds in enumerate(shown):
        yield seconds, frame or av.VideoFrame.from_ndarray(picture(2 * index, size), format="rgb24")


def _blocks(seconds: float, audio: Any, start: float, wave: Wave) -> Iterator[tuple[float, av.AudioFrame]]:
    rate, channels, block = audio.rate, audio.layout.nb_channels, 1024
    total = round((seconds - start) * rate)
    for first in range(0, total, block):
        moments = start + np.arange(first, min(first + block, total)) / rate
        samples = (wave(moments) * 32_767).astype(np.int16).repeat(channels)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=audio.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first + round(start * rate)
        yield first / rate + start, frame


def _interleave(output: Any, video: Any, pictures: Iterator[Any], audio: Any, blocks: Iterator[Any]) -> None:
    """Encode both tracks in order of time, as cameras do."""
    picture_now, block_now = next(pictures, None), next(blocks, None)
    while picture_now or block_now:
        if picture_now and (block_now is None or picture_now[0] <= block_now[0]):
            seconds, frame = picture_now
            frame.time_base = video.codec_context.time_base
            frame.pts = round(seconds / frame.time_base)
            output.mux(video.encode(frame))
            picture_now = next(pictures, None)
        else:
            output.mux(audio.encode(block_now[1] if block_now else None))
            block_now = next(blocks, None)
    for track in (video, audio):
        if track is not None:
            output.mux(track.encode(None))


def cut(path: Path, share: float, to: Path) -> Path:
    """The first ``share`` of a file's bytes, as an interrupted copy leaves them."""
    whole = path.read_bytes()
    to.write_bytes(whole[: int(len(whole) * share)])
    return to


def repeat(path: Path, times: int, to: Path) -> Path:
    """The same clip (an mp4, which tells all times) over and over, its packets copied: long without long encoding."""
    with av.open(str(path)) as source, av.open(str(to), "w") as output:
        tracks: dict[int, Any] = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        packets: list[Any] = [(each, each.pts, each.dts, each.time_base) for each in source.demux() if each.size]
        seconds = max(pts * base for _, pts, _, base in packets) + Fraction(1, 10)
        for turn in range(times):
            for packet, pts, dts, base in packets:
                shift = round(turn * seconds / base)
                packet.stream, packet.time_base = tracks[packet.stream_index], base
                packet.pts, packet.dts = pts + shift, dts + shift
                output.mux(packet)
    return to
