"""How much silence the recogniser needs after the words: word errors and time by padding.

    python bench/recogniser.py whisper-base    # the same for another recogniser, to the screen

The padding was chosen on the videos of the other sections (seed 0) and is evaluated on others, with other people and
other words.
"""

import sys
from time import perf_counter

import numpy as np
import pyarrow.parquet as pq
from material import corpus
from section import Section, Table, at_most, markdown

from mien.config import ComputeSettings, MediaSettings, SpeechSettings
from mien.data.manifest import read_manifest
from mien.media import speech
from mien.media.decoder import DecoderClient
from mien.schema import SAMPLE_RATE
from mien.synthetic.corpus_check import word_errors
from mien.weights import locate

UNSEEN = 1
WHOLE = 30
DRAWS = 10_000


def measure(quick: bool, recogniser: str = "whisper-tiny.en") -> Section:
    waveforms, transcripts = _material(6 if quick else 160)
    usual = round(speech.TRAILING_SILENCE_SECONDS)
    wrong, words, rows = {}, np.array([word_errors(text, "")[1] for text in transcripts]), []
    transcriber = speech.Transcriber(locate("silero-vad"), locate(recogniser), SpeechSettings())
    transcriber.transcribe(waveforms[0])
    times, texts = {}, {}
    for seconds in (1, 2, 4, usual, WHOLE):
        speech.TRAILING_SILENCE_SECONDS = float(seconds)
        began = perf_counter()
        heard = [transcriber.transcribe(waveform) for waveform in waveforms]
        times[seconds] = (perf_counter() - began) / len(waveforms)
        wrong[seconds] = np.array([word_errors(t, h.text)[0] for t, h in zip(transcripts, heard, strict=True)])
        texts[seconds] = [one.text for one in heard]
        dropped = sum(one.dropped_segments for one in heard)
        rows.append((seconds, f"{100 * wrong[seconds].sum() / words.sum():.1f}", dropped, f"{times[seconds]:.3f}"))
    same = np.mean([word_errors(one, other)[0] == 0 for one, other in zip(texts[usual], texts[WHOLE], strict=True)])
    more = wrong[usual] - wrong[WHOLE]
    draws = np.random.default_rng(0).integers(0, len(more), (DRAWS, len(more)))
    low, high = np.quantile(100 * more[draws].sum(1) / words[draws].sum(1), [0.025, 0.975])
    shift = 100 * more.sum() / words.sum()
    text = (
        f"Whisper reads a window of 30 s, however short the speech. mien pads it with only {usual} s of silence: "
        f"{times[WHOLE] / times[usual]:.1f} times as fast, including speech detection, one thread. The table has the "
        f"word error rate ({words.sum():,} words in {len(waveforms)} stand-in videos) by padding; with {usual} s it is "
        f"{shift:+.1f} points above that of 30 s, 95 % interval over videos [{low:+.1f}, {high:+.1f}]. The transcripts "
        f"of {100 * same:.0f} % of the videos are identical."
    )
    head = ("padding, s", "word error rate, %", "segments dropped", "s per video")
    limit = f"not significant with {len(waveforms)} videos: [{low:+.1f}, {high:+.1f}]" if low <= 0 else "words are lost"
    aim = at_most("recogniser, word error rate above that with 30 s, points", 0.5, float(shift), "", limit)
    return Section("Recogniser", [text, Table(head, [tuple(map(str, row)) for row in rows])], [aim])


def _material(clips: int) -> tuple[list[np.ndarray], list[str]]:
    """Waveforms of the videos with speech, and the words."""
    folder = corpus(clips, UNSEEN)
    table = pq.read_table(folder / "signals.parquet", columns=["id", "words"])
    words = {row["id"]: row["words"] for row in table.to_pylist()}
    spoken = [clip for clip in read_manifest(folder).clips if words[clip.id]]
    decoder = DecoderClient(MediaSettings(), ComputeSettings())
    waveforms = [decoder.read_audio(clip.path) for clip in spoken]
    decoder.kill()
    assert all(len(waveform) < WHOLE * SAMPLE_RATE for waveform in waveforms)
    return waveforms, [words[clip.id] for clip in spoken]


if __name__ == "__main__":
    print(markdown(measure(quick=False, recogniser=sys.argv[1])))
