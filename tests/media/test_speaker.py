"""Who of several people speaks: by numbers, and in a film of two drawn people with a voice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.config import Settings
from mien.media.crops import Image, resize
from mien.media.encode import Video, write_video
from mien.media.load_media import MediaEngines, load_media
from mien.media.speaker import Mouth, speaker_of
from mien.schema import SAMPLE_RATE, Clip
from mien.synthetic.acting import act
from mien.synthetic.drawing import draw_frames
from mien.synthetic.identity import draw_identity
from mien.synthetic.voice import VOICE_RATE, Voice, envelope, speak

SECONDS = np.arange(0, 4, 0.1)
LOUD = (SECONDS > 1) & (SECONDS < 3)


def voice(level: float = 0.1) -> np.ndarray:
    """Noise from 1 to 3 s, silence before and after."""
    moments = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(0, level, len(moments))
    return np.where((moments > 1) & (moments < 3), noise, 0).astype(np.float32)


def mouth(moves: np.ndarray | float, side: float = 100.0) -> Mouth:
    """Lips that open and close by a thirtieth of the face, five times a second, where ``moves``: .33 a second."""
    return Mouth(SECONDS, np.where(np.arange(len(SECONDS)) % 2, 0.033, 0.0) * moves, side)


def test_the_speaker_is_whose_mouth_moves_while_it_is_loud() -> None:
    resting, speaking, silently = mouth(0.1), mouth(LOUD), mouth(~LOUD)
    assert speaker_of([resting, speaking], voice()) == 1
    assert speaker_of([silently, resting, speaking], voice()) == 2
    assert speaker_of([speaking, resting], voice()) is None  # it is the person with the most face already
    assert speaker_of([resting, silently], voice()) is None


def test_the_person_with_the_most_face_stays_unless_another_one_clearly_speaks() -> None:
    speaking = mouth(LOUD)
    assert speaker_of([mouth(0.6), speaking], voice()) is None  # moves .6 as much: less than twice as much
    assert speaker_of([mouth(0.0), mouth(0.15)], voice()) is None  # .05 a second: nobody speaks so slowly
    assert speaker_of([mouth(0.0), mouth(LOUD, side=30.0)], voice()) is None  # so small a face trembles
    assert speaker_of([mouth(0.0), speaking], voice(level=0.001)) is None  # -60 dB: silence
    assert speaker_of([mouth(0.0), speaking], np.zeros(0, np.float32)) is None
    assert speaker_of([], voice()) is None


def test_a_short_visit_of_somebody_lively_does_not_count_as_the_speaker() -> None:
    """Half a second at twice the amplitude, against two seconds of calm speech."""
    visit = Mouth(SECONDS[20:25], mouth(2.0).openings[20:25], 100.0)  # 4 steps of .066 = .26
    assert speaker_of([mouth(LOUD * 0.5), visit], voice()) is None  # 19 steps of .0165 = .31


# --- a film -----------------------------------------------------------------------------------------------------------

FPS, LENGTH = 25, 60


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    return speak(["I never thought that we would make it", "but here we are"], Voice())[: LENGTH * VOICE_RATE // FPS]


def person(seed: int, loudness: np.ndarray) -> list[Image]:
    draws = np.random.default_rng(seed)
    identity = draw_identity(draws)
    signal = np.full(6, 0.2)
    return list(draw_frames(identity, act(signal, signal, loudness, FPS, draws).astype(np.float32)))


def two_people(path: Path, speaks: str, sound: np.ndarray) -> Path:
    """A large person on the left and a smaller one on the right, one of whom moves the lips with the sound."""
    loudness, silence = envelope(sound, VOICE_RATE, FPS, LENGTH), np.zeros(LENGTH, np.float32)
    large = person(1, loudness if speaks == "larger" else silence)
    small = person(2, loudness if speaks == "smaller" else silence)
    frames = []
    for left, right in zip(large, small, strict=True):
        frame = np.full((320, 576, 3), 110, np.uint8)
        frame[:, :320], frame[64:, 320:] = left, resize(right, 256)
        frames.append(frame)
    write_video(path, Video(frames, sound.astype(np.float32), VOICE_RATE))
    return path


@pytest.fixture(scope="module")
def engines(small_weights) -> MediaEngines:
    return MediaEngines({role: one.path for role, one in small_weights.items()}, Settings())


@pytest.mark.weights
@pytest.mark.parametrize(
    ("speaks", "sound", "left", "chosen"),
    [
        ("smaller", lambda spoken: spoken, False, "who speaks"),
        ("larger", lambda spoken: spoken, True, "with the most face"),
        ("nobody", lambda spoken: 0 * spoken, True, "with the most face"),
    ],
)
def test_of_two_people_the_one_who_speaks_is_scored(
    speaks: str, sound: Callable[[np.ndarray], np.ndarray], left: bool, chosen: str,
    spoken: np.ndarray, engines: MediaEngines, tmp_path: Path,
) -> None:  # fmt: skip
    path = two_people(tmp_path / "two.mp4", speaks, sound(spoken))
    for wanted in ({"audio", "vision", "motion"}, {"vision", "motion"}):  # whether or not audio is asked for
        media = load_media(Clip("two", path), wanted, engines, Settings())
        assert media.faces is not None and media.faces.people == 2
        assert len(media.faces.crops) == media.faces.vision_frames
        assert np.all((media.faces.boxes[:, 0] < 320) == left)
        assert any(note.endswith(f"the person {chosen} is scored") for note in media.notes)
        assert (media.waveform is None) == ("audio" not in wanted)
