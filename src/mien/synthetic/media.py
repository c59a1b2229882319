"""The stand-in corpus as video files: a synthetic person per participant who speaks and moves their face.

In order: draw labels → give each modality its own noisy view of them (``draw_signals``) → plan the clips → render each
(``render_clip``: words, voice, acting, drawing, one mp4). A plan is plain data: clips can be rendered in any order and
by any number of processes, with the same result.

The trade-off: the signals are planted, so that every part of the pipeline can be tested end to end on files that anyone
may have; they are no evidence of how people express emotions.

Shapes: ``N`` clips, ``E`` six emotions, ``T`` frames, ``A`` actions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import DataError
from mien.media.encode import Codec, Video, write_video
from mien.schema import EMOTIONS
from mien.storage.files import atomic_file, read_json
from mien.synthetic.acting import act, emotional_voice, own_voice
from mien.synthetic.dirt import (
    FAULTS,
    LONG_FAULT,
    PROVIDED_FAULTS,
    choose_faults,
    corrupt_audio,
    corrupt_provided,
    corrupt_video,
)
from mien.synthetic.drawing import draw_frames, face_box, head_of
from mien.synthetic.identity import Identity, draw_identity
from mien.synthetic.labels import CORPUS, Labels, claim_folder, draw_labels, write_challenge, write_table
from mien.synthetic.provided import save_face_crops, write_mp3
from mien.synthetic.voice import VOICE_RATE, Voice, envelope, speak
from mien.synthetic.words import as_sentences, choose_clauses

Floats = npt.NDArray[np.float64]

VERSION = 3
"""Raised when the same settings give other files."""

FPS = 25
NOISE = {"text": 0.18, "audio": 0.28, "vision": 0.24, "motion": 0.36}
"""Standard deviation of each modality's own noise, on signals in [0, 1]."""


@dataclass(frozen=True)
class Settings:
    """Settings of a corpus; the same settings give the same labels and signals.

    Attributes:
        clips: labelled clips, divided into training and validation like the real ones.
        seed: of all random numbers.
        test_clips: clips in ``test_data/raw`` with labels in ``test_answers.csv``.
        dirt: share of the clips that get a fault; ``spoiled.csv`` lists them.
        provided: whether to write face images and mp3 files too, as the real data have.
    """

    clips: int = 400
    seed: int = 0
    test_clips: int = 0
    dirt: float = 0.0
    provided: bool = False


@dataclass(frozen=True)
class ClipSpec:
    """All that is needed to render one clip, as plain data.

    Attributes:
        id: the clip's name.
        home: folder that holds ``raw/``.
        seed, number, participant: seeds of its random numbers.
        signals: by modality name, six strengths.
        fault: one of ``FAULTS``; empty for a clean clip.
        provided: whether face images and an mp3 file are written too.
    """

    id: str
    home: Path
    seed: int
    number: int
    participant: int
    signals: dict[str, tuple[float, ...]]
    fault: str = ""
    provided: bool = False

    @property
    def path(self) -> Path:
        """The video file."""
        return self.home / "raw" / f"{self.id}.mp4"

    def generator(self) -> np.random.Generator:
        """The clip's own random numbers, from their beginning; its words are drawn first."""
        return np.random.default_rng([self.seed, 0xC11, self.number])


@dataclass(frozen=True)
class Script:
    """A clip before it is drawn: words, voice, ``(N,)`` waveform at ``VOICE_RATE``, ``(T, A)`` actions at ``FPS``."""

    person: Identity
    codec: Codec
    clauses: tuple[str, ...]
    voice: Voice
    waveform: npt.NDArray[np.float32]
    actions: npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Plan:
    """A corpus before it is rendered; ``clips`` are sorted by participant, so that each person is painted only once."""

    settings: Settings
    labels: Labels
    signals: dict[str, Floats]
    clips: tuple[ClipSpec, ...]

    def missing(self) -> list[ClipSpec]:
        """Clips that have not been rendered yet."""
        return [clip for clip in self.clips if not clip.path.exists()]


def draw_signals(labels: Labels, seed: int) -> dict[str, Floats]:
    """Each modality's noisy view of the expected labels: ``(N, E)`` in [0, 1] by modality name.

    A signal is the square root of the expected share (which spreads small shares) plus the modality's noise.
    """
    shown = np.sqrt(labels.intensities)
    signals = {}
    for number, (name, noise) in enumerate(NOISE.items()):
        rng = np.random.default_rng([seed, 0x516, number])
        signals[name] = np.clip(shown + rng.normal(0, noise, shown.shape), 0, 1)
    return signals


def plan_media(
    out: Path, clips: int = 400, seed: int = 0, test_clips: int = 0, dirt: float = 0.0, provided: bool = False
) -> Plan:
    """Plan a corpus in ``out`` without writing anything. The arguments are those of ``Settings``."""
    settings = Settings(clips, seed, test_clips, dirt, provided)
    labels = draw_labels(settings.clips, settings.seed, settings.test_clips)
    signals = draw_signals(labels, settings.seed)
    rng = np.random.default_rng([settings.seed, 0xD127])
    faults = choose_faults(len(labels), settings.dirt, settings.provided, rng)
    specs = [
        ClipSpec(
            id=name,
            home=out / "test_data" if labels.split[row] == "test" else out,
            seed=settings.seed,
            number=row,
            participant=int(labels.participants[row]),
            signals={modality: tuple(values[row].tolist()) for modality, values in signals.items()},
            fault=faults.get(row, ""),
            provided=settings.provided,
        )
        for row, name in enumerate(labels.ids)
    ]
    by_participant = tuple(sorted(specs, key=lambda clip: (clip.participant, clip.number)))
    return Plan(settings, labels, signals, by_participant)


