"""The clips of an evaluation, and how many of them the model has seen: in training, or as validation clips of its run.

A run records its split in ``split.json``: names of the clips of both sides, and hashes of the files of the training
clips, so that a clip is recognised under another name. Validation clips of the run chose the best epoch and calibrated
the prediction intervals, so results on them are slightly optimistic; results on training clips are no estimate at all.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

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
    """The split of a run: its rule, clips by name, and ``contents_of`` the training clips."""

    rule: str
    train: frozenset[str]
    valid: tuple[str, ...]
    contents: frozenset[str]


@dataclass(frozen=True)
class Selection:
    """The rated clips of an evaluation.

    Attributes:
        split: its name.
        clips: in the order of the manifest.
        notes: how they were chosen, where that is not by the manifest's split, one line each.
        trained_on: those of them that the model was trained on.
        validated_on: those of them that are validation clips of its run.
    """

    split: str
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    trained_on: tuple[str, ...]
    validated_on: tuple[str, ...]

    def among(self, ids: Set[str]) -> "Selection":
        """Only the clips with these names."""
        trained, validated = (tuple(x for x in part if x in ids) for part in (self.trained_on, self.validated_on))
        return Selection(self.split, tuple(c for c in self.clips if c.id in ids), self.notes, trained, validated)


def select_clips(bundle: Bundle, manifest: Manifest, store: Store, split: str | None) -> Selection:
    """The rated clips to evaluate a model on, with those that it has seen.

    Args:
        bundle: the model.
        manifest: the data.
        store: features of the data, which know the content of each clip's file.
        split: a split of the manifest, or ``all``; ``None`` for the validation clips of the model's own run, or
            the manifest's ``valid`` if there is no run.

    Raises:
        DataError: no such clip is rated, or ``split.json`` is damaged.
    """
    known, notes = run_split(bundle), []
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
    validated = tuple(clip.id for clip in clips if known and clip.id in known.valid and _same_data(bundle, manifest))
    return Selection(split or "valid", clips, tuple(notes), seen, validated)


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
    fingerprint = bundle.provenance.get("data", {}).get("split_fingerprint")
    for folder in _folders(bundle.folder):
        if (folder / SPLIT).is_file():
            found = _read(folder / SPLIT)
            return found[0] if found[1] == fingerprint else None
    return None


def _folders(model: Path | None) -> tuple[Path, ...]:
    """The folders that may be the run of a model: two above ``RUN/model``, four above ``RUN/stage1/text/model``."""
    return () if model is None else (model.resolve(), *model.resolve().parents[:3])


def _read(file: Path) -> tuple[RunSplit, str]:
    record = read_json(file)
    try:
        train, valid = ([str(clip) for clip in record[name]] for name in ("train_clips", "valid_clips"))
        contents = frozenset(str(content) for content in record.get("train_contents", ()))
        return RunSplit(str(record["rule"]), frozenset(train), tuple(valid), contents), key_of(train, valid)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: damaged ({error}); the same mien train command writes it again") from error


def _same_data(bundle: Bundle, manifest: Manifest) -> bool:
    return bundle.provenance.get("data", {}).get("name") == manifest.source.name
