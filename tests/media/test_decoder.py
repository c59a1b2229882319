"""The decoder process returns what decoding in this process returns, and its failures cost one file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from mien.config import ComputeSettings, MediaSettings
from mien.errors import MediaError
from mien.media.audio_track import AudioTrack
from mien.media.decode import MediaReader, read_audio
from mien.media.decoder import DecoderClient, seconds_for
from mien.media.decoder_start import one_ahead
from mien.media.timeline import SECOND
from tests.badmedia.mutations import png
from tests.media.clips import make_clip
from tests.workers import decoders

MEDIA = MediaSettings()
RATES = {"vision": 4, "motion": 10}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=2)


@pytest.fixture
def decoder() -> Iterator[DecoderClient]:
    made = DecoderClient(MEDIA, ComputeSettings(clip_seconds=30))
    yield made
    made.kill()


def works(decoder: DecoderClient, clip: Path) -> bool:
    with decoder.open(clip, rates=RATES) as reading:
        return sum(1 for _ in reading.frames()) > 0 and reading.audio() is not None


def test_frames_and_sound_are_those_of_decoding_here(decoder: DecoderClient, clip: Path) -> None:
    with MediaReader(clip, MEDIA, rates=RATES, start=0.5, end=1.5) as here:
        frames, sound = list(here.frames()), here.audio()
    with decoder.open(clip, rates=RATES, start=0.5, end=1.5) as there:
        assert there.has_video
        for frame, other in zip(there.frames(), frames, strict=True):
            assert (frame.seconds, frame.wanted) == (other.seconds, other.wanted)
            assert np.array_equal(frame.rgb, other.rgb)
        heard = there.audio()
    assert heard is not None and sound is not None and np.array_equal(heard, sound)
    assert (there.seconds, there.notes, there.no_audio_reason) == (here.seconds, here.notes, here.no_audio_reason)
    assert np.array_equal(decoder.read_audio(clip), read_audio(clip))


def test_a_sound_track_of_which_nothing_is_heard_is_not_called_missing(decoder: DecoderClient, tmp_path: Path) -> None:
    whole, bare = make_clip(tmp_path / "whole.mkv"), tmp_path / "bare.mkv"
    with av.open(str(whole)) as source, av.open(str(bare), "w") as output:
        tracks = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.pts is not None and packet.stream.type == "video":  # as if cut before its first sound
                packet.stream = tracks[packet.stream.index]
                output.mux(packet)
    with av.open(str(whole)) as source:
        track = AudioTrack(source.streams.audio[0], longest=SECOND)
        track.add(av.Packet(b"\xff" * 40))
        assert (track.first, track.damaged) == (None, 1)
        assert track.no_audio_reason == "the audio track could not be decoded"
    silent = make_clip(tmp_path / "silent.mp4", sound=None)
    reasons = {
        bare: "no audio in the part of the file that was read",
        silent: "no audio track",
        whole: "",
    }
    for path, why in reasons.items():
        with decoder.open(path, rates={"vision": 4}) as reader:
            assert (reader.audio() is None) == bool(why)
            assert reader.no_audio_reason == why
    short = make_clip(tmp_path / "late.mkv", seconds=2, sound_start=1.5)
    with decoder.open(short, rates={"vision": 4}, end=1.0) as reader:
        assert reader.audio() is None
        assert reader.no_audio_reason == "no audio in the part of the file that was read"
    with decoder.open(whole, rates={"vision": 4}, audio=False) as reader:
        assert reader.audio() is None
        assert reader.no_audio_reason == "no audio was requested"


def test_nothing_is_held_of_what_was_sent(decoder: DecoderClient, tmp_path: Path) -> None:
    short, long = (make_clip(tmp_path / f"{s}.wav", seconds=s, codec=None, sound="pcm_s16le") for s in (1, 600))
    decoder.read_audio(short)
    process = psutil.Process(decoder.start().pid)
    before = process.memory_info().rss
    assert len(decoder.read_audio(long)) * 4 > 38e6
    decoder.read_audio(short)
    decoder.read_audio(short)
    assert process.memory_info().rss - before < 10e6
    held = process.memory_info().rss
    decoder.read_audio(long)
    time.sleep(0.2)  # it has sent the last byte before it lets go
    assert process.memory_info().rss - held < 10e6


def test_a_complaint_comes_back_in_its_own_words_and_the_process_stays(
    decoder: DecoderClient, clip: Path, tmp_path: Path
) -> None:
    process = decoder.start()
    (tmp_path / "bad.mp4").write_text("dear diary")
    for path, message in ((tmp_path / "bad.mp4", "not a video"), (tmp_path / "gone.mp4", "no such file")):
        with pytest.raises(MediaError, match=message), decoder.open(path, rates=RATES):
            pass
    assert works(decoder, clip)
    assert decoder.start() is process


def test_a_file_that_is_left_in_the_midst_does_not_disturb_the_next(decoder: DecoderClient, clip: Path) -> None:
    with decoder.open(clip, rates=RATES) as reading:
        next(reading.frames())
    assert works(decoder, clip)


def test_a_decoder_that_hangs_is_killed_in_time(clip: Path) -> None:
    decoder = DecoderClient(MEDIA, ComputeSettings(clip_seconds=1))
    os.kill(decoder.start().pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(MediaError, match=r"a\.mp4: gave up after 1 s"), decoder.open(clip, rates=RATES):
        pass
    assert 0.9 < time.monotonic() - began < 10


def test_a_decoder_that_crashes_costs_one_file(decoder: DecoderClient, clip: Path) -> None:
    os.kill(decoder.start().pid, signal.SIGSTOP)  # so that it dies with the request before it
    with pytest.raises(MediaError, match=r"a\.mp4: the decoder process died \(SIGSEGV\)"):
        reading = decoder.open(clip, rates=RATES)
        os.kill(decoder.start().pid, signal.SIGSEGV)
        os.kill(decoder.start().pid, signal.SIGCONT)
        reading.__enter__()
    assert works(decoder, clip)


def test_a_file_that_wants_too_much_memory_is_given_up(clip: Path, tmp_path: Path) -> None:
    """81 megapixels of zeros, packed in 80 kB, are 81 MB as they are, and 243 MB as RGB, which is there twice."""
    image = tmp_path / "large.png"
    image.write_bytes(png(9000, 9000, 9000))
    assert image.stat().st_size < 90_000
    large = MediaSettings(largest_megapixels=100)
    generous, tight = (DecoderClient(large, ComputeSettings(decoder_gigabytes=size)) for size in (4.0, 0.5))
    assert generous.read_image(image).shape == (9000, 9000, 3)
    process = tight.start()
    with pytest.raises(MediaError, match=r"large\.png: .*(memory|Cannot allocate)"):
        tight.read_image(image)
    assert psutil.Process(tight.start().pid).memory_info().rss < 0.5e9
    assert works(tight, clip)
    assert process.pid == tight.start().pid  # it could say so, and went on


def test_a_frame_larger_than_allowed_is_not_unpacked(decoder: DecoderClient, tmp_path: Path) -> None:
    image = tmp_path / "bomb.png"
    image.write_bytes(png(20_000, 20_000, 20_000))
    with pytest.raises(MediaError, match="megapixels"):
        decoder.read_image(image)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{0}'\n"])
def test_a_frame_cannot_name_another_file(decoder: DecoderClient, tmp_path: Path, text: str) -> None:
    (tmp_path / "face.png").write_bytes(png(32, 32, 32))
    assert decoder.read_image(tmp_path / "face.png").shape == (32, 32, 3)
    (tmp_path / "1.jpg").write_text(text.format("face.png"))
    with pytest.raises(MediaError, match="known format"):
        decoder.read_image(tmp_path / "1.jpg")


def test_it_leaves_when_whoever_started_it_is_killed() -> None:
    code = (
        "import time; from mien.config import *; from mien.media.decoder import DecoderClient\n"
        "decoder = DecoderClient(MediaSettings(), ComputeSettings()); print(decoder.start().pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the decoder is still there after 10 s")


def test_one_that_was_started_ahead_is_the_next_one_unless_it_has_died(decoder: DecoderClient, clip: Path) -> None:
    with one_ahead():
        (ahead,) = decoders()
        assert decoder.start().pid == ahead.pid
        assert works(decoder, clip)
    assert works(decoder, clip)  # it is the decoder's own
    decoder.kill()
    with one_ahead():
        (ahead,) = decoders()
        ahead.kill()
        ahead.wait()
        assert works(decoder, clip)


def test_one_that_nobody_needed_ends() -> None:
    with pytest.raises(KeyError), one_ahead():
        assert len(decoders()) == 1
        raise KeyError
    assert decoders() == []


def test_a_program_that_scores_loads_no_libav() -> None:
    code = "import sys, mien.inference.predict; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_clip_may_take_a_time_that_goes_by_the_size_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "hour.mp4"
    with file.open("wb") as hour:
        os.posix_fallocate(hour.fileno(), 0, 450_000_000)  # an hour of 1 Mbit/s
    assert seconds_for(file, ComputeSettings()) == pytest.approx(600 + 9000)
    assert seconds_for(tmp_path / "gone.mp4", ComputeSettings()) == 600
    assert seconds_for(file, ComputeSettings(clip_seconds=20)) == 20
    hole = tmp_path / "hole.mp4"
    hole.touch()
    os.truncate(hole, 10**13)  # a size that is only claimed buys no time
    assert seconds_for(hole, ComputeSettings()) < 601
