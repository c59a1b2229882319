"""How much silence the recogniser needs after the words: words wrong, and time, by what it is given.

python bench/recogniser.py whisper-base    # the same for another recogniser, to the screen
"""

import re
import sys
from time import perf_counter

import numpy as np
import pyarrow.parquet as pq
from material import SCRATCH, corpus, films
from section import Section, Table, at_most, markdown

from mien.config import ComputeSettings, MediaSettings, SpeechSettings
from mien.media import speech
from mien.media.decoder import Decoder
from mien.schema import SAMPLE_RATE
from mien.weights import locate

WHOLE = 30
DRAWS = 10_000


def measure(quick: bool, recogniser: str = "whisper-tiny.en") -> Section:
    sounds, said = _material(6 if quick else 160)
    usual = speech.ROOM_FRAMES // 100
    wrong, words, rows = {}, np.array([len(_words(text)) for text in said]), []
    listener = speech.Listener(locate("silero-vad"), locate(recogniser), SpeechSettings())
    listener.transcribe(sounds[0])
    times, texts = {}, {}
    for seconds in (1, 2, usual, 8, WHOLE):
        speech.ROOM_FRAMES = 100 * seconds
        began = perf_counter()
        heard = [listener.transcribe(sound) for sound in sounds]
        times[seconds] = (perf_counter() - began) / len(sounds)
        wrong[seconds] = np.array([_edits(_words(t), _words(h.text)) for t, h in zip(said, heard, strict=True)])
        texts[seconds] = [_words(one.text) for one in heard]
        dropped = sum(one.dropped_segments for one in heard)
        rows.append((seconds, f"{100 * wrong[seconds].sum() / words.sum():.1f}", dropped, f"{times[seconds]:.3f}"))
    same = np.mean([one == other for one, other in zip(texts[usual], texts[WHOLE], strict=True)])
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
    aim = at_most("recogniser, words wrong in 100 more than with 30 s", 0.5, float(shift), "")
    return Section("Recogniser", [text, Table(head, [tuple(map(str, row)) for row in rows])], [aim])


def _material(clips: int) -> tuple[list[np.ndarray], list[str]]:
    """Sounds of the films in which words are said, and the words."""
    corpus(clips)
    table = pq.read_table(SCRATCH / f"films-{clips}" / "signals.parquet", columns=["id", "words"])
    words = {row["id"]: row["words"] for row in table.to_pylist()}
    spoken = [film for film in films(clips) if _words(words[film.id])]
    decoder = Decoder(MediaSettings(), ComputeSettings())
    sounds = [decoder.sound(film.path) for film in spoken]
    decoder.kill()
    assert all(len(sound) < WHOLE * SAMPLE_RATE for sound in sounds)
    return sounds, [words[film.id] for film in spoken]


def _words(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split()


def _edits(said: list[str], heard: list[str]) -> int:
    """Least number of words substituted, left out or added (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for n, word in enumerate(said, 1):
        corner, row[0] = row[0], n
        for m, other in enumerate(heard, 1):
            corner, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, corner + (word != other))
    return row[-1]


if __name__ == "__main__":
    print(markdown(measure(quick=False, recogniser=sys.argv[1])))
