"""No participant is in both train and valid, every clip is used, and a split can be drawn again."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.config import SplitSettings
from mien.data.splits import clips_of, labels_of, split_clips
from mien.errors import DataError
from mien.schema import Clip, Manifest


def corpus(clips: int, people: int | None) -> Manifest:
    made = tuple(
        Clip(
            f"{i:03d}",
            Path("x.mp4"),
            split=("train", "train", "valid")[i % 3],
            participant=f"p{i * i % people}" if people else None,
            labels=(0.5,),
        )
        for i in range(clips)
    )
    return Manifest(Path("clips.csv"), ("Joy",), made)


def test_official_keeps_the_manifests_own() -> None:
    split = split_clips(corpus(9, None), SplitSettings())
    assert [clip.id for clip in split.valid] == ["002", "005", "008"]
    assert len(split.train) == 6


@settings(max_examples=30)
@given(st.integers(20, 200), st.integers(5, 60), st.integers(0, 5))
def test_a_redraw_by_participant_shares_no_participant_and_loses_no_clip(clips: int, people: int, seed: int) -> None:
    split = split_clips(corpus(clips, people), SplitSettings(kind="ratio", ratio=2, seed=seed))
    assert split.shared == ()
    assert len(split.train) + len(split.valid) == clips


def test_folds_cover_every_clip_once() -> None:
    made = corpus(50, None)
    seen = [c.id for fold in range(5) for c in split_clips(made, SplitSettings(kind="kfold", fold=fold)).valid]
    assert sorted(seen) == [clip.id for clip in made.clips]


def test_ratio_four_puts_a_fifth_aside() -> None:
    assert len(split_clips(corpus(100, None), SplitSettings(kind="ratio")).valid) == 20


def test_the_same_seed_draws_the_same_split_whatever_the_order_of_clips() -> None:
    made = corpus(60, None)
    turned = replace(made, clips=made.clips[::-1])
    first, second = (split_clips(m, SplitSettings(kind="ratio")) for m in (made, turned))
    assert {c.id for c in first.valid} == {c.id for c in second.valid}
    other = split_clips(made, SplitSettings(kind="ratio", seed=1))
    assert {c.id for c in first.valid} != {c.id for c in other.valid}


def test_a_redraw_without_participants_warns_of_leaks() -> None:
    (note,) = split_clips(corpus(30, None), SplitSettings(kind="ratio")).notes
    assert "participants are unknown" in note


def test_an_official_split_that_shares_people_says_so() -> None:
    split = split_clips(corpus(30, 2), SplitSettings())
    assert split.shared == ("p0", "p1")
    assert "in both train and valid" in split.notes[0]


def test_test_clips_are_never_assigned_to_a_fold() -> None:
    made = corpus(30, None)
    made = replace(made, clips=(*made.clips, Clip("t", Path("t.mp4"), split="test", labels=(0.1,))))
    split = split_clips(made, SplitSettings(kind="ratio"))
    assert "t" not in {clip.id for clip in (*split.train, *split.valid)}


def test_unrated_clips_are_left_out_with_a_count() -> None:
    made = corpus(9, None)
    bare = (replace(made.clips[0], labels=None), replace(made.clips[1], labels=(float("nan"),)), *made.clips[2:])
    split = split_clips(replace(made, clips=bare), SplitSettings())
    assert split.notes == ("2 clips without labels left out, first 000",)
    assert len(split.train) == 4


@pytest.mark.parametrize(
    ("made", "settings", "message"),
    [
        (replace(corpus(9, None), clips=()), SplitSettings(), "no clip has labels"),
        (replace(corpus(9, None), clips=corpus(2, None).clips), SplitSettings(), "no rated clip for valid"),
        (corpus(9, None), SplitSettings(kind="kfold", fold=7), "split.fold = 7"),
    ],
)
def test_what_cannot_be_split_is_refused_with_a_reason(made: Manifest, settings: SplitSettings, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_clips(made, settings)


def test_an_unknown_split_names_those_there_are() -> None:
    with pytest.raises(DataError, match="splits found: train, valid"):
        clips_of(corpus(9, None), "dev")


def test_labels_are_nan_where_unrated() -> None:
    found = labels_of((Clip("a", Path("a"), labels=(0.5,)), Clip("b", Path("b"))), 1)
    assert str(found.tolist()) == "[[0.5], [nan]]"


def test_participants_that_are_known_of_some_clips_only_are_not_counted_as_all(tmp_path: Path) -> None:
    """It once said (1, 1) participants."""
    clips = tuple(
        Clip(f"c{n}", tmp_path / f"c{n}.mp4", split="train" if n % 2 else "valid", labels=(0.5,),
             participant="Ada" if n < 2 else None)
        for n in range(10)
    )  # fmt: skip
    split = split_clips(Manifest(tmp_path / "clips.csv", ("Joy",), clips), SplitSettings())
    assert split.participants is None
    assert "participants are known of 2 of 10 clips only; the other clips count as independent" in split.notes


def test_a_draw_of_training_clips_is_whole_participants_but_the_last_and_leaves_the_validation_clips() -> None:
    whole = split_clips(corpus(300, 23), SplitSettings(kind="ratio"))
    drawn = split_clips(corpus(300, 23), SplitSettings(kind="ratio", train_clips=70, train_clips_seed=3))
    assert drawn.valid == whole.valid and len(drawn.train) == 70
    of = {clip.participant: 0 for clip in whole.train}
    for clip in whole.train:
        of[clip.participant] += 1
    ours = {clip.participant: 0 for clip in drawn.train}
    for clip in drawn.train:
        ours[clip.participant] += 1
    assert sum(count < of[person] for person, count in ours.items()) <= 1
    assert drawn.participants is not None and drawn.participants[0] == len(ours)
    assert (
        drawn.rule == f"{whole.rule}; 70 of {len(whole.train)} training clips, seed 3, drawn participant by participant"
    )
    more = split_clips(corpus(300, 23), SplitSettings(kind="ratio", train_clips=150, train_clips_seed=3))
    assert set(drawn.train) < set(more.train)
    other = split_clips(corpus(300, 23), SplitSettings(kind="ratio", train_clips=70, train_clips_seed=4))
    assert set(other.train) != set(drawn.train)
    single = split_clips(corpus(300, 23), SplitSettings(train_clips=5, by_participant=False))
    assert len(single.train) == 5 and single.rule.endswith("drawn clip by clip")


def test_a_draw_of_more_training_clips_than_there_are_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"clips.csv: split.train_clips is 7, but there are 6 training clips; name fewer"
    ):
        split_clips(corpus(9, None), SplitSettings(train_clips=7))


def test_clips_of_other_splits_are_noted() -> None:
    """``dev`` is not ``valid``, and only ``test`` is kept apart when a split is drawn."""
    clips = tuple(replace(clip, split="dev") if clip.split == "valid" else clip for clip in corpus(30, 10).clips)
    drawn = split_clips(Manifest(Path("clips.csv"), ("Joy",), clips), SplitSettings(kind="ratio"))
    said = "of other splits than train, valid and test, first {}, of 'dev': "
    assert f"10 clips {said.format('002')}divided with the others; only test is kept apart" in drawn.notes
    some = tuple(replace(clip, split="dev") if int(clip.id) > 15 else clip for clip in corpus(30, 10).clips)
    kept = split_clips(Manifest(Path("clips.csv"), ("Joy",), some), SplitSettings())
    assert f"14 clips {said.format('016')}left out" in kept.notes
