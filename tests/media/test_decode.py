"""Decoding: the right frames, unchanged; sound in step with them; and a reason for everything else."""

import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media import audio_track
from mien.media.container import open_container, video_stream
from mien.media.decode import MediaReader, read_audio
from mien.media.frames import Frame
from mien.media.timeline import SamplingGrid
from mien.media.video_track import VideoTrack
from tests.media.clips import B_PICTURES, SHARED, beep, cut, index_of, make_clip, repeat

SETTINGS = MediaSettings()
RATES = {"vision": 4.0, "motion": 10.0}

STREAMS = {
    "h264-b.mp4": ("libx264", B_PICTURES),
    "h264-pyramid.mkv": ("libx264", {"bf": "8", "b-adapt": "0", "b-pyramid": "normal"}),
    "h264-open-gop.mp4": ("libx264", {"bf": "3", "b-adapt": "0", "x264-params": "open-gop=1:keyint=12"}),
    "h264-interlaced.mp4": ("libx264", {**B_PICTURES, "flags": "+ildct+ilme"}),
    "h264-refresh.mp4": ("libx264", {"bf": "0", "x264-params": "intra-refresh=1"}),
    "h264.ts": ("libx264", B_PICTURES),
    "h264.flv": ("libx264", B_PICTURES),
    "h264.avi": ("libx264", B_PICTURES),
    "hevc.mov": ("libx265", {"x265-params": "log-level=none:bframes=4:b-adapt=0"}),
    "hevc-layers.mp4": ("libx265", {"x265-params": "log-level=none:bframes=8:temporal-layers=3"}),
    "mpeg4.mp4": ("mpeg4", {"bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"bf": "2"}),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2"}),
    "vp8.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "mjpeg.mov": ("mjpeg", {}),
}


def read(path: Path, rates: Mapping[str, float] = RATES, **asked) -> tuple[list[Frame], MediaReader]:
    with MediaReader(path, asked.pop("settings", SETTINGS), rates=rates, **asked) as reader:
        return list(reader.frames()), reader


