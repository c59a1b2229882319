import time
from dataclasses import replace

import numpy as np
import pytest

from mien.synthetic.voice import FEMALE_VARIANTS, MALE_VARIANTS, VOICE_RATE, Voice, envelope, speak

pytest.importorskip("espeakng_loader")
WORDS = ("I am very happy today", "that is so funny")


def test_what_is_said_does_not_depend_on_what_was_said_before():
    first = speak(WORDS, Voice())
    speak(("something else",), Voice(variant="f3", pitch=90, words_per_minute=200))
    assert np.array_equal(first, speak(WORDS, Voice()))


@pytest.mark.parametrize("variant", ["f2", "f3"])
def test_the_breath_of_breathy_voices_does_not_depend_on_the_time_of_day(variant):
    """The seconds since 1970 were its seed."""
    breathy = Voice(variant=variant, words_per_minute=175, pitch=91, melody=41)
    first = speak(WORDS, breathy)
    time.sleep(1.1)
    assert np.array_equal(first, speak(WORDS, breathy))


@pytest.mark.parametrize("variant", [*MALE_VARIANTS, *FEMALE_VARIANTS])
def test_every_variant_speaks_with_its_own_voice(variant):
    waveform = speak(WORDS, Voice(variant=variant))
    assert 1.5 < len(waveform) / VOICE_RATE < 6
    if variant:
        plain = speak(WORDS, Voice())
        assert len(waveform) != len(plain) or not np.array_equal(waveform, plain)


def test_a_faster_speaker_needs_less_time_and_a_longer_pause_more():
    plain = Voice(words_per_minute=150, pause_seconds=0.2)
    seconds = len(speak(WORDS, plain)) / VOICE_RATE
    assert len(speak(WORDS, replace(plain, words_per_minute=210))) / VOICE_RATE < 0.85 * seconds
    longer = len(speak(WORDS, replace(plain, pause_seconds=0.7))) / VOICE_RATE
    assert longer - seconds == pytest.approx(0.5, abs=0.02)  # one pause between two clauses


def pitch_hertz(waveform):
    """The strongest period between 60 and 400 Hz, by autocorrelation."""
    spectrum = np.fft.rfft(waveform, 2 * len(waveform))
    matches = np.fft.irfft(np.abs(spectrum) ** 2)[: len(waveform)]
    shortest, longest = VOICE_RATE // 400, VOICE_RATE // 60
    return VOICE_RATE / (shortest + matches[shortest:longest].argmax())


def test_the_pitch_rises_with_the_setting():
    low, high = (pitch_hertz(speak(WORDS, Voice(pitch=pitch, melody=10))) for pitch in (15, 85))
    assert high > 1.3 * low


def test_loudness_is_the_peak_and_brightness_moves_the_spectrum_up():
    waveform = speak(WORDS, Voice(loudness=0.6))
    assert np.abs(waveform).max() == pytest.approx(0.6)

    def centre(voice):
        power = np.abs(np.fft.rfft(speak(WORDS, voice))) ** 2
        return (power * np.arange(len(power))).sum() / power.sum()

    assert centre(Voice(brightness=0.5)) > 1.2 * centre(Voice()) > 1.2**2 * centre(Voice(brightness=-0.5))


def test_the_envelope_is_the_loudness_of_each_picture_relative_to_the_loudest():
    waveform = np.repeat(np.float32([0.0, 0.1, 0.4]), 100)  # three pictures of 100 samples
    assert envelope(waveform, rate=100, fps=1.0, frames=3) == pytest.approx([0, 0.25, 1])
    assert envelope(np.zeros(100, np.float32), rate=100, fps=2.0, frames=2).tolist() == [0, 0]
