import difflib
import math
import os
import re
import subprocess
import sys
import wave
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.config import MediaSettings, Settings, SpeechSettings, read_settings
from mien.errors import DependencyMissing, SettingsError, WeightsError, WeightsMissing
from mien.media import speech as speech_module
from mien.media import transcript_check
from mien.media.chunks import chunks, clip_time
from mien.media.decode import MediaReader
from mien.media.load_media import MediaEngines, load_media
from mien.media.speech import (
    TRAILING_SILENCE_SECONDS,
    Transcriber,
    without_padding,
)
from mien.media.transcript_check import Segment, is_plausible, problems, without_loops
from mien.media.vad import open_vad, segment_windows, voice_activity, widen
from mien.schema import SAMPLE_RATE, Clip, Word
from mien.synthetic import voice
from mien.synthetic.corpus_check import word_errors
from mien.weights import ENTRIES, check, fetch
from tests.media.clips import SHARED

# --- voice activity: the rule -----------------------------------------------------------------------------------------

LOUD, QUIET = 0.9, 0.1


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        ([], []),
        ([QUIET] * 50, []),
        ([LOUD] * 20, [(0, 20)]),  # speech to the end
        ([QUIET] * 3 + [LOUD] * 10 + [QUIET] * 5, [(3, 13)]),
        ([LOUD] * 7, []),  # .25 s are 7.8 windows: 7 are too short
        ([LOUD] * 8, [(0, 8)]),
        ([LOUD] * 10 + [QUIET] * 4 + [LOUD] * 10, [(0, 24)]),  # .1 s are 3.1 windows: back before the fifth quiet one
        ([LOUD] * 10 + [QUIET] * 5 + [LOUD] * 10, [(0, 10), (15, 25)]),
        ([0.49] * 30, []),  # below the threshold: speech never begins
        ([LOUD] + [0.36] * 30, [(0, 31)]),  # above .5 - .15: speech, once begun, goes on
        ([LOUD] * 10 + [0.34] * 30, [(0, 10)]),
    ],
)
def test_speech_begins_at_the_threshold_and_ends_below_it_for_good(
    activity: list[float], expected: list[tuple[int, int]]
) -> None:
    assert segment_windows(activity, SpeechSettings()) == expected


@given(st.lists(st.floats(0, 1), max_size=200))
def test_stretches_are_in_order_apart_and_long_enough(activity: list[float]) -> None:
    found = segment_windows(activity, SpeechSettings())
    assert all(end - first >= 8 and end <= len(activity) for first, end in found)
    assert all(later[0] > earlier[1] for earlier, later in pairwise(found))


@given(st.lists(st.floats(0.01, 3), min_size=2, max_size=20), st.floats(0, 2))
def test_widened_segments_never_overlap_or_leave_the_sound(gaps: list[float], by: float) -> None:
    times = np.cumsum(gaps).tolist()
    segments = list(zip(times[::2], times[1::2], strict=False))
    wide = widen(segments, by, times[-1])
    assert all(new[0] <= old[0] and new[1] >= old[1] for new, old in zip(wide, segments, strict=True))
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(wide))
    assert wide[0][0] >= 0
    assert wide[-1][1] <= times[-1]


# --- packing and times ------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.1, 40), min_size=1, max_size=30))
def test_parcels_hold_every_span_in_order_and_half_a_minute_at_most(lengths: list[float]) -> None:
    starts = np.cumsum([0.0, *lengths[:-1]]) + np.arange(len(lengths))  # a second between neighbours
    spans = [(start, start + length) for start, length in zip(starts.tolist(), lengths, strict=True)]
    packed = chunks(spans)
    assert [span for parcel in packed for span in parcel] == spans
    for parcel in packed:
        assert len(parcel) == 1 or sum(end - start for start, end in parcel) <= 30 + 1e-6


