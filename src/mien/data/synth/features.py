"""The stand-in corpus as backbone outputs: ``ClipFeatures`` with a signal hidden in each sequence.

A modality's signal s (``signals.py``) shows only during one moment of the clip, at an unknown place; the rest of
the sequence is filled with moments of the same kind that mean nothing, and only a mark tells them apart. Step t is

    x_t = scale · ( offset + [t in the moment] (S s + mark m) + [else] background S d_j(t) + P p + Q q + noise e_t )

with the signal directions S (F, E), the mark m, the offset and the participant's and the seed's nuisance directions P
and Q all orthonormal and fixed by the seed; d_j, the j-th other stretch as long as the moment, is drawn like s; p
belongs to the participant and q to the seed video; e_t is standard normal. A pooling that finds the moment by its mark
and averages it reads s with the error variance noise² / steps of the moment; averaging the whole clip drowns it.

A seed's nuisance is drawn anew for each split: otherwise a model could recognise a seed of the training clips and
answer with its mean label, which no signal tells. Participants are never in two splits.

The trade-off: linear and Gaussian where real backbones are neither, so that what can be known is known exactly.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions, ``T`` steps, ``F`` feature width.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from mien.artifacts import key_of
from mien.data.synth.labels import Labels
from mien.data.synth.signals import Array, SignalModel
from mien.schema import ClipFeatures, Feature

VERSION = 1
MODALITIES = ("text", "audio", "vision", "motion")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.064, 1249.92


@dataclass(frozen=True)
class FeaturePlan:
    """What the features are like; the defaults are as published.

    Attributes:
        seed: of everything but the labels.
        widths: feature width F by modality, at least 16.
        rates: steps per second of the modalities that are sequences; text is one step.
        mean_seconds: mean duration of the clips.
        longest_seconds: duration of one clip that is far longer than all others; ``None`` for no such clip.
        no_text, no_sound, no_face: shares of clips that miss text, text and audio, vision and motion.
        moment_seconds: how long the signal shows.
        background: how strong the meaningless stretches are, as a share of the signal.
        mark, offset, noise, nuisance: standard deviations or lengths, where the signal's standard deviation is 1.
    """

    seed: int = 0
    widths: Mapping[str, int] = field(
        default_factory=lambda: {"text": 768, "audio": 1024, "vision": 768, "motion": 23}
    )
    rates: Mapping[str, float] = field(default_factory=lambda: {"audio": 50.0, "vision": 4.0, "motion": 10.0})
    mean_seconds: float = 6.92
    longest_seconds: float | None = LONGEST_SECONDS
    no_text: float = 0.014
    no_sound: float = 0.005
    no_face: float = 0.02
    moment_seconds: float = 1.2
    background: float = 0.5
    mark: float = 2.0
    offset: float = 6.0
    noise: float = 0.15
    text_noise: float = 0.05
    nuisance: float = 0.7


NUISANCE_RANK = 3


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn for every clip before its features.

    Attributes:
        seconds: ``(N,)`` durations.
        place: ``(N,)`` where in the clip the moment lies, from 0 (start) to 1 (end).
        signals: ``(N, M, E)``.
        present: ``(N, M)`` whether the clip has the modality.
        reasons: by modality, why it is absent where it is.
    """

    seconds: Array
    place: Array
    signals: Array
    present: npt.NDArray[np.bool_]


def draw_clips(labels: Labels, plan: FeaturePlan, model: SignalModel) -> Drawn:
    """Draw durations, moments, signals and what is missing: the same arguments give the same bytes."""
    rng = np.random.default_rng([plan.seed, 0xFEA7])
    clips = len(labels)
    seconds = _durations(clips, plan, rng)
    place = rng.random(clips)
    signals = model.draw(labels.latents, rng)
    silent, speechless, faceless = (
        rng.random(clips) < rate for rate in (plan.no_sound, plan.no_text, plan.no_face)
    )
    absent = {"text": silent | speechless, "audio": silent, "vision": faceless, "motion": faceless}
    present = ~np.stack([absent[name] for name in model.modalities], axis=1)
    return Drawn(seconds, place, signals, present)


def _durations(clips: int, plan: FeaturePlan, rng: np.random.Generator) -> Array:
    """Gamma durations with a tail of very short clips; one clip is the shortest and one the longest."""
    seconds = rng.gamma(7.4, 6.99 / 7.4, clips)
    short = rng.random(clips) < 0.034
    seconds[short] = rng.uniform(SHORTEST_SECONDS, 1.2, short.sum())
    seconds = np.maximum(seconds * plan.mean_seconds / 6.92, SHORTEST_SECONDS)
    one, other = rng.permutation(clips)[:2]
    seconds[one] = SHORTEST_SECONDS
    if plan.longest_seconds is not None:
        seconds[other] = plan.longest_seconds
    return seconds


