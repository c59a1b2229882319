"""The clips of an evaluation, and how many of them the model has seen: in training, or as validation clips of its run.

A run records its split in ``split.json``: names of the clips of both sides, and hashes of their files, so that a clip
is recognised under another name. Some clips chose the best epoch and calibrated the prediction intervals, so results on
them are slightly optimistic: the validation clips of the run, or those of an inner split of its training clips. Results
on clips that trained the weights are no estimate at all; after a refit these are all, and with an encoder or a backbone
that was trained elsewhere, the clips that trained it there too.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mien.data.source_clips import Sighting, SourceClips, fingerprint, name_keys
from mien.data.splits import clips_of, is_rated
from mien.errors import DataError
from mien.features.source_files import contents_of
from mien.features.store import Store
from mien.features.trained_backbones import backbone_clips
from mien.model.bundle import Bundle
from mien.schema import Clip, Manifest
from mien.storage.files import key_of, read_json

SPLIT = "split.json"


@dataclass(frozen=True)
class RunSplit:
    """The split of a run, as far as it concerns one of its models.

    Attributes:
        rule: of training and validation clips.
        valid: names of the validation clips.
        train: names of the clips that trained its weights.
        chose: names of the clips that chose its epochs and calibrated its intervals.
        contents: ``contents_of`` the clips in ``train``.
        chose_contents: ``contents_of`` the clips in ``chose``; empty if the run did not record them.
        inner: whether ``chose`` are training clips of the run.
        refitted: whether it was trained again on all rated clips.
        people: participants of the training clips of the run; ``None`` if it did not record them.
        elsewhere: what the encoders that came from other runs have seen there.
    """

    rule: str
    valid: tuple[str, ...]
    train: frozenset[str]
    chose: frozenset[str]
    contents: frozenset[str]
    chose_contents: frozenset[str] = frozenset()
    inner: bool = False
    refitted: bool = False
    people: frozenset[str] | None = None
    elsewhere: tuple[SourceClips, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The rated clips of an evaluation.

    Attributes:
        split: its name.
        clips: in the order of the manifest.
        notes: how they were chosen, where that is not by the manifest's split, one line each.
        trained_on: those of them that the model was trained on.
        validated_on: those of them that chose its epochs and calibrated its intervals.
        refitted: whether the model was trained again on all rated clips of its run.
        unsure: those of them that only have the names of clips that it has seen in other data.
    """

    split: str
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    trained_on: tuple[str, ...]
    validated_on: tuple[str, ...]
    refitted: bool = False
    unsure: tuple[str, ...] = ()

    def among(self, ids: Set[str]) -> "Selection":
        """Only the clips with these names."""
        seen = (self.trained_on, self.validated_on, self.unsure)
        trained, validated, unsure = (tuple(x for x in part if x in ids) for part in seen)
        clips = tuple(clip for clip in self.clips if clip.id in ids)
        return replace(self, clips=clips, trained_on=trained, validated_on=validated, unsure=unsure)


class Sightings(NamedTuple):
    """Names of the clips that trained something, that chose its epochs, and that only have the name of one of these."""

    trained: tuple[str, ...]
    chose: tuple[str, ...]
    unsure: tuple[str, ...]


def sightings(seen: Iterable[SourceClips], manifest: Manifest, store: Store, clips: Sequence[Clip]) -> Sightings:
    """Which of some clips were seen before.

    Args:
        seen: what has been seen.
        manifest, store: the data and features of the clips.
        clips: some of the data.
    """
    found: dict[str, set[Sighting | None]] = {clip.id: set() for clip in clips}
    contents, own = contents_of(store, found), fingerprint(manifest)
    for one in seen:
        same_data = one.is_of(manifest.source.name, own)
        for clip, content in zip(clips, contents, strict=True):
            found[clip.id].add(one.sighting(clip, content, same_data))
    order: tuple[Sighting, ...] = ("trained", "chose", "unsure")
    worst = {clip: next((kind for kind in order if kind in kinds), None) for clip, kinds in found.items()}
    return Sightings(*(tuple(clip for clip, kind in worst.items() if kind == wanted) for wanted in order))


def select_clips(bundle: Bundle, manifest: Manifest, store: Store, split: str | None) -> Selection:
    """The rated clips to evaluate a model on, with those that it has seen.

    Args:
        bundle: the model.
        manifest: the data.
        store: features of the data, which know the content of each clip's file.
        split: a split of the manifest, or ``all``; ``None`` for the validation clips of the model's own run, or
            the manifest's ``valid`` if there is no run.

    Raises:
        DataError: no such clip is rated, or ``split.json`` is damaged; or no split is named, and the model was trained
            on the validation clips of its run too.
    """
    known, notes = run_split(bundle), list[str]()
    if known and known.refitted and split is None:
        _refuse_refitted(bundle, known)
    own = set(known.valid) if known and split is None else set()
    clips = tuple(clip for clip in manifest.clips if clip.id in own and is_rated(clip))
    if known and clips:
        if not known.rule.startswith("official"):
            notes.append(f"the validation clips of the model's run ({known.rule}), not the data's split valid")
        if len(clips) < len(own):
            missing = min(own - {clip.id for clip in clips})
            notes.append(
                f"{len(own) - len(clips)} of the run's {len(own)} validation clips are missing, first {missing}"
            )
    else:
        clips = tuple(clip for clip in clips_of(manifest, split or "valid") if is_rated(clip))
        if own:
            notes.append(f"none of the run's {len(own)} validation clips is in {manifest.source.name}")
    if not clips:
        split = split or "valid"
        raise DataError(f"{manifest.source}: no clip of split {split!r} is rated; there is nothing to evaluate")
    if known is None:
        notes.append("the model is not in its run folder, so it is unknown whether it was trained on these clips")
    seen, validated, more = _seen(bundle, known, manifest, store, clips)
    if known and known.inner and clips and not (seen.trained or validated):
        notes.append("the epochs and the prediction intervals come from an inner split of the training clips")
    notes, refitted = (*notes, *more), bool(known and known.refitted)
    return Selection(split or "valid", clips, notes, seen.trained, validated, refitted, seen.unsure)