def decode_everything(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Slow and obvious: every frame as RGB, with its time from the first one; AVI stores none: they are counted."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
        counted = path.suffix == ".avi"
        times = [(n if counted else f.pts or 0) * (f.time_base or Fraction(1)) for n, f in enumerate(pictures)]
        return [(t - times[0], f.to_ndarray(format="rgb24")) for t, f in zip(times, pictures, strict=True)]


def choose(
    pictures, rates: Mapping[str, float], start: float = 0, end: float = 1e9
) -> list[tuple[float, np.ndarray, set]]:
    """Slow and obvious: the first frame at or after every k / rate."""
    origin, stop = Fraction(str(start)), Fraction(str(end))
    inside = [(time - origin, rgb) for time, rgb in pictures if origin <= time < stop]
    chosen: dict[int, set[str]] = {}
    for name, rate in rates.items():
        moment = Fraction(0)
        while moment <= max(time for time, _ in inside):
            index = min(index for index, (time, _) in enumerate(inside) if time >= moment)
            chosen.setdefault(index, set()).add(name)
            moment += 1 / Fraction(str(rate))
    return [(float(inside[index][0]), inside[index][1], chosen[index]) for index in sorted(chosen)]


def assert_same(found: list[Frame], expected) -> None:
    assert [(frame.seconds, frame.wanted) for frame in found] == [(pytest.approx(t), names) for t, _, names in expected]
    assert all(np.array_equal(frame.rgb, rgb) for frame, (_, rgb, _) in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: make_clip(
            folder / name,
            codec=codec,
            options=options,
            seconds=3,
            fps=25,
            sound=None,
            pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        for name, (codec, options) in STREAMS.items()
    }


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds, 25 frames per second, B frames, and a beep at 1.0 to 1.5 s."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, options=B_PICTURES, wave=beep(1.0, 1.5))


# ---- which frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_frames_are_those_of_decoding_everything_bit_for_bit(streams, name, threads):
    pictures = decode_everything(streams[name])
    assert_same(read(streams[name], threads=threads)[0], choose(pictures, RATES))
    assert_same(read(streams[name], {"rare": 0.7}, threads=threads)[0], choose(pictures, {"rare": 0.7}))


@pytest.mark.parametrize("name", STREAMS)
def test_a_part_of_a_file_gives_the_frames_of_that_part_bit_for_bit(streams, name):
    pictures = decode_everything(streams[name])
    for start, end in ((0, 0.9), (1.1, 2.0), (2.53, 3)):
        assert_same(read(streams[name], start=start, end=end)[0], choose(pictures, RATES, start, end))


@pytest.mark.parametrize("name", ["h264-b.mp4", "h264-pyramid.mkv", "hevc.mov", "mpeg4.mp4", "mpeg2.mpg"])
def test_frames_that_nothing_refers_to_are_not_even_decoded(streams, name):
    assert decoded(streams[name], {"all": 100.0}) == 75  # 3 s at 25 per second
    assert decoded(streams[name], {"one": 0.1}) < 60


def decoded(path: Path, rates: Mapping[str, float]) -> int:
    """How many frames came out of the decoder when those at ``rates`` were asked for."""
    file, container = open_container(path, SETTINGS)
    with file, container:
        stream = video_stream(container)
        assert stream is not None
        track = VideoTrack(stream, SamplingGrid(rates), length=None, threads=1)
        for packet in [*(packet for packet in container.demux(stream) if packet.size), None]:
            list(track.add(packet, origin=0))
        return track.decoded


def test_a_part_late_in_a_file_is_reached_without_decoding_what_is_before(tmp_path):
    path = make_clip(tmp_path / "long.mp4", seconds=20, fps=10, size=(64, 64), options={"g": "10"}, sound=None)
    file, container = open_container(path, SETTINGS)
    with file, container:
        stream = video_stream(container)
        assert stream is not None
        track = VideoTrack(stream, SamplingGrid({"all": 100}), length=None, threads=1)
        for packet in [*(packet for packet in container.demux(stream) if packet.size), None]:
            list(track.add(packet, origin=18 * 2**16 * 3**3 * 5**7 * 7**2))
    assert track.decoded <= 30  # 20 pictures from 18 s on, and at most one group of 10 before them


def test_variable_frame_rate_is_sampled_by_presentation_time(tmp_path):
    path = make_clip(tmp_path / "vfr.mp4", times=[0, 0.04, 0.3, 0.31, 0.9, 1.7], sound=None)
    frames, reader = read(path, {"vision": 4})
    # 0 → 0;  0.25 → 0.3;  0.5 and 0.75 → 0.9 (once);  1.0 to 1.5 → 1.7 (once)
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.3, 0.9, 1.7])
    assert [index_of(frame.rgb) for frame in frames] == [0, 2, 4, 5]
    assert reader.seconds == pytest.approx(1.7, abs=0.05)  # and the last picture's own duration


@pytest.mark.parametrize("stated", [1, 25, 1000])
def test_the_frame_rate_in_the_header_does_not_matter(tmp_path, stated):
    path = make_clip(tmp_path / "stated.mkv", told_rate=stated, sound=None, options=B_PICTURES)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == stated
    frames, reader = read(path, {"motion": 10})
    # 25 per second: 0.1 → frame 3 (0.12), 0.2 → 5 (0.20), 0.3 → 8 (0.32), 0.4 → 10 (0.40), 0.5 → 13 …
    assert [index_of(frame.rgb) for frame in frames][:6] == [0, 3, 5, 8, 10, 13]
    assert reader.seconds == pytest.approx(2.0, abs=1.0 if stated == 1 else 0.041)


def test_each_frame_says_which_rates_it_serves(clip):
    frames, _ = read(clip)
    # 25 per second; motion 0, .1 → .12, .2, .3 → .32;  vision 0, .25 → .28
    assert [(round(frame.seconds, 2), sorted(frame.wanted)) for frame in frames[:5]] == [
        (0.0, ["motion", "vision"]),
        (0.12, ["motion"]),
        (0.2, ["motion"]),
        (0.28, ["vision"]),
        (0.32, ["motion"]),
    ]


