"""Training and validation splits, with participants kept apart.

A new split assigns whole participants to folds of nearly equal size, so a model cannot profit from knowing a face.
Where participants are unknown, clips are assigned one by one, and a note warns that scores may be too high: people of
the training clips may be in the validation clips too.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.config import SplitSettings
from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.wording import plural

SPLITS = ("train", "valid", "test")
"""The splits of a data set that mean something; others are only names."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rated clips for training and for validation.

    Attributes:
        train, valid: clips in the order of the manifest; every one has at least one label.
        rule: how it was drawn, as text that is sufficient to draw it again.
        participants: number of participants in train and in valid; ``None`` unless every clip has one.
        shared: participants in both.
        notes: unrated clips left out, and possible leaks.
    """

    train: tuple[Clip, ...]
    valid: tuple[Clip, ...]
    rule: str
    participants: tuple[int, int] | None
    shared: tuple[str, ...]
    notes: tuple[str, ...]


def split_clips(manifest: Manifest, settings: SplitSettings) -> Split:
    """Divide the rated clips of a manifest.

    Raises:
        DataError: no clip is rated, train or valid would be empty, the fold does not exist, or there are fewer training
            clips than ``train_clips``.
    """
    rated = [clip for clip in manifest.clips if is_rated(clip)]
    if not rated:
        raise DataError(f"{manifest.source}: no clip has labels; training needs a rated data set")
    if settings.kind == "official":
        train, valid = ([clip for clip in rated if clip.split == name] for name in ("train", "valid"))
        return _checked(manifest, rated, train, valid, "official: as the manifest says", settings)
    folds, fold = (settings.ratio + 1, 0) if settings.kind == "ratio" else (settings.folds, settings.fold)
    if fold >= folds:
        raise DataError(f"split.fold = {fold}, but {folds} folds are counted 0 to {folds - 1}")
    pool = [clip for clip in rated if clip.split != "test"]
    fold_of = _assign_folds(pool, folds, settings)
    rule = f"{settings.kind}: fold {fold} of {folds}, seed {settings.seed}, dealt {_unit(pool, settings)}"
    train = [clip for clip, found in zip(pool, fold_of, strict=True) if found != fold]
    valid = [clip for clip, found in zip(pool, fold_of, strict=True) if found == fold]
    return _checked(manifest, rated, train, valid, rule, settings)


def inner_split(split: Split, settings: SplitSettings, ratio: int) -> Split:
    """Divide the training clips of a split again, like ``split.kind: ratio`` and with its seed.

    Args:
        split: of which only ``train`` is divided.
        settings: ``seed`` and ``by_participant``.
        ratio: training clips per clip that is set aside.

    Returns:
        A split of which ``train`` trains a model, and ``valid`` chooses its epochs and calibrates its intervals.

    Raises:
        DataError: the training clips are of one participant only, or there is only one.
    """
    fold_of = _assign_folds(split.train, ratio + 1, settings)
    train, valid = (
        tuple(clip for clip, fold in zip(split.train, fold_of, strict=True) if (fold == 0) == aside)
        for aside in (False, True)
    )
    unit = _unit(split.train, settings)
    if not train:
        what = "participants" if unit.startswith("participant") else "clips"
        raise DataError(
            f"train.select=inner divides the training clips and needs at least 2 {what}, but there is 1; "
            "set train.select=valid"
        )
    people, shared, named = _people(train, valid)
    notes = []
    if named < len(split.train):
        notes.append("inner split: some participants are unknown, so one person may be on both sides")
    rule = f"fold 0 of {ratio + 1} of the training clips, seed {settings.seed}, dealt {unit}"
    return Split(train, valid, rule, people, shared, tuple(notes))


def clips_of(manifest: Manifest, split: str) -> tuple[Clip, ...]:
    """The clips of one split by its name, ``all`` for every clip.

    Raises:
        DataError: no clip belongs to that split.
    """
    clips = tuple(clip for clip in manifest.clips if split in (clip.split, "all"))
    if not clips:
        known = ", ".join(sorted({str(clip.split) for clip in manifest.clips if clip.split})) or "none"
        raise DataError(f"{manifest.source}: no clip of split {split!r}; splits found: {known} (or use 'all')")
    return clips


def is_rated(clip: Clip) -> bool:
    """Whether a clip has at least one label."""
    return clip.labels is not None and not all(np.isnan(clip.labels))


def labels_of(clips: Sequence[Clip], n_targets: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """``(N, E)`` labels, ``nan`` where unrated."""
    rows = [clip.labels or (np.nan,) * n_targets for clip in clips]
    return np.array(rows, np.float32).reshape(len(clips), n_targets)


def _checked(
    manifest: Manifest, rated: list[Clip], train: list[Clip], valid: list[Clip], rule: str, settings: SplitSettings
) -> Split:
    for name, part in (("train", train), ("valid", valid)):
        if not part:
            raise DataError(
                f"{manifest.source}: no rated clip for {name} by the rule {rule!r}; "
                "name the splits train and valid, or set split.kind=ratio"
            )
    assert not {clip.id for clip in train} & {clip.id for clip in valid}, "a clip is in train and in valid"
    if settings.train_clips is not None:
        rule = (
            f"{rule}; {settings.train_clips} of {len(train)} training clips, seed {settings.train_clips_seed}, drawn "
        )
        rule += _unit(train, settings)
        train = _drawn(manifest, train, settings)
    people, shared, named = _people(train, valid)
    notes = _notes(manifest, rated, rule, named, len(train) + len(valid), shared)
    return Split(tuple(train), tuple(valid), rule, people, shared, notes)


def _drawn(manifest: Manifest, train: list[Clip], settings: SplitSettings) -> list[Clip]:
    """``train_clips`` of the training clips: participants in random order, until there are enough."""
    count = settings.train_clips or 0
    if count > len(train):
        raise DataError(
            f"{manifest.source}: split.train_clips is {count:,}, but there are {len(train):,} training clips; "
            "name fewer, or null for all"
        )
    groups = _together(train, settings)
    names = sorted(groups)
    order = np.random.default_rng(settings.train_clips_seed).permutation(len(names))
    places = [place for pick in order for place in groups[names[pick]]]
    return [train[place] for place in sorted(places[:count])]


def _people(train: Sequence[Clip], valid: Sequence[Clip]) -> tuple[tuple[int, int] | None, tuple[str, ...], int]:
    """Participants of both sides (``None`` unless known for every clip), those on both, and clips with one."""
    people = [{clip.participant for clip in part if clip.participant} for part in (train, valid)]
    named = sum(bool(clip.participant) for clip in (*train, *valid))
    known = (len(people[0]), len(people[1])) if named == len(train) + len(valid) else None
    return known, tuple(sorted(people[0] & people[1])), named


def _notes(
    manifest: Manifest, rated: list[Clip], rule: str, named: int, count: int, shared: tuple[str, ...]
) -> tuple[str, ...]:
    notes = []
    pool = [clip for clip in manifest.clips if clip.split != "test"]
    ids = {clip.id for clip in rated}
    unrated = [clip.id for clip in pool if clip.id not in ids]
    if unrated:
        notes.append(f"{plural(len(unrated), 'clip')} without labels left out, first {unrated[0]}")
    if shared:
        notes.append(
            f"{plural(len(shared), 'participant')} in both train and valid, first {shared[0]}; r may be too high"
        )
    others = [clip for clip in rated if clip.split not in (None, "", *SPLITS)]
    if others:
        what = "left out" if rule.startswith("official") else "divided with the others; only test is kept apart"
        first = f"first {others[0].id}, of {others[0].split!r}"
        notes.append(f"{plural(len(others), 'clip')} of other splits than train, valid and test, {first}: {what}")
    if 0 < named < count:
        notes.append(f"participants are known of {named} of {count} clips only; the other clips count as independent")
    if named < count and not rule.startswith("official"):
        unknown = "some participants" if named else "participants"
        notes.append(f"{unknown} are unknown, so one person may be in both train and valid; r may be too high")
    return tuple(notes)


def _unit(pool: Sequence[Clip], settings: SplitSettings) -> str:
    return (
        "participant by participant" if settings.by_participant and any(c.participant for c in pool) else "clip by clip"
    )


def _together(pool: Sequence[Clip], settings: SplitSettings) -> dict[str, list[int]]:
    """The places of clips that stay together: those of a participant, where that is known and asked for."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, clip in enumerate(pool):
        together = settings.by_participant and clip.participant
        groups[f"participant {clip.participant}" if together else f"clip {clip.id}"].append(position)
    return groups


def _assign_folds(pool: Sequence[Clip], folds: int, settings: SplitSettings) -> list[int]:
    """The fold of each clip: groups in random order, each into the fold with the fewest clips so far."""
    groups = _together(pool, settings)
    names = sorted(groups)
    fold_of, sizes = [0] * len(pool), [0] * folds
    for pick in np.random.default_rng(settings.seed).permutation(len(names)):
        smallest = sizes.index(min(sizes))
        for position in groups[names[pick]]:
            fold_of[position] = smallest
        sizes[smallest] += len(groups[names[pick]])
    return fold_of
