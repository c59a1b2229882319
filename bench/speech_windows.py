"""How much silence the recogniser needs after real speech, in many encodings, noises and offsets.

    python bench/speech_windows.py CLIPS WHEEL [CACHE]

CLIPS is the folder with ``speech_mpeg4.mp4`` (OpenTalker/SadTalker, Apache-2.0), WHEEL the unpacked wheel
``moonshine-voice`` 0.1.5 from PyPI with its recordings. CACHE is a file that keeps results, to continue a run. Prints
the table of ``docs/log.md``: results of each padding, without and with a second transcription in the full window where
the first one looks wrong. 420 variants take half an hour on two cores.
"""

import difflib
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any

import av
import numpy as np
from section import table

from mien.config import SpeechSettings
from mien.media import speech, transcript_check
from mien.schema import SAMPLE_RATE, Word
from mien.synthetic.corpus_check import word_errors
from mien.weights import locate

ASSETS = "moonshine_voice/assets"
PASSAGES = (  # name, offset in the name, file, start and end in seconds
    *(("speech", start, "speech_mpeg4.mp4", start, None) for start in (0, 0.3, 0.7, 1.2, 2.5)),
    ("speech", -1, "speech_mpeg4.mp4", 0, 4.9),
    ("beckett", 0, f"{ASSETS}/beckett.wav", 0, None),
    ("beckett", 1.3, f"{ASSETS}/beckett.wav", 1.3, None),
    ("beckett", -5, f"{ASSETS}/beckett.wav", 0, 5),
    ("beckett", 4.5, f"{ASSETS}/beckett.wav", 4.5, None),
    ("clone", 0, f"{ASSETS}/clone-test.wav", 0, None),
    ("clone", 0.4, f"{ASSETS}/clone-test.wav", 0.4, None),
    *(
        ("endgame", start, f"{ASSETS}/endgame_nagg_nell.wav", start, start + seconds)
        for start, seconds in ((0, 6), (0, 12), (4, 8), (8, 10), (12, 6), (15, 12), (20, 8), (0, 28))
    ),
    *(
        ("cities", start, f"{ASSETS}/two_cities.wav", start, start + seconds)
        for start, seconds in (
            (0, 6), (0, 10), (5, 8), (11, 7), (16, 12), (20, 6), (25, 9), (30, 14), (36, 8), (2, 28),
        )
    ),
)  # fmt: skip
CODECS: dict[str, tuple[str, int, int | None, str] | None] = {  # encoder, rate, bits per second, container
    "aac 24k": ("aac", 16000, 24000, "adts"),
    "aac 96k": ("aac", 44100, 96000, "adts"),
    "mp3 24k": ("libmp3lame", 16000, 24000, "mp3"),
    "mp3 64k": ("libmp3lame", 44100, 64000, "mp3"),
    "opus 12k": ("libopus", 48000, 12000, "ogg"),
    "opus 32k": ("libopus", 48000, 32000, "ogg"),
    "wma": ("wmav2", 44100, 48000, "asf"),
    "ac3": ("ac3", 48000, 96000, "ac3"),
    "mp2": ("mp2", 44100, 64000, "mp2"),
    "telephone": ("pcm_mulaw", 8000, None, "wav"),
    "adpcm": ("adpcm_ima_wav", 22050, None, "wav"),
    "pcm": None,
}
NOISES = ("none", "none", "white20", "white10", "pink15", "pink10", "quiet", "loud", "room")
VARIANTS_EACH = 14
SILENCES = (4.0, 6.0, 8.0, 12.0, speech.FULL_WINDOW_SECONDS)
RUN = 4
"""Words in a row that are lost or added: a sentence, not a slip."""

Variant = tuple[str, np.ndarray]


def variants(clips: Path, wheel: Path) -> Iterator[Variant]:
    """Name and ``(N,)`` waveform of each variant."""
    rng = np.random.default_rng(0)
    for number, (name, offset, file, start, end) in enumerate(PASSAGES):
        whole = decode((clips if "/" not in file else wheel) / file)
        passage = whole[int(start * SAMPLE_RATE) : None if end is None else int(end * SAMPLE_RATE)]
        for turn in range(VARIANTS_EACH):
            codec = list(CODECS)[(turn + number * 5) % len(CODECS)]
            noise = NOISES[(turn * 2 + number) % len(NOISES)]
            lead = float(rng.choice([0, 0, 0.013, 0.1, 0.37, 0.8, 1.5]))
            tail = float(rng.choice([0, 0, 0.2, 0.5, 1.5]))
            silences = [np.zeros(int(seconds * SAMPLE_RATE), np.float32) for seconds in (lead, tail)]
            varied = with_noise(np.concatenate([silences[0], passage, silences[1]]), noise, rng)
            yield f"{name}|{offset}|{number}|{codec}|{noise}|{lead}|{tail}", encode(varied, CODECS[codec])


def with_noise(sound: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """The waveform with noise so many decibels below it, too quiet, too loud, or in a room."""
    level = float(np.sqrt(np.mean(sound**2))) + 1e-9
    if kind.startswith("white"):
        return (sound + rng.normal(0, level * 10 ** (-int(kind[5:]) / 20), len(sound))).astype(np.float32)
    if kind.startswith("pink"):
        spectrum = np.fft.rfft(rng.normal(0, 1, len(sound)))
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1.0), len(sound))
        return (sound + noise / noise.std() * level * 10 ** (-int(kind[4:]) / 20)).astype(np.float32)
    if kind == "quiet":
        return (sound * 0.05).astype(np.float32)
    if kind == "loud":
        return np.clip(sound * (1.5 / np.abs(sound).max()), -1, 1).astype(np.float32)
    if kind == "room":
        echo = np.zeros(SAMPLE_RATE // 4, np.float32)
        echo[0] = 1
        echo += rng.normal(0, 0.03, len(echo)) * np.exp(-np.arange(len(echo)) / (SAMPLE_RATE * 0.06))
        return np.convolve(sound, echo)[: len(sound)].astype(np.float32) * 0.7
    return sound


def encode(sound: np.ndarray, how: tuple[str, int, int | None, str] | None) -> np.ndarray:
    """The waveform after an encoder and its decoder."""
    if how is None:
        return sound.astype(np.float32)
    codec, rate, bits, container = how
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="mono")
        if bits:
            stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="flt", layout="mono")
        frame.rate, frame.pts = SAMPLE_RATE, 0
        context = stream.codec_context
        resampler = av.AudioResampler(context.format.name, "mono", rate, frame_size=context.frame_size or 0)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
    buffer.seek(0)
    return decode(buffer)