def test_missing_presentation_times_are_guessed_and_said(tmp_path):
    path = make_clip(tmp_path / "raw.h264", sound=None, container="h264", options=B_PICTURES)
    frames, reader = read(path, {"motion": 10})
    assert [index_of(frame.rgb) for frame in frames][:4] == [0, 3, 5, 8]
    assert reader.notes == ["no presentation times: guessed from 25 frames per second"]


def test_time_that_starts_again_goes_on_where_it_stopped(tmp_path):
    once = make_clip(tmp_path / "once.ts", options=B_PICTURES)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    frames, reader = read(twice, {"motion": 10})
    sound = reader.audio()
    assert sound is not None
    assert reader.seconds == pytest.approx(4.0, abs=0.1)
    assert len(sound) / 16_000 == pytest.approx(4.0, abs=0.1)
    assert len(frames) == pytest.approx(40, abs=1)
    assert all(later.seconds > earlier.seconds for earlier, later in pairwise(frames))
    assert "time jumps back 1 times: continued from there" in reader.notes


def test_one_pass_a_second_call_goes_on_where_the_first_stopped(clip):
    with MediaReader(clip, SETTINGS, rates={"motion": 10}) as reader:
        first = next(iter(reader.frames()))
        rest = list(reader.frames())
        assert list(reader.frames()) == []
    assert [first.seconds, rest[0].seconds, len(rest)] == pytest.approx([0, 0.12, 19])