def test_speech_without_any_pause_is_cut_so_that_memory_stays_bounded() -> None:
    # 700 s in the fewest equal pieces of at most 300 s
    assert chunks([(50.0, 750.0)]) == [
        [(50, pytest.approx(850 / 3))],
        [(pytest.approx(850 / 3), pytest.approx(1550 / 3))],
        [(pytest.approx(1550 / 3), 750)],
    ]


def test_a_time_in_a_parcel_is_the_time_in_the_clip() -> None:
    parcel = [(10.0, 12.0), (20.0, 21.0), (50.0, 55.0)]
    # the spans begin at 0, 2 and 3 seconds of the parcel
    assert clip_time(1.5, parcel, at_end=False) == 11.5
    assert clip_time(2.5, parcel, at_end=False) == 20.5
    assert clip_time(3.0, parcel, at_end=False) == 50.0
    assert clip_time(3.0, parcel, at_end=True) == 21.0
    assert clip_time(99.0, parcel, at_end=True) == 55.0  # the recogniser rounds up at the end of its window


def word(text: str, start: float, end: float, probability: float = 0.9) -> Word:
    return Word(f" {text}", start, end, probability)


def segment(**changes: object) -> Segment:
    said = (word("Good", 0.2, 0.5), word("morning.", 0.5, 1.0))
    return replace(Segment(" Good morning.", said, 1.0, -0.3, 0.1, 1.2), **changes)


@pytest.mark.parametrize(
    ("kept", "changes"),
    [
        (True, {}),
        (False, {"no_speech": 0.6, "logprob": -1.1}),
        (True, {"no_speech": 0.6}),  # silence is likelier, but the words are sure
        (True, {"logprob": -1.1}),
        (False, {"compression_ratio": 2.5}),
        (False, {"text": " ... "}),
        (True, {"text": " 42"}),
    ],
)
def test_segments_that_look_invented_are_dropped(kept: bool, changes: dict[str, object]) -> None:
    assert is_plausible(segment(**changes)) is kept


@pytest.mark.parametrize(
    ("expected", "changes", "chunk"),
    [
        (0, {}, [(10.0, 11.2)]),
        (1, {"compression_ratio": 2.5}, [(10.0, 11.2)]),
        (0, {"words": (word("a", 0.2, 0.4), word("b", 0.4, 0.4), word("c", 0.4, 0.4))}, [(10.0, 11.2)]),
        (1, {"words": tuple(word("a", 0.2, 0.2) for _ in range(3))}, [(10.0, 11.2)]),
        (0, {}, [(10.0, 12.6)]),  # 2.6 s with .2 s of padding: no words from 1.0 to 2.4 s
        (1, {}, [(10.0, 12.8)]),
        (1, {}, [(10.0, 11.2), (20.0, 22.0)]),  # a second span without words: 1.6 s without its padding
        (1, {"text": " ... "}, [(10.0, 12.0)]),  # no words at all in 1.6 s
    ],
)
def test_signs_of_a_failed_transcription_are_counted(
    expected: int, changes: dict[str, object], chunk: list[tuple[float, float]]
) -> None:
    assert problems([segment(**changes)], chunk) == expected


def test_of_a_loop_one_copy_is_kept_and_of_a_repetition_that_takes_its_time_all() -> None:
    said = [word(text, at, at + 0.3) for at, text in enumerate(["In", "addition", "to", "learning"])]
    again = [word(text, 3.3, 3.3) for text in ["in", "addition", "to", "learning"]]
    assert without_loops([*said, *again, *again, word("where", 3.5, 3.9)]) == (*said, word("where", 3.5, 3.9))
    repeated = [replace(one, start=one.start + 4, end=one.end + 4) for one in said]
    assert without_loops([*said, *repeated]) == (*said, *repeated)
    # one word in five has no length in good transcripts, so a word or two said twice are kept
    assert len(without_loops([word("no", 0, 0.3), word("no", 0.3, 0.3), word("way", 0.3, 0.6)])) == 3


