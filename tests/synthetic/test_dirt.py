import csv
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from mien.synthetic.dirt import FAULTS, LONG_FAULT, LONGEST_SECONDS, PROVIDED_FAULTS, choose_faults, play_music
from mien.synthetic.media import ClipSpec, plan_media, render_clip, write_plan
from mien.synthetic.voice import VOICE_RATE

pytest.importorskip("espeakng_loader")
QUIET = dict.fromkeys(("text", "audio", "vision", "motion"), (0.0,) * 6)


def rendered(home: Path, fault: str, provided: bool = False) -> Path:
    clip = ClipSpec("00007", home, seed=0, number=7, participant=0, signals=QUIET, fault=fault, provided=provided)
    render_clip(clip)
    return clip.path


def waveform_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as video:
        return [frame.time for frame in video.decode(video=0)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("clean"), "", provided=True)


def test_the_wanted_share_is_spoiled_with_every_fault_about_equally_often_and_one_clip_is_long():
    faults = Counter(choose_faults(400, 0.25, True, np.random.default_rng(0)).values())
    assert faults.pop("long") == 1
    assert set(faults) == {*FAULTS, *PROVIDED_FAULTS}
    assert sum(faults.values()) == 99  # a quarter of 400, less the long one: 99 over 9 faults
    assert set(faults.values()) == {11}


def test_faults_of_provided_files_need_provided_files_and_no_dirt_is_no_fault():
    assert set(choose_faults(100, 1.0, False, np.random.default_rng(0)).values()) == {*FAULTS, *LONG_FAULT}
    assert choose_faults(100, 0.0, True, np.random.default_rng(0)) == {}


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_share_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match="a share lies in"):
        choose_faults(10, rate, False, np.random.default_rng(0))


def test_no_sound_leaves_only_pictures(tmp_path, clean):
    path = rendered(tmp_path, "no sound")
    with av.open(str(path)) as video:
        assert [stream.type for stream in video.streams] == ["video"]
    assert len(times_of(path)) == len(times_of(clean))


def test_a_blip_is_as_short_as_the_shortest_real_clip(tmp_path):
    path = rendered(tmp_path, "blip")
    assert len(times_of(path)) == 2  # 0.064 s at 25 pictures a second
    with av.open(str(path)) as video:
        track = video.streams.audio[0]
        assert float(track.duration * track.time_base) == pytest.approx(0.064, abs=0.001)


def test_silence_is_silent_and_music_is_not(tmp_path, clean):
    assert np.abs(waveform_of(rendered(tmp_path, "silence"))).max() < 1e-3 < 0.1 < np.abs(waveform_of(clean)).max()
    assert np.abs(waveform_of(rendered(tmp_path, "music"))).max() > 0.1


def test_music_has_few_tones():
    power = np.abs(np.fft.rfft(play_music(4 * VOICE_RATE, np.random.default_rng(0)))) ** 2
    assert np.sort(power)[-len(power) // 50 :].sum() > 0.9 * power.sum()


def test_an_empty_room_shows_the_wall_where_the_face_was(tmp_path, clean):
    def middle(path):
        with av.open(str(path)) as video:
            return next(video.decode(video=0)).to_ndarray(format="rgb24")[100:220, 100:220].astype(float)

    background = rendered(tmp_path, "no face")
    assert middle(background).std() < 0.6 * middle(clean).std()


def test_an_absurd_rate_is_claimed_and_the_times_are_right(tmp_path, clean):
    path = rendered(tmp_path, "absurd rate")
    with av.open(str(path)) as video:
        assert video.streams.video[0].base_rate >= 500
    times, straight = times_of(path), times_of(clean)
    assert len(times) == len(straight)
    assert times[-1] == pytest.approx(straight[-1], rel=0.1)  # steps of 40 ms, give or take a half
    assert np.ptp(np.diff(times)) > 0.02


def test_the_long_clip_is_as_long_as_the_longest_real_one(tmp_path):
    times = times_of(rendered(tmp_path, "long"))
    assert times[-1] + 0.04 == pytest.approx(LONGEST_SECONDS, abs=0.02)
    assert len(times) < 1000


def test_provided_files_are_spoiled_and_the_video_is_not(tmp_path, clean):
    home = clean.parents[1]
    images = sorted(path.name for path in (home / "face_images" / "00007").iterdir())
    assert len(images) == -(-len(times_of(clean)) // 5)  # every fifth
    with av.open(str(home / "audio" / "00007.mp3")) as sound:
        assert sound.streams.audio[0].rate == 16_000
        length = sum(frame.samples for frame in sound.decode(audio=0)) / 16_000
    assert length == pytest.approx(len(times_of(clean)) / 25, abs=0.2)

    assert len(times_of(rendered(tmp_path / "a", "no face pictures", provided=True))) == len(times_of(clean))
    assert list((tmp_path / "a" / "face_images" / "00007").iterdir()) == []
    rendered(tmp_path / "b", "foreign file", provided=True)
    assert {path.name for path in (tmp_path / "b" / "face_images" / "00007").iterdir()} == {*images, "Thumbs.db"}
    rendered(tmp_path / "c", "broken mp3", provided=True)
    with pytest.raises(av.error.FFmpegError):
        av.open(str(tmp_path / "c" / "audio" / "00007.mp3"))


def test_the_list_of_spoiled_clips_names_each_with_its_fault(tmp_path):
    plan = plan_media(tmp_path, clips=40, dirt=0.3)
    write_plan(plan, tmp_path)
    with (tmp_path / "spoiled.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["Filename"]: row["Fault"] for row in rows} == {clip.id: clip.fault for clip in plan.clips if clip.fault}
    assert len(rows) == 12  # 0.3 * 40
    assert all(row["Meaning"] for row in rows)
