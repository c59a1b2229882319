"""The clips of an evaluation, and how many of them the model has seen: in training, or as validation clips of its run.

A run records its split in ``split.json``: names of the clips of both sides, and hashes of the files of the training
clips, so that a clip is recognised under another name. Some clips chose the best epoch and calibrated the prediction
intervals, so results on them are slightly optimistic: the validation clips of the run, or those of an inner split of
its training clips. Results on clips that trained the weights are no estimate at all; after a refit these are all, and
with an encoder from another run, the clips that trained it there too.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.data.splits import clips_of, is_rated
from mien.errors import DataError
from mien.features.source_files import contents_of
from mien.features.store import Store
from mien.model.bundle import Bundle
from mien.schema import Clip, Manifest
from mien.storage.files import key_of, read_json

SPLIT = "split.json"


@dataclass(frozen=True)
class SourceClips:
    """Clips that an encoder, or a whole model, has seen in a run.

    Attributes:
        data: name of the data set.
        train: names of the clips that trained it.
        chose: names of the clips that chose its epochs.
        contents: ``contents_of`` the clips in ``train``.
        people: participants of the training clips; ``None`` if the run did not record them.
    """

    data: str
    train: frozenset[str]
    chose: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    people: frozenset[str] | None = None

    def record(self) -> dict[str, Any]:
        """Values for JSON."""
        return {name: value if value is None or isinstance(value, str) else sorted(value)
                for name, value in vars(self).items()}  # fmt: skip

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "SourceClips":
        """The inverse of ``record``.

        Raises:
            KeyError, TypeError: it is damaged.
        """
        train, chose, contents = (frozenset(map(str, record[name])) for name in ("train", "chose", "contents"))
        people = None if record["people"] is None else frozenset(map(str, record["people"]))
        return cls(str(record["data"]), train, chose, contents, people)

    def trained_on(self, manifest: Manifest, store: Store, clips: Sequence[Clip]) -> tuple[str, ...]:
        """Those of some clips that trained it: files with the same content, or of the same name and data set."""
        same_data, contents = self.data == manifest.source.name, contents_of(store, [clip.id for clip in clips])
        return tuple(
            clip.id
            for clip, content in zip(clips, contents, strict=True)
            if (same_data and clip.id in self.train) or not self.contents.isdisjoint(content)
        )


@dataclass(frozen=True)
class RunSplit:
    """The split of a run, as far as it concerns one of its models.

    Attributes:
        rule: of training and validation clips.
        valid: names of the validation clips.
        train: names of the clips that trained its weights.
        chose: names of the clips that chose its epochs and calibrated its intervals.
        contents: ``contents_of`` the clips in ``train``.
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
    """

    split: str
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    trained_on: tuple[str, ...]
    validated_on: tuple[str, ...]
    refitted: bool = False

    def among(self, ids: Set[str]) -> "Selection":
        """Only the clips with these names."""
        trained, validated = (tuple(x for x in part if x in ids) for part in (self.trained_on, self.validated_on))
        clips = tuple(clip for clip in self.clips if clip.id in ids)
        return replace(self, clips=clips, trained_on=trained, validated_on=validated)


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
    known, notes = run_split(bundle), []
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
    seen = trained_on(known, bundle, manifest, store, clips) if known else ()
    validated = tuple(clip.id for clip in clips if known and clip.id in known.chose and _same_data(bundle, manifest))
    if known and known.inner and clips and not (seen or validated):
        notes.append("the epochs and the prediction intervals come from an inner split of the training clips")
    return Selection(split or "valid", clips, tuple(notes), seen, validated, bool(known and known.refitted))


def _refuse_refitted(bundle: Bundle, known: RunSplit) -> None:
    """Raise an error: the default of an evaluation would be clips that the model was trained on."""
    run, part = (bundle.folder or Path()).resolve().parents[:2][::-1]  # RUN/model, or RUN/refit/text/model
    before = run.parent / "stage1" / part.name if run.name == "refit" else part / "stage2"
    raise DataError(
        f"{bundle.folder}: was trained again on all rated clips of its run, its {len(known.valid)} validation clips "
        f"included; evaluate other clips with --split, or the model before that: mien evaluate {before} …"
    )


def trained_on(
    known: RunSplit, bundle: Bundle, manifest: Manifest, store: Store, clips: Sequence[Clip]
) -> tuple[str, ...]:
    """The clips that a model, or an encoder in it, was trained on: those of ``SourceClips.trained_on``."""
    seen = {clip for one in seen_by(known, bundle) for clip in one.trained_on(manifest, store, clips)}
    return tuple(clip.id for clip in clips if clip.id in seen)


def seen_by(known: RunSplit, bundle: Bundle) -> tuple[SourceClips, ...]:
    """What a model has seen in its own run, and what encoders in it have seen in others."""
    data = str(bundle.provenance.get("data", {}).get("name", ""))
    return SourceClips(data, known.train, known.chose, known.contents, known.people), *known.elsewhere


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
        contents = frozenset(map(str, record.get("train_contents", ())))
        if refitted:
            contents |= frozenset(map(str, record["valid_contents"]))
            every = frozenset((*train, *valid))
            found = RunSplit(rule, tuple(valid), every, frozenset(), contents, inner is not None, True)
        elif inner is not None:
            trains, chose = map(frozenset, _sides(inner))
            contents -= frozenset(map(str, inner["valid_contents"]))
            found = RunSplit(rule, tuple(valid), trains, chose, contents, True)
        else:
            found = RunSplit(rule, tuple(valid), frozenset(train), frozenset(valid), contents)
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


def _same_data(bundle: Bundle, manifest: Manifest) -> bool:
    return bundle.provenance.get("data", {}).get("name") == manifest.source.name