def test_a_loop_before_the_words_that_were_said_is_left_out_as_well() -> None:
    invented = [word(text, 0.2, 0.2) for text in ("we", "have", "still")]
    said = [word(text, at, at + 0.3) for at, text in enumerate(("We", "have", "still"))]
    assert without_loops([*invented, *said]) == tuple(said)


@pytest.mark.parametrize(
    ("frames", "given"), [(0, 400), (1, 402), (250, 650), (2599, 3000), (2900, 3000), (3000, 3000)]
)
def test_the_recogniser_reads_the_audio_and_some_silence_but_not_a_whole_empty_window(frames: int, given: int) -> None:
    features = np.zeros((80, 3000), np.float32)
    features[7, :frames] = -0.5
    features[:, : frames // 2] = 0  # silence within the audio is kept
    cut = without_padding(features, 4.0)
    assert cut.shape == (80, given)
    np.testing.assert_array_equal(cut, features[:, :given])


# --- loading ----------------------------------------------------------------------------------------------------------


def test_missing_weights_and_packages_name_their_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.onnx: no such file; .*mien weights fetch small"):
        open_vad(tmp_path / "nowhere.onnx")
    (tmp_path / "vad.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"vad\.onnx: not an ONNX model; .*mien weights verify"):
        open_vad(tmp_path / "vad.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(DependencyMissing, match=r"pip install 'mien\[speech\]'"):
        open_vad(tmp_path / "vad.onnx")


@pytest.mark.weights
def test_another_onnx_model_is_not_taken_for_the_detector(small_weights) -> None:
    with pytest.raises(WeightsError, match="not Silero's voice activity detector"):
        open_vad(small_weights["full_range"].path)


@pytest.mark.weights
def test_a_recogniser_without_its_tokenizer_is_refused_and_the_network_not_asked(small_weights, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(WeightsMissing, match=r"tokenizer\.json: no such file"):
        Transcriber(small_weights["vad"].path, tmp_path, SpeechSettings())


@pytest.mark.weights
def test_a_language_that_the_recogniser_does_not_know_is_refused(small_weights) -> None:
    with pytest.raises(SettingsError, match=r"speech\.language: .* does not support 'de'; it supports en"):
        Transcriber(small_weights["vad"].path, small_weights["asr"].path, SpeechSettings(language="de"))


# --- real sound, real weights -----------------------------------------------------------------------------------------

SAID = """congressional district and I'm currently in DC for my second week of new member orientation. In addition to
learning where things are and how to use the tunnels"""


@pytest.fixture(scope="module")
def listener(small_weights) -> Transcriber:
    return Transcriber(small_weights["vad"].path, small_weights["asr"].path, SpeechSettings(language="auto"))


def sound_of(name: str) -> npt.NDArray[np.float32]:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED}: the real clips are not beside the repository")
    with MediaReader(SHARED / name, MediaSettings(), rates={}) as reader:
        sound = reader.audio()
    assert sound is not None
    return sound


def share_heard(text: str, said: str) -> float:
    """Share of the words said that were recognised, in order."""
    heard, meant = (re.findall(r"[\w']+", words.lower()) for words in (text, said))
    blocks = difflib.SequenceMatcher(None, heard, meant, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(meant)


@pytest.mark.weights
@pytest.mark.parametrize("seconds", [0, 0.01, 5])
def test_silence_has_no_speech_and_no_words(listener: Transcriber, seconds: float) -> None:
    transcript = listener.transcribe(np.zeros(round(seconds * SAMPLE_RATE), np.float32))
    assert (transcript.text, transcript.words, transcript.speech) == ("", (), ())
    assert transcript.dropped_segments == 0
    assert math.isnan(transcript.average_logprob)
    assert math.isnan(transcript.no_speech_probability)


@pytest.mark.weights
def test_hiss_and_hum_are_not_speech(listener: Transcriber) -> None:
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    hum = 0.3 * np.sin(2 * np.pi * 50 * time)
    hiss = np.random.default_rng(0).normal(0, 0.1, len(time))
    for sound in (hum, hiss):
        assert listener.transcribe(sound.astype(np.float32)).text == ""


@pytest.mark.weights
@pytest.mark.parametrize("name", ["silent_face.mp4", "quiet_face.mp4", "face_then_noface_hevc.mov", "five_frames.mp4"])
def test_a_real_clip_without_speech_gives_an_empty_transcript(listener: Transcriber, name: str) -> None:
    transcript = listener.transcribe(sound_of(name))
    assert (transcript.text, transcript.speech) == ("", ())


@pytest.mark.weights
def test_a_cartoon_yawn_is_not_written_down_as_a_word(listener: Transcriber) -> None:
    transcript = listener.transcribe(sound_of("cartoon_5_1_audio.mp4"))
    assert transcript.text == ""
    assert len(transcript.speech) == 1  # a voice is heard
    assert transcript.dropped_segments == 1  # but "Mmm." is not believed


@pytest.mark.weights
def test_real_speech_is_written_down_with_its_times(listener: Transcriber, small_weights) -> None:
    transcript = listener.transcribe(sound_of("speech_mpeg4.mp4"))
    assert share_heard(transcript.text, SAID) >= 0.9
    assert transcript.language == "en"
    assert transcript.source == small_weights["asr"].path.name
    assert -0.6 < transcript.average_logprob < 0
    assert transcript.no_speech_probability < 0.2
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 8.0
    assert [word.text for word in transcript.words] == transcript.text.split()
    # "In addition" follows the only pause of half a second, at 4.7 to 5.2 s
    (restart,) = (word.start for word in transcript.words if word.text == "In")
    assert 5.0 < restart < 5.6


@pytest.mark.weights
def test_the_same_sound_gives_the_same_transcript(listener: Transcriber) -> None:
    sound = sound_of("speech_mpeg4.mp4")
    assert listener.transcribe(sound) == listener.transcribe(sound)


TRANSCRIBED = """
import sys
from pathlib import Path
import numpy as np
import tqdm
from mien.config import SpeechSettings
from mien.media.speech import Transcriber
transcript = Transcriber(Path(sys.argv[1]), Path(sys.argv[2]), SpeechSettings()).transcribe(np.load(sys.argv[3]))
print(len(transcript.words), hasattr(tqdm.std.TqdmDefaultWriteLock, "mp_lock"))
"""


@pytest.mark.weights
def test_a_transcription_makes_no_lock_that_a_worker_could_leave_behind(small_weights, tmp_path: Path) -> None:
    """Of a lock between processes, Python says at the end of a successful command that it leaked."""
    np.save(tmp_path / "sound.npy", sound_of("speech_mpeg4.mp4"))
    files = [str(small_weights["vad"].path), str(small_weights["asr"].path), str(tmp_path / "sound.npy")]
    done = subprocess.run([sys.executable, "-c", TRANSCRIBED, *files], check=True, capture_output=True, text=True)
    words, locked = done.stdout.split()
    assert (int(words) > 20, locked) == (True, "False")


@pytest.mark.weights
def test_words_after_a_long_silence_have_their_own_times(listener: Transcriber) -> None:
    speech = sound_of("speech_mpeg4.mp4")[: round(4.9 * SAMPLE_RATE)]
    silence = np.zeros(40 * SAMPLE_RATE, np.float32)
    transcript = listener.transcribe(np.concatenate([speech, silence, speech]))
    first, second = (word for word in transcript.words if word.text.startswith("orientation"))
    assert second.start - first.start == pytest.approx(44.9, abs=0.3)
    assert not any(6 < word.start < 44 for word in transcript.words)


@pytest.mark.weights
def test_a_sentence_said_again_and_again_is_not_taken_for_an_invented_loop(listener: Transcriber) -> None:
    sentence = sound_of("speech_mpeg4.mp4")[round(1.2 * SAMPLE_RATE) : round(4.9 * SAMPLE_RATE)]
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    transcript = listener.transcribe(np.concatenate([sentence, pause] * 6))  # 25 s: one parcel
    assert transcript.text.lower().count("orientation") == 6
    assert transcript.dropped_segments == 0


@pytest.mark.weights
def test_finding_speech_needs_no_recogniser_but_writing_it_down_does(small_weights) -> None:
    listener = Transcriber(small_weights["vad"].path, None, SpeechSettings())
    assert listener.transcribe(np.zeros(SAMPLE_RATE, np.float32)).text == ""
    with pytest.raises(WeightsMissing, match="a speech recogniser is needed"):
        listener.transcribe(sound_of("speech_mpeg4.mp4"))


@pytest.mark.weights
def test_activity_is_per_window_and_a_last_part_window_counts(small_weights) -> None:
    session = open_vad(small_weights["vad"].path)
    activity = voice_activity(np.zeros(512 * 3 + 1, np.float32), session)
    assert activity.shape == (4,)
    assert np.all(activity < 0.1)


NOISY = [(6, 0.1), (24, 0.1), (33, 0.8)]
"""Seeds and delays, seconds, with which a window with 4 s of silence loses a sentence, or says it twice."""


def in_noise(seed: int, delay: float) -> npt.NDArray[np.float32]:
    """The speaker, delayed, in white noise 20 dB below."""
    waveform = sound_of("speech_mpeg4.mp4")
    delayed = np.concatenate([np.zeros(round(delay * SAMPLE_RATE), np.float32), waveform])
    rng = np.random.default_rng(seed)
    rng.choice(4)
    noise = rng.normal(0, np.sqrt(np.mean(waveform**2)) / 10, len(delayed))
    return (delayed + noise).astype(np.float32)


@pytest.mark.weights
@pytest.mark.parametrize("silence", [4.0, TRAILING_SILENCE_SECONDS])
def test_a_sentence_that_a_short_window_loses_is_recognised_in_the_full_one(
    listener: Transcriber, monkeypatch: pytest.MonkeyPatch, silence: float
) -> None:
    monkeypatch.setattr(speech_module, "TRAILING_SILENCE_SECONDS", silence)
    for seed, delay in NOISY:
        transcript = listener.transcribe(in_noise(seed, delay))
        assert word_errors(SAID, transcript.text)[0] <= 5, transcript.text  # of 29 words, in noise


@pytest.mark.weights
def test_without_the_full_window_the_sentence_is_lost_or_repeated(
    listener: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault that the test above guards against can still be seen."""
    monkeypatch.setattr(speech_module, "TRAILING_SILENCE_SECONDS", 4.0)
    monkeypatch.setattr(speech_module, "problems", lambda *_: 0)
    monkeypatch.setattr(transcript_check, "without_loops", tuple)
    texts = [listener.transcribe(in_noise(*noisy)).text for noisy in NOISY]
    assert all(word_errors(SAID, text)[0] >= 10 for text in texts), texts


# --- languages --------------------------------------------------------------------------------------------------------

FOREIGN = {
    "de": "Guten Tag, ich freue mich sehr, heute hier zu sein. Gestern war das Wetter schlecht, aber jetzt scheint die "
    "Sonne.",
    "cmn": "大家好，我很高兴今天来到这里。昨天天气不好，可是现在太阳出来了。",
}
ENGLISH = "Good morning, I am very glad to be here today. Yesterday the weather was bad, but now the sun is shining."


def spoken_by_espeak(language: str, text: str, path: Path) -> Path:
    """A synthetic speaker of a language, as a WAV file."""
    with voice._engine() as engine:
        assert engine.espeak_SetVoiceByName(language.encode()) == 0
        samples = voice._synthesise(engine, text)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(voice.VOICE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return path


@pytest.mark.weights
@pytest.mark.parametrize("language", FOREIGN)
def test_words_of_a_language_that_the_recogniser_cannot_know_are_doubtful_and_noted(
    small_weights, tmp_path: Path, language: str
) -> None:
    engines = MediaEngines({role: one.path for role, one in small_weights.items()}, Settings())
    path = spoken_by_espeak(language, FOREIGN[language], tmp_path / "a.wav")
    media = load_media(Clip("a", path), {"text"}, engines, Settings())
    assert media.transcript is not None
    assert media.transcript.doubtful
    assert any(word.doubtful for word in media.transcript.words)
    (note,) = media.notes
    assert note.startswith("doubtful words: mean word probability 0.")
    assert "another language than en" in note


@pytest.mark.weights
def test_english_is_not_doubtful(small_weights, tmp_path: Path) -> None:
    engines = MediaEngines({role: one.path for role, one in small_weights.items()}, Settings())
    for path in (spoken_by_espeak("en-us", ENGLISH, tmp_path / "a.wav"), SHARED / "speech_mpeg4.mp4"):
        media = load_media(Clip("a", path), {"text"}, engines, Settings())
        assert media.transcript is not None
        assert not media.transcript.doubtful
        assert media.transcript.mean_probability > 0.8
        assert media.notes == ()


@pytest.fixture(scope="module")
def multilingual() -> Path:
    """Whisper base, which knows 99 languages; fetched once, 145 MB."""
    is_here = check(ENTRIES["whisper-base"]).state == "whole"
    if not is_here and os.environ.get("MIEN_NO_NETWORK"):
        pytest.skip("MIEN_NO_NETWORK is set and whisper-base is not in the cache")
    return fetch(["whisper-base"])[0]


@pytest.mark.weights
@pytest.mark.parametrize(
    ("spoken", "text", "expected", "detected"),
    [
        ("de", FOREIGN["de"], "en", "de"),
        (
            "fr",
            "Bonjour, je suis très heureux d'être ici aujourd'hui. Hier il pleuvait, mais maintenant il fait beau.",
            "en",
            "fr",
        ),
        ("de", FOREIGN["de"], "de", None),
        ("en-us", ENGLISH, "en", None),
        ("en-us", ENGLISH, "de", "en"),
    ],
)
def test_a_multilingual_recogniser_detects_another_language_than_the_expected_one(
    small_weights, multilingual: Path, tmp_path: Path, spoken: str, text: str, expected: str, detected: str | None
) -> None:
    settings = read_settings(overrides=[f"speech.language={expected}"])
    engines = MediaEngines({**{role: one.path for role, one in small_weights.items()}, "asr": multilingual}, settings)
    path = spoken_by_espeak(spoken, text, tmp_path / "a.wav")
    media = load_media(Clip("a", path), {"text"}, engines, settings)
    assert media.transcript is not None
    assert media.transcript.detected_language == detected
    note = f"another language: whisper-base detected {detected}, but {expected} is expected; set speech.language"
    assert [one for one in media.notes if "another language:" in one] == ([note] if detected else [])


@pytest.mark.weights
def test_a_multilingual_recogniser_that_expects_no_language_finds_it_and_writes_it_down(
    small_weights, multilingual: Path, tmp_path: Path
) -> None:
    settings = read_settings(overrides=["speech.language=auto"])
    engines = MediaEngines({**{role: one.path for role, one in small_weights.items()}, "asr": multilingual}, settings)
    media = load_media(
        Clip("a", spoken_by_espeak("de", FOREIGN["de"], tmp_path / "a.wav")), {"text"}, engines, settings
    )
    assert media.transcript is not None
    assert (media.transcript.language, media.transcript.detected_language) == ("de", None)
    assert "guten tag" in media.transcript.text.lower()
    assert media.notes == ()
