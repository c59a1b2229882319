"""What is irregular in a clip is in ``Media.notes``, one plain line each, and repaired where it can be."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mien.config import MediaSettings, Settings
from mien.media.decode import MediaReader, read_audio
from mien.media.face_tracks import track_faces
from mien.media.frames import Frame
from mien.media.load_media import MediaEngines, load_media
from mien.schema import SAMPLE_RATE, Clip, Faces
from tests.media.clips import SHARED, beep, cut, make_clip
from tests.media.test_face_tracks import BOTH, Planted, square_at
from tests.media.test_face_tracks import SETTINGS as FACES

RATES = {"vision": 4.0}


def notes_of(path: Path, settings: MediaSettings | None = None) -> list[str]:
    with MediaReader(path, settings or MediaSettings(), rates=RATES) as reader:
        reader.audio()
        return reader.notes


def write_sound(path: Path, samples: np.ndarray, rate: int, codec: str, ratio: float = 1.0) -> Path:
    """``(C, N)`` float samples beside a still video; time stamps run ``ratio`` times as fast as the samples."""
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio: Any = output.add_stream(codec, rate=rate, layout="mono" if len(samples) == 1 else "stereo")
        for number in range(int(10 * samples.shape[1] / rate * ratio) + 1):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(video.encode(frame))
        step = 1024
        for begin in range(0, samples.shape[1], step):
            block = np.ascontiguousarray(samples[:, begin : begin + step], np.float32)
            if ratio == 1.0:
                sound = av.AudioFrame.from_ndarray(block, format="fltp", layout=audio.layout.name)
                sound.sample_rate, sound.pts, sound.time_base = rate, begin, Fraction(1, rate)
                output.mux(audio.encode(sound))
                continue
            packet = av.Packet((block * 32_767).astype("<i2").T.tobytes())
            packet.stream, packet.time_base = audio, Fraction(1, 1000)
            packet.pts = packet.dts = round(begin / rate * ratio * 1000)
            output.mux(packet)
        output.mux(video.encode(None))
        if ratio == 1.0:
            output.mux(audio.encode(None))
    return path


def voice(seconds: float, rate: int) -> np.ndarray:
    """Noise in bursts, as loud and as irregular as speech."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    return np.convolve(noise, np.ones(8) / 8, "same") * (1 + np.sin(2 * np.pi * 3 * time))


