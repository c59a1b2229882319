"""A stream is decoded while it comes, in the decoder process, and gives what its recording gives."""

import os
from pathlib import Path

import numpy as np
import pytest

from mien.config import Settings, SpeechSettings
from mien.errors import MediaError
from mien.media.decoder import DecoderClient
from mien.media.frames import Frame, Samples
from mien.media.stream import StreamSource, open_source
from mien.media.utterances import LONGEST_SECONDS, Utterances
from mien.media.vad import WINDOW
from tests.media.clips import make_clip

RATES = {"vision": 4.0, "motion": 10.0}


@pytest.fixture(scope="module")
def decoder():
    settings = Settings()
    client = DecoderClient(settings.media, settings.compute)
    yield client
    client.kill()


def parts_of(decoder: DecoderClient, file: Path, keep: Path | None = None) -> list[Frame | Samples]:
    with StreamSource(open_source(file), file.name, keep) as source:
        source.start()
        with decoder.open_stream(source.name, source.file, rates=RATES, audio=True) as reader:
            return list(reader.parts())


FORMS = {
    "a.mkv": {},
    "b.webm": {"codec": "libvpx", "sound": "libopus", "sound_rate": 48_000},
    "c.ts": {},
    "voice.mkv": {"codec": None, "sound": "libopus", "sound_rate": 48_000},
    "mute.mkv": {"sound": None},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_stream_gives_the_frames_and_samples_of_its_recording(
    name: str, decoder: DecoderClient, tmp_path: Path
) -> None:
    file = make_clip(tmp_path / name, seconds=1.3, size=(64, 48), **FORMS[name])
    with decoder.open(file, rates=RATES) as reader:
        frames, waveform = list(reader.frames()), reader.audio()
    parts = parts_of(decoder, file, keep=tmp_path / "kept")
    seen = [part for part in parts if isinstance(part, Frame)]
    assert [frame.seconds for frame in seen] == [frame.seconds for frame in frames]
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(seen, frames, strict=True))
    heard = [part.values for part in parts if isinstance(part, Samples)]
    assert (waveform is None and not heard) or np.array_equal(np.concatenate(heard), waveform)
    assert (tmp_path / "kept").read_bytes() == file.read_bytes()


def test_frames_come_before_the_stream_has_ended(decoder: DecoderClient, tmp_path: Path) -> None:
    """Half of a stream of two seconds is sent, and nothing more: its first frames must come nevertheless."""
    content = make_clip(tmp_path / "a.mkv", seconds=2, size=(64, 48), options={"g": "10"}).read_bytes()
    theirs, ours = os.pipe()
    with StreamSource(theirs, "camera") as source:
        source.start()
        os.write(ours, content[: len(content) // 2])
        with decoder.open_stream(source.name, source.file, rates=RATES, audio=True) as reader:
            found = reader.parts()
            assert [next(found) for _ in range(3)]
            source.stop()
            rest = list(found)
    os.close(ours)
    assert source.stopped_early
    assert any(isinstance(part, Frame) for part in rest)


def test_a_stream_that_ends_within_a_frame_is_normal(decoder: DecoderClient, tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.mkv", seconds=2, size=(64, 48)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    assert len(parts_of(decoder, tmp_path / "cut.mkv")) > 10


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "ended before its first byte"), (b"hello" * 1000, "send Matroska"), (b"\x1a\x45\xdf\xa3", "send Matroska")],
)
def test_what_is_no_stream_is_one_line(content: bytes, reason: str, decoder: DecoderClient, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(MediaError, match=reason) as error:
        parts_of(decoder, tmp_path / "bad")
    assert "\n" not in str(error.value)


def test_a_recording_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.mkv").write_bytes(b"precious")
    with pytest.raises(MediaError, match="exists already"):
        StreamSource(os.open(os.devnull, os.O_RDONLY), "x", tmp_path / "old.mkv")
    assert (tmp_path / "old.mkv").read_bytes() == b"precious"
    with pytest.raises(MediaError, match="not a file"):
        open_source(Path("/dev/null"))


class _Loud:
    """A detector of voice that takes any sample above .5 for it."""

    def __init__(self) -> None:
        self._rest = np.empty(0, np.float32)

    def add(self, samples: np.ndarray) -> np.ndarray:
        waiting = np.concatenate([self._rest, samples])
        count = len(waiting) // WINDOW
        self._rest = waiting[count * WINDOW :]
        return waiting[: count * WINDOW].reshape(count, WINDOW).max(1).astype(np.float32)


def test_an_utterance_comes_once_it_is_over_and_a_long_one_is_cut() -> None:
    """Voice from 1 to 2 s and from 4 to 16 s: the first comes after its pause, the second in pieces of 10 s at most."""
    waveform = np.zeros(18 * 16_000, np.float32)
    waveform[16_000:32_000] = waveform[4 * 16_000 : 16 * 16_000] = 0.9
    utterances = Utterances(_Loud(), SpeechSettings())  # type: ignore[arg-type]
    found = []
    for second in range(18):
        utterances.add(waveform[second * 16_000 : (second + 1) * 16_000])
        while (utterance := utterances.next()) is not None:
            found.append((second + 1, utterance))
        if second == 1:  # in the midst of the first
            assert 0.5 < utterances.quiet_until <= 1
    assert found[0][0] == 3
    spoken = [(u.start + s, u.start + e) for _, u in found for s, e in u.speech]
    assert spoken[0] == pytest.approx((1, 2), abs=0.1)
    assert spoken[1][0] == pytest.approx(4, abs=0.1) and spoken[-1][1] == pytest.approx(16, abs=0.1)
    assert sum(end - start for start, end in spoken[1:]) == pytest.approx(12, abs=0.2)
    assert max(len(u.waveform) for _, u in found) <= (LONGEST_SECONDS + 1) * 16_000
    assert utterances.quiet_until > 17