def write_plan(plan: Plan, out: Path) -> None:
    """Write everything but the clips: label files, participants, ``signals.parquet``, faults and ``corpus.json``.

    ``signals.parquet`` has one row per clip: ``id``, ``words`` (what is said), the expected shares as
    ``intensity/<emotion>`` and the planted signals as ``<modality>/<emotion>``.

    Raises:
        DataError: the folder already holds a corpus with other settings.
    """
    claim_folder(out, {"version": VERSION, **asdict(plan.settings)})
    write_challenge(plan.labels, out)
    clips = sorted(plan.clips, key=lambda clip: clip.number)
    if plan.settings.dirt:
        meanings = {**FAULTS, **PROVIDED_FAULTS, **LONG_FAULT}
        rows = [[clip.id, clip.fault, meanings[clip.fault]] for clip in clips if clip.fault]
        write_table(out / "spoiled.csv", ("Filename", "Fault", "Meaning"), rows)
    columns = {"id": pa.array(plan.labels.ids), "words": pa.array([spoken_words(clip) for clip in clips])}
    for name, values in {"intensity": plan.labels.intensities, **plan.signals}.items():
        columns |= {f"{name}/{emotion}": pa.array(values[:, which]) for which, emotion in enumerate(EMOTIONS)}
    with atomic_file(out / "signals.parquet") as part, part.open("wb") as file:
        pq.write_table(pa.table(columns), file)


def read_plan(out: Path) -> Plan:
    """The plan of the media corpus in ``out``.

    Raises:
        DataError: the folder holds no media corpus, or one of another version, with other videos than planned here.
    """
    made_of: dict[str, Any] = read_json(out / CORPUS) if (out / CORPUS).is_file() else {}
    if not made_of or "mode" in made_of:
        raise DataError(f"{out}: no videos of a stand-in corpus; make them with: mien synth OUT")
    if made_of.pop("version", None) != VERSION:
        raise DataError(f"{out}: rendered by another version of mien; make it again in another folder")
    return plan_media(out, **made_of)


def spoken_words(clip: ClipSpec) -> str:
    """The words spoken in a clip, without speaking them."""
    return as_sentences(choose_clauses(np.array(clip.signals["text"]), clip.generator()))


def write_script(clip: ClipSpec) -> Script:
    """Words, voice and acting of a clip."""
    own = np.random.default_rng([clip.seed, 0x9E0, clip.participant])
    person = draw_identity(own)
    voice = emotional_voice(own_voice(person.male, own), np.array(clip.signals["audio"]))
    rng = clip.generator()
    clauses = choose_clauses(np.array(clip.signals["text"]), rng)
    waveform = _add_room_noise(speak(clauses, voice), rng)
    waveform, has_speech = corrupt_audio(waveform, clip.fault, rng)
    frames = max(1, round(len(waveform) / VOICE_RATE * FPS))
    loudness = envelope(waveform, VOICE_RATE, FPS, frames) if has_speech else np.zeros(frames, np.float32)
    actions = act(np.array(clip.signals["vision"]), np.array(clip.signals["motion"]), loudness, FPS, rng)
    return Script(person, "mpeg4" if clip.participant % 5 == 4 else "h264", clauses, voice, waveform, actions)


def _add_room_noise(speech: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Pad the speech with some silence and add the hiss of a cheap microphone."""
    before, after = (round(rng.uniform(0.3, 0.8) * VOICE_RATE) for _ in range(2))
    waveform = np.pad(speech, (before, after))
    return np.clip(waveform + rng.normal(0, 0.0015, len(waveform)), -1, 1).astype(np.float32)


def render_clip(clip: ClipSpec) -> str:
    """Render one clip, with its fault if it has one; returns its id."""
    script = write_script(clip)
    rng = np.random.default_rng([clip.seed, 0xD12, clip.number])
    video = Video(draw_frames(script.person, script.actions), script.waveform, VOICE_RATE)
    video = corrupt_video(video, clip.fault, head_of(script.person).background, rng)
    if clip.provided:
        faces = save_face_crops(video.frames, clip.home / "face_images" / clip.id, face_box(script.person))
        video = Video(faces, video.waveform, video.sample_rate, video.fps, video.times)
        write_mp3(clip.home / "audio" / f"{clip.id}.mp3", script.waveform, VOICE_RATE)
    write_video(clip.path, video, script.codec)
    if clip.provided:
        corrupt_provided(clip.home, clip.id, clip.fault)
    return clip.id


@dataclass(frozen=True)
class ClipRenderer:
    """Gives each worker process the function that renders a clip."""

    def __call__(self) -> Callable[[ClipSpec], str]:
        """Limit OpenCV to one thread, since processes are the unit of parallel work here."""
        cv2.setNumThreads(1)
        return render_clip


Run = Callable[[Callable[[ClipSpec], str], Sequence[ClipSpec]], Iterable[str]]


def make_media(
    out: Path, clips: int = 400, seed: int = 0, test_clips: int = 0, dirt: float = 0.0, provided: bool = False,
    run: Run = map,
) -> Plan:  # fmt: skip
    """Make a corpus in the challenge's layout; the same call continues an interrupted one.

    Args:
        out: folder to fill.
        clips, seed, test_clips, dirt, provided: see ``Settings``.
        run: applies a function to the planned clips; ``map`` renders one after another in this process.

    Raises:
        DataError: the folder already holds a corpus with other settings.
        DependencyMissing: espeakng-loader is not installed.
    """
    plan = plan_media(out, clips, seed, test_clips, dirt, provided)
    write_plan(plan, out)
    for _ in run(ClipRenderer()(), plan.missing()):
        pass
    return plan
