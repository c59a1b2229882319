"""The stand-in corpus as backbone outputs: ``ClipFeatures`` with a signal hidden in every sequence.

A modality's signal (``signals.py``) is present only during one moment of the clip, at an unknown position; the rest
of the sequence is filled with segments of the same kind without meaning, and only a mark separates them. Step t is

    x_t = scale · ( offset + [t in the moment] (G g + mark m) + [else] background G g'_j(t)
                    + nuisance (P p + Q q) + noise e_t )

with orthonormal directions, fixed by the seed: G (F, E) for the modality's best guesses g = E[label | s], brought to
variance 1; m the mark; P and Q (F, 2) for the participant's p and the seed video's q. g'_j, the j-th other segment of
the moment's length, are the guesses of another clip; e_t is standard normal. A pooling that finds the moment by its
mark recovers g with the error variance noise² / steps of the moment; the mean over the whole clip loses it.

A seed's nuisance is drawn separately for each split: otherwise a model could recognise a seed of the training clips and
predict its mean label, which is in no signal. Participants are never in two splits.

The trade-off: Gaussian noise on fixed directions, unlike real backbones, so that the ceiling is known exactly and can
be learnt from as few clips as the real set has.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions, ``T`` steps, ``F`` feature width, ``J`` segments.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from mien.schema import EMOTIONS, ClipFeatures, Feature
from mien.storage.files import key_of
from mien.synthetic.expected import best_guesses, signal_model
from mien.synthetic.labels import Labels
from mien.synthetic.signals import BLUNT, CEILINGS, SignalModel

Floats = npt.NDArray[np.float32]

VERSION = 1
SHORTEST_SECONDS, LONGEST_SECONDS, MEAN_SECONDS = 0.064, 1249.92, 6.92
NUISANCE_RANK = 2
STEPS_AT_ONCE = 256


@dataclass(frozen=True)
class FeaturePlan:
    """Parameters of the features; the defaults are the published figures where there are any.

    Attributes:
        seed: of all random numbers except the labels'.
        widths: feature width F by modality.
        rates: steps per second of the modalities that are sequences; one without a rate is a single step.
        mean_seconds: mean duration of the clips.
        longest_seconds: duration of the one extremely long clip; ``None`` for none.
        no_text, no_sound, no_face: shares of clips without text, without text and audio, without vision and motion.
        ceilings: best possible Pearson r per emotion, by modality, over all clips, including those without it.
        overlap: in [0, 1], the share of noise common to the modalities (``signals.py``).
        blunt: modalities with a single number as their signal.
        moment_seconds: duration of the signal.
        background: strength of the other segments, as a share of the signal.
        mark, offset: length of these vectors; a guess has the standard deviation 1.
        nuisance: standard deviation along each direction of participants and seeds.
        noise, still_noise: standard deviation of every value of a sequence, and of a single step.

    Raises:
        ValueError: a share is outside [0, 1], or a modality has not one ceiling in [-1, 1] for each emotion.
    """

    seed: int = 0
    widths: Mapping[str, int] = field(default_factory=lambda: {"text": 768, "audio": 1024, "vision": 768, "motion": 23})
    rates: Mapping[str, float] = field(default_factory=lambda: {"audio": 50.0, "vision": 4.0, "motion": 10.0})
    mean_seconds: float = MEAN_SECONDS
    longest_seconds: float | None = LONGEST_SECONDS
    no_text: float = 0.014
    no_sound: float = 0.005
    no_face: float = 0.02
    ceilings: Mapping[str, Sequence[float]] = field(default_factory=lambda: dict(CEILINGS))
    overlap: float = 0.55
    blunt: tuple[str, ...] = BLUNT
    moment_seconds: float = 1.2
    background: float = 0.5
    mark: float = 3.0
    offset: float = 6.0
    nuisance: float = 0.4
    noise: float = 0.15
    still_noise: float = 0.05

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("no_text", "no_sound", "no_face", "overlap"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name} = {share}, but it is a share in [0, 1]")
        for name, row in self.ceilings.items():
            if len(row) != len(EMOTIONS) or not all(-1 <= r <= 1 for r in row):
                raise ValueError(f"ceilings.{name} = {list(row)}, but it is {len(EMOTIONS)} values of r in [-1, 1]")

    def presence(self, modality: str) -> float:
        """The share of clips in which a modality is available."""
        sound = 1 - self.no_sound
        return {"text": sound * (1 - self.no_text), "audio": sound}.get(modality, 1 - self.no_face)


@dataclass(frozen=True, eq=False)
class DrawnClips:
    """Everything drawn for all clips before their features.

    Attributes:
        model: the joint distribution of the signals.
        seconds: ``(N,)`` durations.
        place: ``(N,)`` position of the moment in the clip, from 0 (start) to 1 (end).
        signals: ``(N, M, E)``.
        guesses: ``(N, M, E)`` the best prediction from each modality alone, standardised.
        present: ``(N, M)`` whether the modality is available.
        silent: ``(N,)`` whether the clip has no audio.
    """

    model: SignalModel
    seconds: npt.NDArray[np.float64]
    place: npt.NDArray[np.float64]
    signals: npt.NDArray[np.float64]
    guesses: Floats
    present: npt.NDArray[np.bool_]
    silent: npt.NDArray[np.bool_]


def draw_clips(labels: Labels, plan: FeaturePlan) -> DrawnClips:
    """Draw durations, signals, moments and missing modalities: the same arguments give the same bytes.

    Raises:
        ValueError: a ceiling of the plan cannot be reached, or its overlap is not in [0, 1].
    """
    among_present = {name: tuple(r / plan.presence(name) ** 0.5 for r in row) for name, row in plan.ceilings.items()}
    model = signal_model(among_present, plan.overlap, plan.blunt)
    rng = np.random.default_rng([plan.seed, 0xD4A1])
    clips = len(labels.ids)
    silent, wordless, faceless = (rng.random(clips) < rate for rate in (plan.no_sound, plan.no_text, plan.no_face))
    absent = {"text": silent | wordless, "audio": silent, "vision": faceless, "motion": faceless}
    signals = model.draw(labels.latents, rng)
    return DrawnClips(
        model=model,
        seconds=_durations(clips, plan, rng),
        place=rng.random(clips),
        signals=signals,
        guesses=best_guesses(model, signals),
        present=~np.stack([absent[name] for name in model.modalities], axis=1),
        silent=silent,
    )


def _durations(clips: int, plan: FeaturePlan, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A gamma distribution with a tail of clips under 1.2 s (3.4 %), one shortest clip and one extremely long one."""
    seconds = rng.gamma(8.0, 7.04 / 8.0, clips)
    short = rng.random(clips) < 0.034
    seconds[short] = rng.uniform(SHORTEST_SECONDS, 1.2, int(short.sum()))
    seconds = np.maximum(seconds * plan.mean_seconds / MEAN_SECONDS, SHORTEST_SECONDS)
    shortest, longest = rng.permutation(clips)[:2]
    seconds[shortest] = SHORTEST_SECONDS
    if plan.longest_seconds is not None:
        seconds[longest] = plan.longest_seconds
    return seconds