def _seen(
    bundle: Bundle, known: RunSplit | None, manifest: Manifest, store: Store, clips: Sequence[Clip]
) -> tuple[Sightings, tuple[str, ...], list[str]]:
    """What a model has seen of some clips, those that calibrated it, and notes on backbones and encoders in it."""
    backbones = backbone_clips(store, clips, bundle.modalities)
    if known:  # what the run has trained itself, the last training of its backbones, its split says
        trained_here = {bundle.backbones[role].name for role in bundle.adapted if role in bundle.backbones}
        backbones = {name: one[:-1] if name in trained_here else one for name, one in backbones.items()}
    recorded = tuple(one for records in backbones.values() for one in records if one is not None)
    by_model = seen_by(known, bundle) if known else ()
    seen = sightings((*by_model, *recorded), manifest, store, clips)
    chose_here = set(sightings(by_model[:1], manifest, store, clips).chose)
    validated = tuple(clip for clip in seen.chose if clip in chose_here)
    notes = [
        f"{name}: its file does not record all clips that it was trained on, so it is unknown whether these are among "
        "them"
        for name, records in backbones.items()
        if None in records
    ]
    if elsewhere := len(seen.chose) - len(validated):
        notes.append(
            f"{elsewhere} of these {len(clips)} clips chose the epochs of an encoder or a backbone that was trained "
            "elsewhere: results on them are slightly optimistic"
        )
    return seen, validated, notes


def _refuse_refitted(bundle: Bundle, known: RunSplit) -> None:
    """Raise an error: the default of an evaluation would be clips that the model was trained on."""
    run, part = (bundle.folder or Path()).resolve().parents[:2][::-1]  # RUN/model, or RUN/refit/text/model
    before = run.parent / "stage1" / part.name if run.name == "refit" else part / "stage2"
    raise DataError(
        f"{bundle.folder}: was trained again on all rated clips of its run, its {len(known.valid)} validation clips "
        f"included; evaluate other clips with --split, or the model before that: mien evaluate {before} …"
    )


def seen_by(known: RunSplit, bundle: Bundle) -> tuple[SourceClips, ...]:
    """What a model has seen in its own run, first, and what encoders in it have seen in others."""
    made = bundle.provenance
    own = SourceClips(
        data=str(made.get("data", {}).get("name", "")),
        train=name_keys(known.train),
        chose=name_keys(known.chose),
        contents=known.contents,
        people=None if known.people is None else name_keys(known.people),
        chose_contents=known.chose_contents,
        fingerprint=made.get("data_fingerprint"),
    )
    return own, *known.elsewhere


def run_split(bundle: Bundle) -> RunSplit | None:
    """The split of the run that a model lies in; ``None`` for a model outside of its run.

    Raises:
        DataError: ``split.json`` is damaged.
    """
    data = bundle.provenance.get("data", {})
    for folder in folders_of_run(bundle.folder):
        if (folder / SPLIT).is_file():
            found, fingerprint = _read(folder / SPLIT, bool(data.get("refit")), bundle.modalities)
            return found if fingerprint == data.get("split_fingerprint") else None
    return None


def folders_of_run(model: Path | None) -> tuple[Path, ...]:
    """The folders that may be the run of a model: two above ``RUN/model``, four above ``RUN/stage1/text/model``."""
    return () if model is None else (model.resolve(), *model.resolve().parents[:3])


def _read(file: Path, refitted: bool, modalities: Sequence[str]) -> tuple[RunSplit, str]:
    """The split in a file as it concerns a model, refitted or not, of some modalities, and the key of the split."""
    record = read_json(file)
    try:
        inner, rule = record.get("inner"), str(record["rule"])
        train, valid = _sides(record)
        contents, chosen = (frozenset(map(str, record.get(f"{side}_contents", ()))) for side in ("train", "valid"))
        if refitted:
            contents |= frozenset(map(str, record["valid_contents"]))
            every = frozenset((*train, *valid))
            found = RunSplit(rule, tuple(valid), every, frozenset(), contents, frozenset(), inner is not None, True)
        elif inner is not None:
            trains, chose = map(frozenset, _sides(inner))
            chosen = frozenset(map(str, inner["valid_contents"]))
            found = RunSplit(rule, tuple(valid), trains, chose, contents - chosen, chosen, True)
        else:
            found = RunSplit(rule, tuple(valid), frozenset(train), frozenset(valid), contents, chosen)
        people = record.get("train_participants")
        people = people if people is None or not refitted else [*people, *record["valid_participants"]]
        sources = [one for name in modalities for one in record.get("encoders", {}).get(name, ())]
        found = replace(
            found,
            people=None if people is None else frozenset(map(str, people)),
            elsewhere=tuple(map(SourceClips.read, sources)),
        )
        return found, key_of(train, valid, *(_sides(inner) if inner is not None else ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: damaged ({error}); the same mien train command writes it again") from error


def _sides(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    train, valid = ([str(clip) for clip in record[name]] for name in ("train_clips", "valid_clips"))
    return train, valid