def decode(file: Path | io.BytesIO) -> np.ndarray:
    """``(N,)`` at 16 kHz."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([part.to_ndarray()[0] for part in [*parts, *resampler.resample(None)]])


class Cached(speech.Transcriber):
    """A transcriber that recognises each chunk once per padding, and keeps the result in a file."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(locate("silero-vad"), locate("whisper-tiny.en"), SpeechSettings())
        self.variant, self.seconds, self.calls = "", 0.0, 0
        self._file = file
        lines = file.read_text().splitlines() if file is not None and file.exists() else ()
        self._known = {(one["variant"], one["key"]): one for one in map(json.loads, lines)}
        self._speech: dict[str, tuple[speech.Span, ...]] = {}

    def segments(self, waveform: Any) -> tuple[speech.Span, ...]:
        if self.variant not in self._speech:
            self._speech[self.variant] = super().segments(waveform)
        return self._speech[self.variant]

    def _recognise(self, waveform: Any, chunk: Sequence[speech.Span], silence: float | None = None) -> Any:
        padding = speech.TRAILING_SILENCE_SECONDS if silence is None else silence
        key = (self.variant, f"{padding:g}|" + " ".join(f"{start:.3f}-{end:.3f}" for start, end in chunk))
        if key not in self._known:
            began = process_time()
            found = super()._recognise(waveform, chunk, padding)
            made = {"variant": key[0], "key": key[1], "seconds": process_time() - began}
            self._known[key] = made | {"segments": [asdict(one) for one in found.segments]}
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps(self._known[key]) + "\n")
        known = self._known[key]
        self.seconds += known["seconds"]
        self.calls += 1
        segments = [
            transcript_check.Segment(**{**one, "words": tuple(Word(**word) for word in one["words"])})
            for one in known["segments"]
        ]
        return speech._Recognised(chunk, segments, "en")


def sentences(reference: str, text: str) -> tuple[int, int]:
    """Whether a run of at least ``RUN`` words is lost, and whether one is added."""
    first, second = (text.lower().replace(",", "").replace(".", "").split() for text in (reference, text))
    codes = difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    change = [(j2 - j1) - (i2 - i1) for _, i1, i2, j1, j2 in codes]
    return min(change, default=0) <= -RUN, max(change, default=0) >= RUN


def transcribe_all(
    waveforms: Sequence[Variant], transcriber: Cached, silence: float, look_twice: bool
) -> dict[str, Any]:
    """Texts, processor seconds and the number of chunks that were transcribed again."""
    signs = speech.problems
    speech.TRAILING_SILENCE_SECONDS = silence
    transcriber.seconds, again, texts = 0.0, 0, []
    for name, waveform in waveforms:
        transcriber.variant, transcriber.calls = name, 0
        speech.problems = signs if look_twice else lambda *_: 0
        texts.append(transcriber.transcribe(waveform).text)
        again += transcriber.calls > 1 and look_twice
    speech.problems = signs
    return {"texts": texts, "seconds": transcriber.seconds / len(waveforms), "again": again}


def consensus(waveforms: Sequence[Variant], texts: Sequence[str]) -> list[str]:
    """For each variant, the text of its passage that differs least from those of the passage's other variants."""
    passages = defaultdict(list)
    for (name, _), text in zip(waveforms, texts, strict=True):
        passages[name.split("|")[2]].append(text)
    best = {
        passage: min(found, key=lambda one: sum(word_errors(one, other)[0] for other in found))
        for passage, found in passages.items()
    }
    return [best[name.split("|")[2]] for name, _ in waveforms]


def main(clips: str, wheel: str, cache: str | None = None) -> None:
    waveforms = list(variants(Path(clips), Path(wheel)))
    transcriber = Cached(None if cache is None else Path(cache))
    runs = {(silence, twice): transcribe_all(waveforms, transcriber, silence, twice)
            for twice in (False, True) for silence in SILENCES}  # fmt: skip
    full = runs[speech.FULL_WINDOW_SECONDS, False]["texts"]
    references = {"full": full, "consensus": consensus(waveforms, full)}
    rows = []
    for (silence, twice), run in runs.items():
        row = [f"{silence:g}", "yes" if twice else "no"]
        for texts in references.values():
            errors, words = np.sum([word_errors(a, b) for a, b in zip(texts, run["texts"], strict=True)], axis=0)
            lost, added = np.sum([sentences(a, b) for a, b in zip(texts, run["texts"], strict=True)], axis=0)
            row += [f"{100 * errors / words:.1f}", f"{lost} + {added}"]
        rows.append((*row, str(run["again"]), f"{run['seconds']:.2f}"))
    head = ("silence, s", "second look", "% of words unlike the full window", "sentences lost + added",
            "% unlike the consensus", "lost + added", "looked twice", "CPU s")  # fmt: skip
    print(f"{len(waveforms)} variants\n\n{table(head, rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