# ---- how they look -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotation", "hflip", "corner"),
    [(0, False, (0, 0)), (-90, False, (0, 1)), (90, False, (1, 0)), (180, False, (1, 1)), (0, True, (0, 1))],
)
def test_the_display_matrix_turns_frames_upright(tmp_path, rotation, hflip, corner):
    """The upper left corner is red as stored: a quarter turn clockwise takes it to the upper right, and so on."""
    path = make_clip(tmp_path / "turned.mp4", seconds=0.2, size=(160, 96), rotation=rotation, hflip=hflip, sound=None)
    (frame, *_), _ = read(path)
    assert frame.rgb.shape == ((160, 96, 3) if abs(rotation) == 90 else (96, 160, 3))
    assert frame.rgb.flags.c_contiguous
    rows, columns = (frame.rgb.shape[axis] // 8 for axis in (0, 1))
    corners = frame.rgb[rows :: rows * 6 - 1, columns :: columns * 6 - 1][:2, :2].astype(int)
    redness = corners[..., 0] - corners[..., 1:].mean(axis=-1)
    assert np.unravel_index(redness.argmax(), (2, 2)) == corner
    assert redness.max() > 100


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = make_clip(tmp_path / "wide.mp4", seconds=0.2, size=(160, 120), pixel_aspect=Fraction(4, 3), sound=None)
    assert read(path)[0][0].rgb.shape == (120, 213, 3)  # 160 x 4/3 = 213.3


def test_large_frames_are_scaled_down_to_the_largest_side(tmp_path):
    path = make_clip(tmp_path / "large.mp4", seconds=0.2, size=(320, 240), rotation=-90, sound=None)
    frames, reader = read(path, settings=MediaSettings(largest_side=100))
    assert frames[0].rgb.shape == (100, 75, 3)
    upright = [np.rot90(frame.rgb, 1) for frame in frames]  # as stored, to read its number
    assert [index_of(rgb) for rgb in upright] == [0, 3]
    assert (reader.width, reader.height) == (320, 240)


# ---- sound -------------------------------------------------------------------------------------------------------


def onset(sound: np.ndarray) -> float:
    """Seconds until the beep starts: the first sample above a quarter of full scale."""
    return float(np.argmax(np.abs(sound) > 0.25)) / 16_000


@pytest.mark.parametrize(
    ("name", "codec", "sound", "rate", "layout"),
    [
        ("a.mp4", "libx264", "aac", 44_100, "stereo"),
        ("b.mkv", "libx264", "aac", 48_000, "5.1"),
        ("c.webm", "libvpx", "libopus", 48_000, "mono"),
        ("d.avi", "mpeg4", "libmp3lame", 44_100, "stereo"),
        ("e.mov", "libx264", "pcm_s16le", 8_000, "mono"),
        ("f.ts", "libx264", "aac", 16_000, "stereo"),
        ("g.m4a", None, "aac", 44_100, "stereo"),
        ("h.mp3", None, "libmp3lame", 16_000, "mono"),
        ("i.wav", None, "pcm_s16le", 44_100, "5.1"),
        ("j.flac", None, "flac", 96_000, "stereo"),
        ("k.ogg", None, "libopus", 48_000, "stereo"),
    ],
)
def test_sound_is_16_khz_mono_and_heard_when_it_is_seen(tmp_path, name, codec, sound, rate, layout):
    path = make_clip(
        tmp_path / name, codec=codec, sound=sound, sound_rate=rate, layout=layout, wave=beep(1.0, 1.5), fps=25
    )
    frames, reader = read(path)
    heard = reader.audio()
    assert heard is not None and heard.dtype == np.float32 and heard.ndim == 1
    assert onset(heard) == pytest.approx(1.0, abs=0.03)  # AVI keeps the 25 ms an mp3 encoder puts in front
    assert len(heard) / 16_000 == pytest.approx(2.0, abs=0.08)
    assert reader.seconds == pytest.approx(2.0, abs=0.08)
    assert reader.has_audio and reader.has_video == bool(frames) == (codec is not None)
    assert reader.notes == []


def test_a_part_is_said_to_lack_sound_only_where_it_does(tmp_path):
    """Sound is decoded from a second before the part; that it is not from the start of the file is no news."""
    path = make_clip(tmp_path / "late.mkv", seconds=6, sound="pcm_s16le", sound_start=3.7, wave=beep(5.0, 5.5))
    _, part = read(path, start=4.8)
    assert (part.notes, onset(part.audio())) == ([], pytest.approx(0.2, abs=0.005))
    _, before = read(path, start=3.0)
    assert onset(before.audio()) == pytest.approx(2.0, abs=0.005)
    assert before.notes == ["audio starts 0.70 s after the video: silence is inserted before it"]


def test_sound_that_starts_late_is_preceded_by_silence_and_this_is_said(tmp_path):
    path = make_clip(tmp_path / "late.mkv", sound="pcm_s16le", sound_start=0.7, wave=beep(1.0, 1.5))
    _, reader = read(path)
    heard = reader.audio()
    assert heard is not None
    assert not heard[: int(0.69 * 16_000)].any()
    assert onset(heard) == pytest.approx(1.0, abs=0.005)
    assert reader.notes == ["audio starts 0.70 s after the video: silence is inserted before it"]


def test_frames_that_start_late_leave_the_sound_whole(tmp_path):
    times = [0.5 + index / 25 for index in range(40)]
    path = make_clip(tmp_path / "late.mkv", times=times, sound="pcm_s16le", wave=beep(1.0, 1.5))
    frames, reader = read(path)
    heard = reader.audio()
    assert heard is not None
    assert frames[0].seconds == pytest.approx(0.5, abs=0.001)
    assert onset(heard) == pytest.approx(1.0, abs=0.005)


def test_a_part_of_the_sound_is_that_part_of_the_whole(clip):
    whole = read_audio(clip)
    _, reader = read(clip, start=0.25, end=1.75)
    part = reader.audio()
    assert part is not None
    assert len(part) == 24_000  # 1.5 s
    assert np.array_equal(part, whole[4_000:28_000])


def test_a_part_late_in_a_file_has_the_sound_of_that_part(tmp_path):
    path = make_clip(tmp_path / "long.mp4", seconds=8, fps=10, wave=beep(6.0, 6.5))
    whole, (_, reader) = read_audio(path), read(path, start=5.0, end=7.0)
    part = reader.audio()
    assert part is not None and len(part) == 32_000
    assert onset(part) == pytest.approx(1.0, abs=0.01)
    # decoding starts a second early, in another phase of 44100 → 16000: equal but for less than half a sample's shift
    assert np.corrcoef(part[16_000:24_000], whole[96_000:104_000])[0, 1] > 0.95


def test_a_gap_in_the_sound_is_filled_with_silence(tmp_path):
    gappy = with_a_gap_in_its_sound(tmp_path)
    _, reader = read(gappy)
    heard = reader.audio()
    assert heard is not None
    assert onset(heard) == pytest.approx(2.0, abs=0.005)
    assert reader.notes == ["gaps of 1.0 s in the audio are filled with silence"]


@pytest.mark.parametrize("size", [700, 16_000, 20_000])  # a gap of 16,000 samples is longer than a block, or as long
def test_sound_is_the_same_whatever_the_blocks_it_is_kept_in(tmp_path, monkeypatch, size):
    gappy = with_a_gap_in_its_sound(tmp_path)
    whole = read_audio(gappy)
    monkeypatch.setattr(audio_track, "BLOCK", size)
    assert len(whole) == pytest.approx(3 * 16_000, abs=20)
    assert np.array_equal(read_audio(gappy), whole)


def with_a_gap_in_its_sound(folder: Path) -> Path:
    """Three seconds with a beep at two; no sound from .5 to 1.5."""
    whole, gappy = folder / "whole.mkv", folder / "gappy.mkv"
    make_clip(whole, seconds=3, sound="pcm_s16le", wave=beep(2.0, 2.5))
    with av.open(str(whole)) as source, av.open(str(gappy), "w") as output:
        tracks = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            time = float(packet.pts * packet.time_base) if packet.pts is not None else None
            if time is not None and not (packet.stream.type == "audio" and 0.5 <= time < 1.5):
                packet.stream = tracks[packet.stream.index]
                output.mux(packet)
    return gappy


def test_a_clip_without_sound_has_none_and_one_without_frames_shows_none(tmp_path):
    frames, silent = read(make_clip(tmp_path / "silent.mp4", sound=None))
    assert frames and not silent.has_audio and silent.audio() is None
    frames, blind = read(make_clip(tmp_path / "blind.m4a", codec=None))
    assert not frames and not blind.has_video and blind.audio() is not None


def test_what_was_not_asked_for_is_not_done(clip):
    frames, reader = read(clip, rates={}, audio=False)
    assert frames == [] and reader.audio() is None
    assert reader.has_video and reader.has_audio
    assert reader.seconds == pytest.approx(2.0, abs=0.001)  # read from the packets, without decoding one


def test_asking_for_the_sound_first_reads_the_whole_file(clip):
    with MediaReader(clip, SETTINGS, rates=RATES) as reader:
        heard = reader.audio()
        assert heard is not None and list(reader.frames()) == []
    assert np.array_equal(heard, read_audio(clip))


# ---- what bad input gets -----------------------------------------------------------------------------------------


def make_bad(name: str, path: Path) -> None:
    if name == "a folder":
        path.mkdir()
    elif name == "nothing":
        path.write_bytes(b"")
    elif name == "text":
        path.write_text("Filename,Admiration\n00001,0.5\n" * 40)
    elif name == "zeros":
        path.write_bytes(bytes(5000))
    elif name == "noise":
        path.write_bytes(random.Random(1).randbytes(5000))
    elif name == "a playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    elif name == "a script":
        path.write_text("ffconcat version 1.0\nfile '/etc/hostname'\n")
    elif name == "a head":
        make_clip(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "no streams":
        header = struct.pack(">I4s", 108, b"mvhd") + struct.pack(">IIIII", 0, 0, 0, 1000, 0) + bytes(80)
        path.write_bytes(b"\0\0\0\x14ftypisom\0\0\2\0isom" + struct.pack(">I4s", 116, b"moov") + header)
    elif name == "a pipe":
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "no such file"),
        ("a folder", "a folder, expected a video"),
        ("nothing", "an empty file"),
        ("text", "not a video or audio file of a known format"),
        ("zeros", "contains only zeros"),
        ("noise", "not a video or audio file of a known format"),
        ("a playlist", "not a video or audio file of a known format"),
        ("a script", "not a video or audio file of a known format"),
        ("a head", r"its index \(moov\) is missing"),
        ("no streams", r"no video and no audio that can be decoded \(streams: none\)"),
        ("a pipe", "not a regular file"),
    ],
)
def test_what_is_no_clip_is_refused_with_one_line_that_starts_with_its_name(tmp_path, name, reason):
    path = tmp_path / "clip 7 ü.mp4"
    make_bad(name, path)
    with pytest.raises(MediaError, match=f"^clip 7 ü.mp4: .*{reason}") as refused:
        read(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_may_not_be_read_is_refused(clip):
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "private.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65_534)  # root may read anything, so for a moment be nobody
        with pytest.raises(MediaError, match=r"^private.mp4: cannot be read \(Permission denied\)"):
            read(path)
    finally:
        if root:
            os.seteuid(0)
        path.unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    "name", ["ä ö ü 你好.mp4", "http:clip.mp4", "concat:a|b.mp4", "%03d.mp4", "-i.mp4", "a'b\".mp4"]
)
def test_names_are_only_names(tmp_path, clip, name):
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    assert len(read(path, {"motion": 10})[0]) == 20


