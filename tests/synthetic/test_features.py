"""The features hide their signal where they say, are the same whoever makes them, and leak nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from mien.schema import ClipFeatures
from mien.synthetic.features import FeatureGenerator, FeaturePlan, draw_clips, generate
from mien.synthetic.labels import draw_labels

PLAN = FeaturePlan(
    widths={"text": 48, "audio": 48, "vision": 48, "motion": 23},
    rates={"audio": 20.0, "vision": 4.0, "motion": 10.0},
    longest_seconds=60.0,
    no_text=0.05,
    no_sound=0.05,
    no_face=0.1,
)
CLIPS = 1500


@pytest.fixture(scope="module")
def generator() -> FeatureGenerator:
    labels = draw_labels(CLIPS)
    return FeatureGenerator(labels, PLAN, draw_clips(labels, PLAN))


@pytest.fixture(scope="module")
def made(generator) -> list[ClipFeatures]:
    return list(generate(generator, range(CLIPS)))


def bytes_of(clip: ClipFeatures) -> list[bytes]:
    return [b"" if f.values is None else f.values.tobytes() for f in clip.features]


def moment_of(generator: FeatureGenerator, row: int, name: str, steps: int) -> slice:
    rate = PLAN.rates.get(name)
    length = min(steps, max(1, round(PLAN.moment_seconds * rate))) if rate else 1
    first = round(float(generator.drawn.place[row]) * (steps - length))
    return slice(first, first + length)


def test_features_do_not_depend_on_threads_or_on_which_clips_are_asked_for(generator, made):
    rows = [7, 3, 400]
    for workers in (1, 3):
        again = list(generate(generator, rows, workers))
        assert [clip.clip for clip in again] == [generator.labels.ids[row] for row in rows]
        assert [bytes_of(clip) for clip in again] == [bytes_of(made[row]) for row in rows]


def test_the_same_seed_draws_the_same_and_another_seed_does_not(generator):
    again = draw_clips(generator.labels, PLAN)
    other = draw_clips(generator.labels, replace(PLAN, seed=1))
    assert again.signals.tobytes() == generator.drawn.signals.tobytes()
    assert again.guesses.tobytes() == generator.drawn.guesses.tobytes()
    assert np.abs(other.signals - generator.drawn.signals).mean() > 0.5


def test_a_change_of_the_plan_or_the_labels_changes_the_keys(generator):
    louder = FeatureGenerator(generator.labels, replace(PLAN, noise=0.2), generator.drawn)
    others = FeatureGenerator(draw_labels(CLIPS, seed=1), PLAN, generator.drawn)
    keys = {one.keys(0)["audio"] for one in (generator, louder, others)}
    assert len(keys) == 3
    assert generator.keys(0) == FeatureGenerator(generator.labels, PLAN, generator.drawn).keys(0)


def test_features_look_like_those_of_an_extraction(generator, made):
    for row, clip in enumerate(made):
        assert [f.modality for f in clip.features] == ["text", "audio", "vision", "motion"]
        for f in clip.features:
            assert f.provenance == "synth-features@1 seed=0"
            if f.values is None:
                assert f.status == "absent"
                continue
            steps = max(1, int(clip.seconds * PLAN.rates[f.modality])) if f.modality in PLAN.rates else 1
            assert f.values.shape == (steps, PLAN.widths[f.modality])
            assert (f.values.dtype, f.seconds.dtype) == (np.float16, np.float32)
            assert f.seconds.shape == (steps,)
            assert f.seconds[-1] < max(clip.seconds, 1.0)
            assert np.isfinite(f.values).all(), row


def test_what_is_missing_is_missing_for_a_reason_and_at_the_rate_asked_for(made):
    reasons = {name: [] for name in ("text", "audio", "vision", "motion")}
    for clip in made:
        for f in clip.features:
            if f.status == "absent":
                reasons[f.modality].append(f.reason)
    # standard error of a rate of .1 over 1,500 clips: .008
    assert len(reasons["audio"]) / CLIPS == pytest.approx(0.05, abs=0.02)
    assert len(reasons["text"]) / CLIPS == pytest.approx(1 - 0.95 * 0.95, abs=0.03)
    assert len(reasons["vision"]) / CLIPS == pytest.approx(0.1, abs=0.03)
    assert set(reasons["audio"]) == {"no sound track"}
    assert set(reasons["text"]) == {"no sound track", "empty transcript"}
    assert all(reason.startswith("no face in ") for reason in reasons["motion"])
    silent = {clip.clip for clip in made if clip.features[1].status == "absent"}
    assert all(clip.features[0].status == "absent" for clip in made if clip.clip in silent)


def test_durations_are_as_published():
    seconds = draw_clips(draw_labels(12_660), FeaturePlan()).seconds
    assert seconds.mean() == pytest.approx(6.92, abs=0.1)  # standard error .03
    assert np.quantile(seconds, 0.95) == pytest.approx(11.48, abs=0.25)  # standard error .06
    assert (seconds.min(), seconds.max()) == (0.064, 1249.92)
    assert np.sort(seconds)[-2] < 60, "one clip is far longer than all others"


@pytest.mark.parametrize("name", ["text", "audio", "vision", "motion"])
def test_the_moment_read_along_its_directions_gives_the_guess(name, generator, made):
    column = generator.drawn.model.modalities.index(name)
    scale = PLAN.widths[name] ** 0.5 / PLAN.offset
    errors, wanted = [], []
    for row, clip in enumerate(made):
        values = clip.features[column].values
        if values is not None:
            moment = moment_of(generator, row, name, len(values))
            read = values[moment].astype(np.float32).mean(0) / scale @ generator.directions[column].guess.T
            errors.append(read - generator.drawn.guesses[row, column])
            wanted.append((PLAN.noise if name in PLAN.rates else PLAN.still_noise) ** 2 / (moment.stop - moment.start))
    made_, stated = np.square(errors).mean(), np.mean(wanted)
    assert made_ == pytest.approx(stated, rel=0.1)  # float16 adds a little
    assert made_ < 0.006, "under 0.6 % of a guess' variance is lost"


@pytest.mark.parametrize("name", ["audio", "vision", "motion"])
def test_a_pooling_that_follows_the_mark_keeps_the_guess_and_the_mean_drowns_it(name, generator, made):
    column = generator.drawn.model.modalities.index(name)
    place, scale = generator.directions[column], PLAN.widths[name] ** 0.5 / PLAN.offset
    kept, mean, guesses = [], [], []
    for row, clip in enumerate(made):
        values = clip.features[column].values
        if values is not None:
            steps = values.astype(np.float32) / scale
            scores = 3 * steps @ place.mark[0]
            weights = np.exp(scores - scores.max())
            kept.append(weights / weights.sum() @ steps @ place.guess.T)
            mean.append(steps.mean(0) @ place.guess.T)
            guesses.append(generator.drawn.guesses[row, column])
    correlations = [
        np.mean([np.corrcoef(np.array(read)[:, e], np.array(guesses)[:, e])[0, 1] for e in range(6)])
        for read in (kept, mean)
    ]
    assert correlations[0] > 0.98
    assert correlations[1] < 0.75


def test_a_seed_looks_the_same_within_a_split_and_not_across(generator, made):
    # otherwise a model could learn a seed's mean label from the training clips and recognise it in validation
    labels, place = generator.labels, generator.directions[0]
    scale = PLAN.widths["text"] ** 0.5 / PLAN.offset
    looks = {row: clip.features[0].values[0].astype(np.float32) / scale @ place.seed.T
             for row, clip in enumerate(made) if clip.features[0].values is not None}  # fmt: skip
    within, across = [], []
    for one in looks:
        for two in looks:
            if one < two and labels.seeds[one] == labels.seeds[two]:
                (within if labels.split[one] == labels.split[two] else across).append((looks[one], looks[two]))
    same, other = (np.corrcoef(*np.array(pairs).transpose(1, 0, 2).reshape(2, -1))[0, 1] for pairs in (within, across))
    assert same > 0.95
    assert abs(other) < 0.2


def test_a_width_too_small_for_the_signal_is_refused(generator):
    with pytest.raises(ValueError, match="a feature width of 8, but the signal and its nuisance need at least 12"):
        FeatureGenerator(generator.labels, replace(PLAN, widths={**PLAN.widths, "audio": 8}), generator.drawn)
