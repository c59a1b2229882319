"""How much silence the recogniser needs after the words: words wrong, and time, by what it is given.

    python bench/recogniser.py whisper-base    # the same for another recogniser, to the screen

The silence that mien leaves was chosen on the films with which the other sections measure (seed 0); it is judged on
others, with other people and other words.
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
    sounds, said = _material(6 if quick else 160)
    usual = speech.TRAILING_SILENCE_FRAMES // 100
    wrong, words, rows = {}, np.array([word_errors(text, "")[1] for text in said]), []
    listener = speech.Transcriber(locate("silero-vad"), locate(recogniser), SpeechSettings())
    listener.transcribe(sounds[0])
    times, texts = {}, {}
    for seconds in (1, 2, usual, 8, WHOLE):
        speech.TRAILING_SILENCE_FRAMES = 100 * seconds
        began = perf_counter()
        heard = [listener.transcribe(sound) for sound in sounds]
        times[seconds] = (perf_counter() - began) / len(sounds)
        wrong[seconds] = np.array([word_errors(t, h.text)[0] for t, h in zip(said, heard, strict=True)])
        texts[seconds] = [one.text for one in heard]
        dropped = sum(one.dropped_segments for one in heard)
        rows.append((seconds, f"{100 * wrong[seconds].sum() / words.sum():.1f}", dropped, f"{times[seconds]:.3f}"))
    same = np.mean([word_errors(one, other)[0] == 0 for one, other in zip(texts[usual], texts[WHOLE], strict=True)])
    more = wrong[usual] - wrong[WHOLE]
    draws = np.random.default_rng(0).integers(0, len(more), (DRAWS, len(more)))
    low, high = np.quantile(100 * more[draws].sum(1) / words[draws].sum(1), [0.025, 0.975])
    shift = 100 * more.sum() / words.sum()
    text = (
        f"Whisper reads a window of 30 s, however little was said. mien gives it {usual} s of silence after the words "
        f"and no more: {times[WHOLE] / times[usual]:.1f} times as fast, speech detection included, one thread. Words "
        f"wrong (substituted, left out or added, of {words.sum():,} in {len(sounds)} films of the stand-in), by "
        f"silence; with {usual} s they are {shift:+.1f} in 100 against all of it, 95 % interval over films "
        f"[{low:+.1f}, {high:+.1f}]. In {100 * same:.0f} % of the films it is the same words."
    )
    head = ("silence, s", "words wrong in 100", "segments dropped", "s a film")
    limit = f"{len(sounds)} films cannot tell it from none: [{low:+.1f}, {high:+.1f}]" if low <= 0 else "words are lost"
    aim = at_most("recogniser, words wrong in 100 more than with 30 s", 0.5, float(shift), "", limit)
    return Section("Recogniser", [text, Table(head, [tuple(map(str, row)) for row in rows])], [aim])


def _material(clips: int) -> tuple[list[np.ndarray], list[str]]:
    """Sounds of the films in which words are said, and the words."""
    folder = corpus(clips, UNSEEN)
    table = pq.read_table(folder / "signals.parquet", columns=["id", "words"])
    words = {row["id"]: row["words"] for row in table.to_pylist()}
    spoken = [film for film in read_manifest(folder).clips if words[film.id]]
    decoder = DecoderClient(MediaSettings(), ComputeSettings())
    sounds = [decoder.read_audio(film.path) for film in spoken]
    decoder.kill()
    assert all(len(sound) < WHOLE * SAMPLE_RATE for sound in sounds)
    return sounds, [words[film.id] for film in spoken]


if __name__ == "__main__":
    print(markdown(measure(quick=False, recogniser=sys.argv[1])))