class Directions:
    """Orthonormal directions ``(·, F)`` of one modality's feature space."""

    def __init__(self, width: int, emotions: int, rng: np.random.Generator) -> None:
        """Draw the directions for the feature width F = ``width``."""
        sizes = np.cumsum([emotions, 1, 1, NUISANCE_RANK, NUISANCE_RANK])
        if width < sizes[-1]:
            raise ValueError(f"a feature width of {width}, but the signal and its nuisance need at least {sizes[-1]}")
        basis, _ = np.linalg.qr(rng.standard_normal((width, int(sizes[-1]))))
        parts = np.split(basis.T.astype(np.float32), sizes[:-1])
        self.guess, self.mark, self.offset, self.person, self.seed = parts


class FeatureGenerator:
    """Makes the features of one clip at a time; holds what the clips have in common."""

    def __init__(self, labels: Labels, plan: FeaturePlan, drawn: DrawnClips) -> None:
        """Draw the directions and the nuisance of every participant and seed.

        Raises:
            ValueError: a feature width is too small for the signal and its nuisance.
        """
        self.labels, self.plan, self.drawn = labels, plan, drawn
        rng = np.random.default_rng([plan.seed, 0x57D10])
        emotions = labels.shares.shape[1]
        self.directions = [Directions(plan.widths[name], emotions, rng) for name in drawn.model.modalities]
        size = (len(self.directions), NUISANCE_RANK)
        people, seeds = int(labels.participants.max()) + 1, int(labels.seeds.max()) + 1
        self.people = rng.standard_normal((people, *size), np.float32)
        self.seeds = {split: rng.standard_normal((seeds, *size), np.float32) for split in ("train", "valid", "test")}
        self.provenance = f"synth-features@{VERSION} seed={plan.seed}"
        self.key = key_of(self.provenance, asdict(plan), hashlib.sha256(labels.latents.tobytes()).hexdigest())

    def clip(self, row: int) -> ClipFeatures:
        """The features of one clip."""
        features = tuple(self.feature(row, column) for column in range(len(self.directions)))
        return ClipFeatures(self.labels.ids[row], float(self.drawn.seconds[row]), features)

    def keys(self, row: int) -> dict[str, str]:
        """The content key of one clip's features, by modality."""
        return {name: key_of(self.key, self.labels.ids[row], name) for name in self.drawn.model.modalities}

    def feature(self, row: int, column: int) -> Feature:
        """The features of one clip in the modality of the given column."""
        name = self.drawn.model.modalities[column]
        key = self.keys(row)[name]
        if not self.drawn.present[row, column]:
            return Feature(name, key, self.provenance, status="absent", reason=self._reason(row, name))
        rng = np.random.Generator(np.random.SFC64([self.plan.seed, 0xC11B, column, row]))
        rate = self.plan.rates.get(name)
        steps = max(1, int(self.drawn.seconds[row] * rate)) if rate else 1
        moment = min(steps, max(1, round(self.plan.moment_seconds * rate))) if rate else 1
        first = round(float(self.drawn.place[row]) * (steps - moment))
        segment = (np.arange(steps) - first) // moment
        levels = self._levels(row, column, -int(segment[0]), int(segment[-1]), rng)
        noise = self.plan.noise if rate else self.plan.still_noise
        values = self._add_noise(levels, segment - segment[0], noise, rng)
        return Feature(name, key, self.provenance, values, np.arange(steps, dtype=np.float32) / np.float32(rate or 1))

    def _levels(self, row: int, column: int, before: int, after: int, rng: np.random.Generator) -> Floats:
        """``(J, F)`` mean of the steps of each segment; the moment is the segment at ``before``."""
        plan, labels, place = self.plan, self.labels, self.directions[column]
        others = rng.integers(0, len(labels.ids), before + 1 + after)
        guesses = self.drawn.guesses[others, column] * np.float32(plan.background)
        guesses[before] = self.drawn.guesses[row, column]
        levels = guesses @ place.guess
        levels[before] += np.float32(plan.mark) * place.mark[0]
        person = self.people[labels.participants[row], column] @ place.person
        seed = self.seeds[str(labels.split[row])][labels.seeds[row], column] @ place.seed
        levels += np.float32(plan.offset) * place.offset + np.float32(plan.nuisance) * (person + seed)
        return levels

    def _add_noise(
        self, levels: Floats, segment: npt.NDArray[np.int64], noise: float, rng: np.random.Generator
    ) -> npt.NDArray[np.float16]:
        """``(T, F)`` the level of every step's segment plus independent noise, scaled to values of about 1."""
        width = levels.shape[1]
        scale = np.float32(width**0.5 / self.plan.offset)
        levels = levels * scale
        values = np.empty((len(segment), width), np.float16)
        buffer = np.empty((min(len(segment), STEPS_AT_ONCE), width), np.float32)
        for begin in range(0, len(segment), STEPS_AT_ONCE):
            part = segment[begin : begin + STEPS_AT_ONCE]
            drawn = rng.standard_normal(dtype=np.float32, out=buffer[: len(part)])
            drawn *= noise * scale
            drawn += levels[part]
            values[begin : begin + STEPS_AT_ONCE] = drawn
        return values

    def _reason(self, row: int, name: str) -> str:
        if name in ("text", "audio"):
            return "no sound track" if self.drawn.silent[row] else "empty transcript"
        frames = max(1, int(self.drawn.seconds[row] * self.plan.rates.get(name, 1.0)))
        return f"no face in {frames} frames"


def generate(studio: FeatureGenerator, rows: Iterable[int], workers: int = 2) -> Iterator[ClipFeatures]:
    """The features of the clips ``rows``, in that order, by several threads.

    A clip's features depend on the labels, the plan and the clip, not on the other rows or the number of threads.
    """
    ahead: deque[Future[ClipFeatures]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for row in rows:
            ahead.append(pool.submit(studio.clip, row))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