def test_an_undecodable_name_is_no_obstacle(tmp_path, clip):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(clip.read_bytes())
    assert len(read(path, {"motion": 10})[0]) == 20


@pytest.mark.parametrize("name", ["a.mkv", "b.ts", "c.avi"])
def test_a_truncated_file_gives_what_is_there(tmp_path, name):
    whole = make_clip(tmp_path / name, codec="mpeg4" if name == "c.avi" else "libx264", sound="libmp3lame", seconds=4)
    frames, reader = read(cut(whole, 0.5, tmp_path / f"cut-{name}"), {"motion": 10})
    heard = reader.audio()
    assert heard is not None
    assert 1.0 < reader.seconds < 3.0
    assert len(frames) == pytest.approx(reader.seconds * 10, abs=3)
    assert len(heard) / 16_000 == pytest.approx(reader.seconds, abs=0.5)
    if name == "a.mkv":
        assert any(
            re.match(r"cut short: ends at [12]\.\d s, but its header states 4\.0 s", note) for note in reader.notes
        )


def test_damaged_packets_are_counted(tmp_path):
    path = make_clip(tmp_path / "damaged.mkv", seconds=4, fps=25, options={"g": "5", "bf": "0"}, size=(320, 240))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 3000] = bytes(3000)
    path.write_bytes(damaged)
    frames, reader = read(path, {"motion": 10})
    assert len(frames) > 10
    assert reader.notes and all("\n" not in note for note in reader.notes)


