import csv

import numpy as np
import pytest

from mien.cli.printing import print_comparisons
from mien.data.manifest import read_manifest
from mien.schema import EMOTIONS
from mien.synthetic.labels import (
    GAINS,
    THRESHOLDS,
    draw_labels,
    intensity,
    normal_scores,
    rate,
    write_challenge,
)
from mien.synthetic.published import Bound, check_labels, compare_published

FULL = 12_660


@pytest.mark.parametrize("seed", [0, 1])
def test_the_full_corpus_has_the_published_statistics(seed):
    labels = draw_labels(FULL, seed)
    rows = compare_published(labels.shares[labels.rows("train")], labels.shares[labels.rows("valid")])
    assert len(rows) == 6 * 3 + 15
    assert [row for row in rows if not row.holds] == []


def test_the_comparison_notices_labels_that_are_not_like_the_published_ones():
    everybody_is_happy = np.tile([0, 0, 0, 0, 0.5, 0.5], (10, 1)) + np.random.default_rng(0).normal(0, 1e-3, (10, 6))
    failed = {row.name for row in compare_published(everybody_is_happy, everybody_is_happy) if not row.holds}
    assert "Joy: training mean" in failed  # .5 where .116 is published
    assert "Admiration: training non-zero" in failed


def test_the_split_has_the_official_sizes_and_a_small_corpus_the_same_proportions():
    labels = draw_labels(FULL)
    assert (len(labels.rows("train")), len(labels.rows("valid"))) == (8072, 4588)
    small = draw_labels(400, test_clips=30)
    assert [len(small.rows(split)) for split in ("train", "valid", "test")] == [
        255,
        145,
        30,
    ]  # 400 * 8072 / 12660 = 255.04


def test_no_participant_is_in_two_splits_and_each_mimics_several_seeds_that_others_mimic_too():
    labels = draw_labels(400, test_clips=50)
    people = [set(labels.participants[labels.rows(split)]) for split in ("train", "valid", "test")]
    assert sum(map(len, people)) == len(set.union(*people)) == labels.participants.max() + 1
    pairs = {*zip(labels.participants.tolist(), labels.seeds.tolist(), strict=True)}
    assert len(pairs) > 2 * max(len(set(labels.participants)), len(set(labels.seeds)))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_challenge(draw_labels(60, seed, test_clips=5), tmp_path / folder)
    files = ["train_split.csv", "valid_split.csv", "test_answers.csv", "participants.csv"]
    a, b, c = ([(tmp_path / folder / name).read_bytes() for name in files] for folder in "abc")
    assert a == b
    assert all(one != other for one, other in zip(a, c, strict=True))


def test_a_label_is_a_share_of_the_clips_raters_and_a_row_sums_to_at_most_one():
    labels = draw_labels(1000)
    votes = labels.shares * labels.raters[:, None]
    assert np.allclose(votes, votes.round(), atol=1e-9)
    assert labels.shares.sum(1).max() <= 1 + 1e-12
    assert (labels.raters.min(), labels.raters.max()) == (5, 12)


def test_a_clip_with_a_single_emotion_one_above_its_threshold_has_the_share_gain_over_one_plus_gain():
    latents = np.full((2, 7), -9.0)
    latents[:, 5] = THRESHOLDS["train"][5] + 1
    latents[1, 6] = 9.0  # … and this one is not about any of the six
    shares = intensity(latents, "train")
    assert shares[0, 5] == pytest.approx(GAINS[5] / (1 + GAINS[5]))  # strength = gain * sqrt(1)
    assert shares[0, :5].tolist() == [0] * 5
    assert shares[1].tolist() == [0] * 6


def test_raters_agree_on_a_clip_that_shows_only_joy_and_none_of_the_six_in_a_clip_that_shows_nothing():
    certain = np.array([[0, 0, 0, 0, 0, 1.0], [0] * 6])
    assert rate(certain, np.array([5, 12]), np.random.default_rng(0)).tolist() == certain.tolist()


def test_normal_scores_keep_the_order_and_have_no_mean():
    values = np.random.default_rng(0).exponential(size=(501, 2))
    scores = normal_scores(values)
    assert np.array_equal(scores.argsort(0), values.argsort(0))
    assert np.abs(scores.mean(0)).max() < 1e-12


def test_the_challenge_files_are_read_back_as_they_were_drawn(tmp_path):
    labels = draw_labels(30, test_clips=4)
    write_challenge(labels, tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest.targets == EMOTIONS
    assert [clip.id for clip in manifest.clips] == list(labels.ids[:30])  # test clips have no rows, and no videos here
    read = np.array([clip.labels for clip in manifest.clips])
    assert np.abs(read - labels.shares[:30]).max() < 1e-6
    assert manifest.clips[0].participant == f"p{labels.participants[0]:04d}"


def test_filenames_have_five_digits_and_participants_are_kept_out_of_the_label_files(tmp_path):
    write_challenge(draw_labels(20), tmp_path)
    with (tmp_path / "valid_split.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Filename", *EMOTIONS]
    assert rows[1][0] == "00013"  # 20 * 8072 / 12660 = 12.8 clips are for training


def test_a_corpus_on_disk_is_compared_with_the_published_figures(tmp_path):
    labels = draw_labels(2000)
    write_challenge(labels, tmp_path)
    made = {row.name: row.found for row in check_labels(tmp_path)}
    assert made["Joy: training mean"] == pytest.approx(labels.shares[labels.rows("train"), 5].mean(), abs=1e-6)


@pytest.mark.parametrize(("clips", "test_clips"), [(1, 0), (10, -1)])
def test_impossible_sizes_are_refused(clips, test_clips):
    with pytest.raises(ValueError, match="expected at least"):
        draw_labels(clips, test_clips=test_clips)


def test_checks_that_need_more_clips_are_not_made(tmp_path, capsys):
    labels = draw_labels(160)  # the size of the demo
    rows = compare_published(labels.shares[labels.rows("train")], labels.shares[labels.rows("valid")])
    assert not any(row.possible for row in rows)
    print_comparisons([*rows, Bound("frames with a face", 0.95, 0.99), Bound("word error rate", 0.25, 0.31, False)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["ok", "frames", "with", "a", "face", "0.950", "0.990", "at", "least"],
        ["--", "word", "error", "rate", "0.250", "0.310", "at", "most"],
        "1 of 2 checks hold".split(),
        "not made: 12 checks that would need 5,000 clips (here 160)".split(),
        "not made: 6 checks that would need 8,000 clips (here 160)".split(),
        "not made: 15 checks that would need 12,000 clips (here 160)".split(),
    ]


@pytest.mark.parametrize(("clips", "made"), [(4999, 0), (5000, 12), (8000, 18), (12_000, 33)])
def test_a_check_is_made_from_the_number_of_clips_that_it_names(clips, made):
    labels = draw_labels(clips)
    rows = compare_published(labels.shares[labels.rows("train")], labels.shares[labels.rows("valid")])
    assert sum(row.possible for row in rows) == made
    assert sum(row.possible and not row.holds for row in rows) <= 1  # one in a hundred fails by chance


def test_a_corpus_without_one_emotion_is_compared_without_a_warning(recwarn):
    rows = compare_published(np.zeros((5, 6)), np.zeros((3, 6)))
    assert not any(row.holds for row in rows if row.name.endswith("correlation"))
    assert not recwarn.list
