"""The clips of an evaluation, and how many of them the model has seen: in training, or as validation clips of its run.

A run records its split in ``split.json``: names of the clips of both sides, and hashes of the files of the training
clips, so that a clip is recognised under another name. Some clips chose the best epoch and calibrated the prediction
intervals, so results on them are slightly optimistic: the validation clips of the run, or those of an inner split of
its training clips. Results on clips that trained the weights are no estimate at all; after a refit these are all.
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
    """

    rule: str
    valid: tuple[str, ...]
    train: frozenset[str]
    chose: frozenset[str]
    contents: frozenset[str]
    inner: bool = False
    refitted: bool = False


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
    """The clips that a model was trained on: files with the same content, or clips of the same name and data set."""
    same_data, contents = _same_data(bundle, manifest), contents_of(store, [clip.id for clip in clips])
    return tuple(
        clip.id
        for clip, content in zip(clips, contents, strict=True)
        if (same_data and clip.id in known.train) or not known.contents.isdisjoint(content)
    )


def run_split(bundle: Bundle) -> RunSplit | None:
    """The split of the run that a model lies in; ``None`` for a model outside of its run.

    Raises:
        DataError: ``split.json`` is damaged.
    """
    data = bundle.provenance.get("data", {})
    for folder in folders_of_run(bundle.folder):
        if (folder / SPLIT).is_file():
            found, fingerprint = _read(folder / SPLIT, bool(data.get("refit")))
            return found if fingerprint == data.get("split_fingerprint") else None
    return None


def folders_of_run(model: Path | None) -> tuple[Path, ...]:
    """The folders that may be the run of a model: two above ``RUN/model``, four above ``RUN/stage1/text/model``."""
    return () if model is None else (model.resolve(), *model.resolve().parents[:3])


def _read(file: Path, refitted: bool) -> tuple[RunSplit, str]:
    """The split in a file as it concerns a model, refitted or not, and the key of the split."""
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
        return found, key_of(train, valid, *(_sides(inner) if inner is not None else ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: damaged ({error}); the same mien train command writes it again") from error


def _sides(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    train, valid = ([str(clip) for clip in record[name]] for name in ("train_clips", "valid_clips"))
    return train, valid


def _same_data(bundle: Bundle, manifest: Manifest) -> bool:
    return bundle.provenance.get("data", {}).get("name") == manifest.source.name
