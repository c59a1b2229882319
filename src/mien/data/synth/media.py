"""The stand-in corpus as real files: a person per participant who says a sentence and moves their face.

In the order of time: draw labels → give each modality its own noisy view of them (``draw_signals``) → plan the clips →
film each (``film_clip``: words, voice, acting, drawing, one mp4). A plan is plain data: clips can be filmed in any order
and by any number of processes, and come out the same.

The trade-off: what carries the labels is planted, so that the parts that read it can be tested end to end on files that
anybody may have; it says nothing about how people really show emotions.

Shapes: ``N`` clips, ``E`` six emotions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mien.artifacts import atomic_file
from mien.data.synth.acting import act, emotional_voice, voice_of
from mien.data.synth.drawing import draw_frames
from mien.data.synth.film import write_film
from mien.data.synth.labels import Labels, draw_labels, write_challenge
from mien.data.synth.portrait import Identity, draw_identity
from mien.data.synth.voice import VOICE_RATE, Voice, envelope, speak
from mien.data.synth.words import say, written
from mien.schema import EMOTIONS

Floats = npt.NDArray[np.float64]

FPS = 25
NOISE = {"text": 0.12, "audio": 0.2, "vision": 0.3, "motion": 0.32}
"""Standard deviation of each modality's own noise, on signals in [0, 1]: text tells most, then voice, then the face."""


def draw_signals(labels: Labels, seed: int) -> dict[str, Floats]:
    """What each modality shows of the labels' causes: ``(N, E)`` in [0, 1] by modality name.

    A signal is the square root of the expected share (which spreads out the small shares) plus the modality's noise.
    """
    shown = np.sqrt(labels.intensities)
    signals = {}
    for number, (name, noise) in enumerate(NOISE.items()):
        rng = np.random.default_rng([seed, 0x516, number])
        signals[name] = np.clip(shown + rng.normal(0, noise, shown.shape), 0, 1)
    return signals


@dataclass(frozen=True)
class ClipSpec:
    """All that is needed to film one clip, as plain data.

    Attributes:
        id: the clip's name.
        path: file to write.
        corpus_seed, number, participant: what its random numbers are seeded with.
        signals: by modality name, six strengths.
    """

    id: str
    path: Path
    corpus_seed: int
    number: int
    participant: int
    signals: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Script:
    """A clip before it is drawn: words, voice, ``(N,)`` sound at ``VOICE_RATE`` and ``(T, A)`` actions at ``FPS``."""

    person: Identity
    clauses: tuple[str, ...]
    voice: Voice
    sound: npt.NDArray[np.float32]
    actions: Floats


@dataclass(frozen=True, eq=False)
class Plan:
    """A corpus before it is filmed."""

    labels: Labels
    signals: dict[str, Floats]
    clips: tuple[ClipSpec, ...]


def plan_media(out: Path, clips: int = 400, seed: int = 0, test_clips: int = 0) -> Plan:
    """Decide everything about a corpus in ``out``; nothing is written yet.

    The clips come sorted by participant, so that each person is painted once or twice only.
    """
    labels = draw_labels(clips, seed, test_clips)
    signals = draw_signals(labels, seed)
    specs = [
        ClipSpec(
            id=name,
            path=out / ("test_data/raw" if labels.split[row] == "test" else "raw") / f"{name}.mp4",
            corpus_seed=seed,
            number=row,
            participant=int(labels.participants[row]),
            signals={modality: tuple(values[row].tolist()) for modality, values in signals.items()},
        )
        for row, name in enumerate(labels.ids)
    ]
    return Plan(labels, signals, tuple(sorted(specs, key=lambda spec: (spec.participant, spec.number))))


def write_script(spec: ClipSpec) -> Script:
    """Words, voice and acting of a clip."""
    own = np.random.default_rng([spec.corpus_seed, 0x9E0, spec.participant])
    person, own_voice = draw_identity(own), voice_of(own)
    rng = np.random.default_rng([spec.corpus_seed, 0xC11, spec.number])
    signals = {name: np.array(values) for name, values in spec.signals.items()}
    clauses = say(signals["text"], rng)
    voice = emotional_voice(own_voice, signals["audio"])
    sound = _in_a_room(speak(clauses, voice), rng)
    frames = round(len(sound) / VOICE_RATE * FPS)
    actions = act(signals["vision"], signals["motion"], envelope(sound, VOICE_RATE, FPS, frames), FPS, rng)
    return Script(person, clauses, voice, sound, actions)


def _in_a_room(spoken: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The voice with some silence around it and the hiss of a cheap microphone."""
    before, after = (round(rng.uniform(0.3, 0.8) * VOICE_RATE) for _ in range(2))
    sound = np.pad(spoken, (before, after))
    return np.clip(sound + rng.normal(0, 0.0015, len(sound)), -1, 1).astype(np.float32)


def film_clip(spec: ClipSpec) -> str:
    """Film one clip; returns its id."""
    cv2.setNumThreads(1)  # processes are the unit of parallel work
    script = write_script(spec)
    write_film(spec.path, draw_frames(script.person, script.actions), script.sound, VOICE_RATE, Fraction(FPS))
    return spec.id


def write_plan(plan: Plan, out: Path) -> None:
    """Write what is known before filming: the challenge's label files, participants, and ``signals.parquet``.

    ``signals.parquet`` has one row per clip: ``id``, ``words`` (what is said), the expected shares as
    ``intensity/<emotion>`` and the planted signals as ``<modality>/<emotion>``.
    """
    write_challenge(plan.labels, out)
    columns: dict[str, pa.Array] = {"id": pa.array(plan.labels.ids)}
    columns["words"] = pa.array([spoken_words(spec) for spec in sorted(plan.clips, key=lambda spec: spec.number)])
    for name, values in {"intensity": plan.labels.intensities, **plan.signals}.items():
        columns |= {f"{name}/{emotion}": pa.array(values[:, which]) for which, emotion in enumerate(EMOTIONS)}
    with atomic_file(out / "signals.parquet") as part:
        pq.write_table(pa.table(columns), part)


def spoken_words(spec: ClipSpec) -> str:
    """What is said in a clip, without saying it."""
    rng = np.random.default_rng([spec.corpus_seed, 0xC11, spec.number])
    return written(say(np.array(spec.signals["text"]), rng))


Run = Callable[[Callable[[ClipSpec], str], Sequence[ClipSpec]], Iterable[str]]


def make_media(out: Path, clips: int = 400, seed: int = 0, test_clips: int = 0, run: Run = map) -> Plan:
    """Make a corpus in the challenge's layout: label files and ``raw/{id}.mp4``.

    Args:
        out: folder to fill.
        clips: labelled clips, shared out between training and validation like the real ones.
        seed: of all random numbers; the same seed gives the same labels and signals.
        test_clips: clips in ``test_data/raw`` whose labels stand in ``test_answers.csv``.
        run: how to film the planned clips; ``map`` films one after another, here.
    """
    plan = plan_media(out, clips, seed, test_clips)
    write_plan(plan, out)
    for _ in run(film_clip, plan.clips):
        pass
    return plan