@dataclass(frozen=True, eq=False)
class _Space:
    """Where things lie in one modality's feature space: rows of ``directions`` are orthonormal.

    ``signal`` (E, F), ``mark`` (1, F), ``offset`` (1, F), ``person`` and ``seed`` (R, F).
    """

    signal: npt.NDArray[np.float32]
    mark: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    person: npt.NDArray[np.float32]
    seed: npt.NDArray[np.float32]
    scale: float


def _space(name: str, plan: FeaturePlan, emotions: int) -> _Space:
    width = plan.widths[name]
    sizes = np.cumsum([emotions, 1, 1, NUISANCE_RANK])
    wanted = int(sizes[-1]) + NUISANCE_RANK
    if width < wanted:
        raise ValueError(f"widths[{name!r}] = {width}, but the signal and its nuisance need at least {wanted}")
    rng = np.random.default_rng([plan.seed, 0x5BACE, MODALITIES.index(name)])
    basis, _ = np.linalg.qr(rng.standard_normal((width, wanted)))
    parts = np.split(basis.T.astype(np.float32), sizes)
    return _Space(*parts, scale=float(np.sqrt(width) / plan.offset))


def generate(labels: Labels, plan: FeaturePlan, model: SignalModel, workers: int = 2) -> Iterator[ClipFeatures]:
    """The features of every clip, in the order of ``labels``; the same bytes whatever the number of threads.

    Raises:
        ValueError: a width is too small.
    """
    drawn = draw_clips(labels, plan, model)
    spaces = {name: _space(name, plan, labels.shares.shape[1]) for name in model.modalities}
    rng = np.random.default_rng([plan.seed, 0xFACE])
    size = (len(model.modalities), NUISANCE_RANK)
    people = rng.standard_normal((labels.participants.max() + 1, *size)).astype(np.float32)
    shown = {name: rng.standard_normal((labels.seeds.max() + 1, *size)).astype(np.float32)
             for name in ("train", "valid", "test")}
    make = partial(_clip, labels, plan, model.modalities, drawn, spaces, people, shown)
    ahead: deque[Future[ClipFeatures]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for row in range(len(labels)):
            ahead.append(pool.submit(make, row))
            if len(ahead) >= 8 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _clip(labels, plan, names, drawn, spaces, people, shown, row) -> ClipFeatures:
    clip, seconds = labels.ids[row], float(drawn.seconds[row])
    features = []
    for column, name in enumerate(names):
        key = key_of("synth-features", VERSION, plan.seed, clip, name)
        made = f"synth-features@{VERSION} seed={plan.seed}"
        if not drawn.present[row, column]:
            why = {"text": "empty transcript", "audio": "no sound track"}.get(name, "no face in any frame")
            features.append(Feature(name, key, made, status="absent", reason=why))
            continue
        space = spaces[name]
        rng = np.random.Generator(np.random.SFC64([plan.seed, 0xC11B, column, row]))
        rate = plan.rates.get(name)
        steps = 1 if rate is None else max(1, int(seconds * rate))
        moment = 1 if rate is None else min(steps, max(1, round(plan.moment_seconds * rate)))
        first = round(drawn.place[row] * (steps - moment))
        before = -(-first // moment)
        stretch = (np.arange(steps) - first) // moment + before  # (T,)
        levels = rng.standard_normal((stretch[-1] + 1, labels.shares.shape[1]), dtype=np.float32) * plan.background
        levels[before] = drawn.signals[row, column]
        base = levels @ space.signal  # (J, F)
        base[before] += plan.mark * space.mark[0]
        base += plan.offset * space.offset[0]
        base += plan.nuisance * (people[labels.participants[row], column] @ space.person)
        base += plan.nuisance * (shown[str(labels.split[row])][labels.seeds[row], column] @ space.seed)
        values = rng.standard_normal((steps, plan.widths[name]), dtype=np.float32)
        values *= plan.noise if rate else plan.text_noise
        values += base[stretch]
        values *= space.scale
        times = np.arange(steps, dtype=np.float32) / np.float32(rate or 1)
        features.append(Feature(name, key, made, values.astype(np.float16), times))
    return ClipFeatures(clip, seconds, tuple(features))