def hollow(path: Path) -> Path:
    """The same clip with zeros in place of its frames."""
    with av.open(str(path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place, size in places:
        content[place : place + size] = bytes(size)
    path.write_bytes(content)
    return path


def test_nothing_decodable_is_an_error(tmp_path):
    with pytest.raises(MediaError, match=r"^silent.mp4: nothing in it could be decoded"):
        read(hollow(make_clip(tmp_path / "silent.mp4", sound=None)))


def test_frames_that_cannot_be_decoded_leave_the_sound(tmp_path):
    frames, reader = read(hollow(make_clip(tmp_path / "hollow.mp4", wave=beep(1.0, 1.5))))
    heard = reader.audio()
    assert heard is not None and onset(heard) == pytest.approx(1.0, abs=0.01)
    assert frames == [] and not reader.has_video and reader.has_audio
    assert "no video frame could be decoded" in reader.notes


def test_frames_too_large_are_refused_before_they_are_decoded_but_the_sound_may_be_heard(tmp_path):
    path = make_clip(tmp_path / "large.mp4", size=(400, 300), seconds=0.2)
    strict = MediaSettings(largest_megapixels=0.1)
    with pytest.raises(MediaError, match=r"^large.mp4: frames of 400 x 300 = 0.1 megapixels, but at most 0.1 "):
        read(path, settings=strict)
    assert read(path, rates={}, settings=strict)[1].audio() is not None


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("ts", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")]
)
def test_a_hundred_megapixels_take_no_memory(tmp_path, suffix, codec):
    side = 10_000 if suffix == "mp4" else 7_000
    fast = {"preset": "ultrafast"} if codec == "libx264" else {}
    path = tmp_path / f"huge.{suffix}"
    make = f"from tests.media.clips import *; make_clip(Path({str(path)!r}), times=[0], size=({side}, {side}), "
    run(f"{make} codec={codec!r}, options={fast!r}, sound=None, grey=True)")
    script = f"""
from pathlib import Path
from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.decode import MediaReader
try:
    MediaReader(Path({str(path)!r}), MediaSettings(), rates={{"vision": 4}})
except MediaError as refused:
    print("refused" if "megapixels" in str(refused) else refused)
{PEAK}"""
    refused, megabytes = run(script).split()
    assert refused == "refused"
    assert float(megabytes) < 150  # one decoded picture alone would take 73 (7000²) or 150 (10,000²)


@pytest.mark.parametrize(("start", "end"), [(5.0, None), (5.0, 6.0), (-1.0, None), (1.0, 1.0), (1.5, 0.5)])
def test_a_part_outside_the_file_is_an_error(clip, start, end):
    with pytest.raises(MediaError, match=r"^clip.mp4: (the part from 5 s lies outside the file|no such part)"):
        read(clip, start=start, end=end)


def test_a_part_that_only_ends_outside_the_file_is_shortened_and_this_is_said(clip):
    _, reader = read(clip, start=1.0, end=7.0)
    assert reader.seconds == pytest.approx(1.0, abs=0.05)
    assert reader.notes == ["the requested part ends at 7 s, but the file at 2.0 s"]


def test_too_long_is_told_by_presentation_times_not_by_the_header(tmp_path, clip):
    with pytest.raises(MediaError, match=r"^clip.mp4: longer than 1 s by its presentation times"):
        read(clip, settings=MediaSettings(longest_seconds=1))
    assert (
        len(read(clip, settings=MediaSettings(longest_seconds=1), end=0.9)[0]) == 11
    )  # 9 motion, 4 vision, 2 of them both
    stretched = make_clip(tmp_path / "stretched.mkv", times=[0, 0.04, 8000], sound=None)
    with pytest.raises(MediaError, match=r"^stretched.mkv: longer than 7200 s"):
        read(stretched)
    header = bytearray(make_clip(tmp_path / "liar.mkv").read_bytes())
    place = header.index(bytes.fromhex("448988")) + 3  # Matroska: Duration, an 8-byte float in milliseconds
    header[place : place + 8] = struct.pack(">d", 1e9)
    (tmp_path / "liar.mkv").write_bytes(header)
    assert read(tmp_path / "liar.mkv")[1].notes == ["cut short: ends at 2.0 s, but its header states 1000000.0 s"]


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_gives_frames_or_one_line(tmp_path, streams, clip, seed):
    """Bits flipped, bytes cut, zeroed, doubled or inserted: never anything but a clip or a reason."""
    chance = random.Random(seed)
    for round_ in range(12):
        source = chance.choice([clip, *streams.values()])
        path = tmp_path / f"{round_}-{source.name}"
        path.write_bytes(mutate(bytearray(source.read_bytes()), chance))
        try:
            frames, reader = read(path, settings=MediaSettings(longest_seconds=60))
        except MediaError as error:
            assert str(error).startswith(path.name) and "\n" not in str(error)
        else:
            assert all(0 <= frame.seconds <= 60 for frame in frames) and reader.seconds <= 61


def mutate(content: bytearray, chance: random.Random) -> bytearray:
    place, size = chance.randrange(len(content)), chance.randrange(1, len(content) // 4)
    way = chance.choice(["flip", "head", "cut", "zero", "double", "insert"])
    if way in ("flip", "head"):
        for _ in range(chance.choice([1, 5, 50])):
            content[chance.randrange(len(content) if way == "flip" else 600)] ^= 1 << chance.randrange(8)
    elif way == "cut":
        del content[place:]
    elif way == "zero":
        content[place : place + size] = bytes(len(content[place : place + size]))
    elif way == "double":
        content[place:place] = content[place : place + size]
    else:
        content[place:place] = chance.randbytes(500)
    return content


# ---- its surroundings --------------------------------------------------------------------------------------------

PEAK = """
from pathlib import Path as P
print(int(next(l for l in P("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1]) / 1024)
"""


def run(script: str) -> str:
    """Output of a script in a process of its own; its peak memory is then its own too."""
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_damage_leaves_nothing_on_the_terminal(tmp_path):
    path = make_clip(tmp_path / "noisy.ts", options=B_PICTURES, size=(320, 240))
    content = path.read_bytes()
    path.write_bytes(content[:4000] + bytes(3000) + content[7000:])
    script = f"""
from pathlib import Path
from mien.config import MediaSettings
from mien.media.decode import MediaReader
with MediaReader(Path({str(path)!r}), MediaSettings(), rates={{"motion": 10}}) as reader:
    print(len(list(reader.frames())) > 5)
"""
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_files_are_closed_also_when_refused(tmp_path, clip):
    text = tmp_path / "text.mp4"
    text.write_text("no clip" * 100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    read(clip)
    for path, settings in ((text, SETTINGS), (clip, MediaSettings(largest_megapixels=0.001))):
        with pytest.raises(MediaError):
            read(path, settings=settings)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_decoding_needs_no_torch():
    assert run("import sys, mien.media.decode; print('torch' in sys.modules)") == "False\n"


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_twenty_minutes_of_1080p_stay_within_memory(tmp_path):
    """Sound of 20 min takes 1200 x 16,000 x 4 bytes = 77 MB; 750 frames of 1080p 2.3 GB, and as RGB 4.7."""
    short = make_clip(tmp_path / "short.mp4", seconds=9.6, fps=0.625, size=(1920, 1080), options=B_PICTURES, still=True)
    path = repeat(short, 125, tmp_path / "long.mkv")
    script = f"""
from pathlib import Path
from mien.config import MediaSettings
from mien.media.decode import MediaReader
with MediaReader(Path({str(path)!r}), MediaSettings(), rates={{"vision": 4, "motion": 10}}) as reader:
    print(sum(1 for _ in reader.frames()), len(reader.audio()) // 16_000, round(reader.seconds))
{PEAK}"""
    frames, heard, seconds, megabytes = run(script).split()
    assert (int(frames), int(heard), int(seconds)) == (750, 1211, 1211)  # 125 times 6 pictures
    assert float(megabytes) < 500


SHARED_CLIPS = {  # pictures to be shown; seconds of pictures and of sound by the header
    "speech_mpeg4.mp4": (200, 8.0, 8.0),
    "quiet_face.mp4": (72, 2.4, 2.42),
    "silent_face.mp4": (472, 19.685, 19.69),
    "face_then_noface_hevc.mov": (169, 6.402, 6.424),  # sound from 2.43 s on
    "no_face.mp4": (95, 4.015, 3.97),  # of 98 stored, an edit list hides 3; the last one lasts longer than the others
    "five_frames.mp4": (5, 0.167, 0.183),
    "cartoon_5_1_audio.mp4": (132, 5.28, 5.312),
}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared clips are not beside the repository")
@pytest.mark.parametrize("name", SHARED_CLIPS)
def test_real_clips_are_decoded_whole_and_exactly(name):
    path = SHARED / name
    count, seen, heard = SHARED_CLIPS[name]
    frames, reader = read(path, {"all": 1000})
    assert len(frames) == count
    sound = reader.audio()
    assert sound is not None
    assert reader.seconds == pytest.approx(max(seen, heard), abs=0.05)
    assert len(sound) / 16_000 == pytest.approx(heard, abs=0.05)
    if name not in ("cartoon_5_1_audio.mp4", "five_frames.mp4"):  # one has oblong pixels, one is scaled down
        assert_same(read(path)[0], choose(decode_everything(path), RATES))
