from fractions import Fraction

import av
import numpy as np
import pytest

from mien.media.encode import Video, write_video

RATE = 22_050


def images(count=10):
    base = np.add.outer(np.arange(64), np.arange(96))[..., None]
    return [np.repeat((base + 5 * number) % 256, 3, -1).astype(np.uint8) for number in range(count)]


def tone(seconds):
    return (0.3 * np.sin(np.arange(round(seconds * RATE)) / 8)).astype(np.float32)


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_a_film_is_read_back_with_its_pictures_and_its_sound(tmp_path, codec):
    write_video(tmp_path / "a.mp4", Video(images(), tone(0.4), RATE), codec)
    with av.open(str(tmp_path / "a.mp4")) as video:
        assert [stream.codec_context.name for stream in video.streams] == [codec, "aac"]
        frames = list(video.decode(video=0))
    assert [round(frame.time, 3) for frame in frames] == [round(number / 25, 3) for number in range(10)]
    seen = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(int)
    assert np.abs(seen - np.stack(images())).mean() < 12
    with av.open(str(tmp_path / "a.mp4")) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
    assert samples == pytest.approx(0.4 * RATE, abs=2048)  # the codec pads by up to two blocks


def test_a_film_without_sound_has_no_sound_track(tmp_path):
    write_video(tmp_path / "a.mp4", Video(images(), None, RATE))
    with av.open(str(tmp_path / "a.mp4")) as video:
        assert [stream.type for stream in video.streams] == ["video"]


def test_pictures_stand_at_the_times_given(tmp_path):
    write_video(tmp_path / "a.mp4", Video(images(4), None, RATE, Fraction(1000), [0, 41, 300, 301]))
    with av.open(str(tmp_path / "a.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert np.diff(times) == pytest.approx([0.041, 0.259, 0.001])


def test_a_film_that_fails_half_way_leaves_no_file(tmp_path):
    def broken():
        yield from images(2)
        raise RuntimeError("the pencil broke")

    with pytest.raises(RuntimeError, match="pencil"):
        write_video(tmp_path / "a.mp4", Video(broken(), None, RATE))
    assert list(tmp_path.iterdir()) == []