# ---- audio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.mp4", "aac", 44_100), ("b.mkv", "pcm_s16le", 48_000)])
def test_of_channels_that_cancel_each_other_the_louder_is_used_with_a_note(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    sound = voice(3, rate)
    path = write_sound(tmp_path / name, np.stack([0.5 * sound, -0.6 * sound]), rate, codec)
    alone = write_sound(tmp_path / f"alone-{name}", -0.6 * sound[None], rate, codec)
    heard, expected = read_audio(path), read_audio(alone)
    length = min(len(heard), len(expected))
    assert length == pytest.approx(3 * SAMPLE_RATE, abs=2048)
    assert np.corrcoef(heard[:length], expected[:length])[0, 1] > 0.95  # a lossy codec changes noise
    assert np.std(heard) == pytest.approx(np.std(expected), rel=0.05)
    note = "the two audio channels cancel each other (one is inverted): only the right one is used"
    assert notes_of(path) == [note]


@pytest.mark.parametrize("right", [1.0, 0.2, 0.0], ids=["equal", "quieter", "silent"])
def test_channels_that_do_not_cancel_are_mixed(tmp_path: Path, right: float) -> None:
    sound = voice(2, 48_000)
    path = write_sound(tmp_path / "a.mkv", np.stack([sound, right * sound]), 48_000, "pcm_s16le")
    assert notes_of(path) == []


def test_a_part_of_a_clip_with_an_inverted_channel_is_that_part(tmp_path: Path) -> None:
    sound = voice(4, 48_000)
    path = write_sound(tmp_path / "a.mkv", np.stack([sound, -sound]), 48_000, "pcm_s16le")
    with MediaReader(path, MediaSettings(), rates={}, start=1.0, end=2.5) as reader:
        part = reader.audio()
    assert part is not None
    whole = read_audio(path)
    assert len(part) == 24_000
    np.testing.assert_allclose(part, whole[16_000:40_000], atol=1e-3)


@pytest.mark.parametrize(("ratio", "note"), [(0.9, "overlaps of 0.6 s in the audio are cut"), (0.98, "")])
def test_overlapping_time_stamps_do_not_shift_what_is_heard(tmp_path: Path, ratio: float, note: str) -> None:
    # the beep begins at sample time 5.0 s, which the time stamps call ratio * 5.0 s
    rate = 48_000
    time = np.arange(7 * rate) / rate
    path = write_sound(tmp_path / "a.mkv", beep(5.0, 5.5)(time)[None], rate, "pcm_s16le", ratio)
    heard = read_audio(path)
    onset = np.argmax(np.abs(heard) > 0.25) / SAMPLE_RATE
    assert onset == pytest.approx(ratio * 5.0, abs=0.11)  # a shift of less than .1 s is left alone
    assert notes_of(path) == ([note] if note else ["overlaps of 0.1 s in the audio are cut"])


def test_the_clock_of_a_camera_may_be_hours_late_when_its_sound_comes_first(tmp_path: Path) -> None:
    short = make_clip(tmp_path / "short.mp4", times=[0.2 + n / 25 for n in range(40)], sound="mp2", sound_rate=48_000)
    late = tmp_path / "late.ts"
    with av.open(str(short)) as source, av.open(str(late), "w", format="mpegts") as output:
        tracks: dict[int, Any] = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        packets: list[Any] = [packet for packet in source.demux() if packet.size]
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            shift = round(20_000 / packet.time_base)
            packet.stream = tracks[packet.stream_index]
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            output.mux(packet)
    settings = MediaSettings(longest_seconds=7200)
    with MediaReader(late, settings, rates=RATES) as reader:
        frames, heard = len(list(reader.frames())), reader.audio()
    assert frames >= 7
    assert heard is not None
    assert len(heard) / SAMPLE_RATE == pytest.approx(1.8, abs=0.1)
    assert reader.seconds == pytest.approx(1.8, abs=0.1)


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_an_avi_that_was_cut_short_is_noted(tmp_path: Path, share: float) -> None:
    whole = make_clip(tmp_path / "whole.avi", seconds=6, codec="mpeg4", sound="libmp3lame")
    assert notes_of(whole) == []
    (note,) = [note for note in notes_of(cut(whole, share, tmp_path / "cut.avi")) if "cut short" in note]
    assert note.startswith("cut short: ends at ")
    assert note.endswith(" s, but its header states 6.0 s")


# ---- faces -------------------------------------------------------------------------------------------------------


def follow(faces: list[int], fps: float = 10) -> Any:
    frames = [Frame(at / fps, np.zeros((60, 200, 3), np.uint8), BOTH) for at in range(len(faces))]
    return track_faces(frames, Planted([[square_at(10 + 60 * n) for n in range(count)] for count in faces]), FACES)


@pytest.mark.parametrize(
    ("faces", "most", "seconds"),
    [
        ([1, 1, 1], 1, 0.0),
        ([1, 2, 2, 2, 1, 1], 2, 0.3),  # frames at .1, .2 and .3 s, each until the next
        ([1, 1, 2, 3], 3, 0.2),  # the last frame lasts as long as the one before
        ([2, 1, 2, 1], 2, 0.2),
    ],
)
def test_the_time_with_several_faces_in_view_is_counted(faces: list[int], most: int, seconds: float) -> None:
    track = follow(faces)
    assert track.people == most
    assert track.several_seconds == pytest.approx(seconds)


@pytest.fixture(scope="module")
def engines(small_weights) -> MediaEngines:
    return MediaEngines({role: one.path for role, one in small_weights.items()}, Settings())


def filmed(path: Path, shape: Any, seconds: float = 2.0) -> Path:
    """The shared clip of a speaker with its frames changed, without audio."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED}: the real clips are not beside the repository")
    with MediaReader(
        SHARED / "speech_mpeg4.mp4", MediaSettings(), rates={"all": 12}, audio=False, end=seconds
    ) as reader:
        frames = [np.ascontiguousarray(shape(frame.rgb)) for frame in reader.frames()]
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("libx264", rate=12)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for rgb in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(video.encode(None))
    return path


@pytest.mark.weights
def test_several_people_are_noted_and_counted(engines: MediaEngines, tmp_path: Path) -> None:
    path = filmed(tmp_path / "two.mp4", lambda rgb: np.hstack([rgb, rgb]))
    media = load_media(Clip("two", path), {"vision"}, engines, Settings())
    assert media.face_count is not None
    assert media.face_count.most == 2
    assert media.face_count.several_seconds == pytest.approx(2.0, abs=0.3)
    (note,) = media.notes
    assert note.startswith("several people: up to 2 faces in one frame, more than one for ")


@pytest.mark.weights
def test_an_upside_down_video_is_noted(engines: MediaEngines, tmp_path: Path) -> None:
    path = filmed(tmp_path / "turned.mp4", lambda rgb: rgb[::-1, ::-1])
    media = load_media(Clip("turned", path), {"vision"}, engines, Settings())
    assert media.notes == ("upside down: faces are found only when the video is turned by 180 degrees; turn it",)
    assert media.face_count == Faces(0, 0.0)


@pytest.mark.weights
def test_an_upright_video_and_one_without_a_face_have_no_note(engines: MediaEngines, tmp_path: Path) -> None:
    upright = filmed(tmp_path / "upright.mp4", lambda rgb: rgb)
    media = load_media(Clip("upright", upright), {"vision"}, engines, Settings())
    assert (media.notes, media.face_count) == ((), Faces(1, 0.0))
    nobody = load_media(Clip("no_face", SHARED / "no_face.mp4"), {"vision"}, engines, Settings())
    assert (nobody.notes, nobody.face_count) == ((), Faces(0, 0.0))


# ---- provided audio ----------------------------------------------------------------------------------------------


def test_notes_on_a_provided_audio_file_name_it(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", sound=None)
    sound = voice(2, 48_000)
    audio = write_sound(tmp_path / "a.mkv", np.stack([sound, -sound]), 48_000, "pcm_s16le")
    settings = Settings.model_validate({"speech": {"source": "provided"}})
    engines = MediaEngines({}, settings)
    media = load_media(Clip("a", video, sound=audio), {"audio"}, engines, settings)
    engines.close()
    assert media.waveform is not None
    note = "the two audio channels cancel each other (one is inverted): only the left one is used"
    assert media.notes == (f"a.mkv: {note}",)


def test_a_part_of_a_provided_audio_file_is_read_as_one_of_a_video(tmp_path: Path) -> None:
    """A part of a recording that as a whole would be too long, and one that ends after it."""
    sound = write_sound(tmp_path / "a.mkv", voice(6, 16_000)[None], 16_000, "pcm_s16le")
    settings = Settings.model_validate({"speech": {"source": "provided"}, "media": {"longest_seconds": 3}})
    engines = MediaEngines({}, settings)
    part = load_media(Clip("a", None, 2.0, 4.0, sound=sound), {"audio"}, engines, settings)
    beyond = load_media(Clip("a", None, 5.0, 7.5, sound=sound), {"audio"}, engines, settings)
    engines.close()
    assert part.waveform is not None and beyond.waveform is not None
    expected = voice(6, 16_000)[2 * 16_000 : 4 * 16_000]
    assert len(part.waveform) == len(expected)
    assert np.abs(part.waveform - expected).max() < 1e-3
    assert beyond.notes == ("a.mkv: the requested part ends at 7.5 s, but the file at 6.1 s",)


# ---- faces --------------------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository")
def test_a_face_is_the_same_whatever_else_is_asked_for(engines: MediaEngines) -> None:
    """Crops and movement of a speaker: together, and each alone."""
    clip = Clip("a", SHARED / "speech_mpeg4.mp4", end=3.0)
    both, vision, motion = (
        load_media(clip, wanted, engines, Settings()).faces for wanted in ({"vision", "motion"}, {"vision"}, {"motion"})
    )
    assert both is not None and vision is not None and motion is not None
    assert len(both.crops) == 12 and len(both.motion) == 30
    np.testing.assert_array_equal(both.crops[0:12], vision.crops[0:12])
    np.testing.assert_array_equal(both.boxes, vision.boxes)
    np.testing.assert_array_equal(both.motion, motion.motion)
    np.testing.assert_array_equal(both.motion_seconds, motion.motion_seconds)
