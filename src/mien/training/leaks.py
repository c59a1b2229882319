"""Clips that encoders from other runs, and backbones behind features, were trained on before.

If they are validation clips of a new run, its r would mean nothing, and it is refused. What makes r or the intervals
slightly too good, and what cannot be known, is said in a note.
"""

from collections.abc import Iterable, Sequence

from mien.data.source_clips import SourceClips, fingerprint, name_key, name_keys
from mien.data.splits import Split
from mien.errors import DataError
from mien.evaluation.seen_clips import sightings
from mien.features.source_files import contents_of
from mien.features.store import Store
from mien.features.trained_backbones import backbone_clips
from mien.schema import Clip, Manifest
from mien.training.split_data import SplitData


def training_clips(manifest: Manifest, data: SplitData) -> SourceClips:
    """The clips that train and choose in a run, as a backbone that it trains further records them."""
    train, chose = ([clip.id for clip in data.side(side)] for side in ("fit", "select"))
    return SourceClips(
        data=manifest.source.name,
        train=name_keys(train),
        chose=name_keys(chose),
        contents=frozenset[str]().union(*contents_of(data.store, train)),
        people=name_keys(clip.participant for clip in data.side("fit") if clip.participant),
        chose_contents=frozenset[str]().union(*contents_of(data.store, chose)),
        fingerprint=fingerprint(manifest),
    )


def backbone_notes(data: SplitData, manifest: Manifest, modalities: Iterable[str]) -> tuple[str, ...]:
    """What is to be said of the clips that the backbones behind the features of a run were trained on, a line each.

    Args:
        data, manifest: of the run.
        modalities: whose features it reads.

    Raises:
        DataError: one was trained on validation clips.
    """
    notes, store = list[str](), data.store
    for name, seen in backbone_clips(store, data.side("all"), modalities).items():
        which = f"backbone {name}"
        if None in seen:
            notes.append(
                f"{which}: its file does not record all clips that it was trained on, so it is unknown whether these "
                "validation clips are among them"
            )
        refused = f"{store.root}: {which}, which made its features,", "extract with another one, or use another split"
        recorded = [one for one in seen if one is not None]
        notes += leak_notes(which, refused, recorded, manifest, store, data.split, data.inner)
    return tuple(notes)


def leak_notes(
    which: str,
    refused: tuple[str, str],
    seen: Sequence[SourceClips],
    manifest: Manifest,
    store: Store,
    split: Split,
    inner: Split | None,
) -> Iterable[str]:
    """What is to be said of the clips that an encoder or a backbone has seen, a line each.

    Args:
        which: the encoder or the backbone.
        refused: what an error calls it, and what to do then.
        seen: the clips.
        manifest, store: the data of the new run.
        split: of which the validation clips are reported.
        inner: the training clips, divided again, if these choose the epochs.

    Raises:
        DataError: it was trained on validation clips.
    """
    count, found = len(split.valid), sightings(seen, manifest, store, split.valid)
    if saw := found.trained:
        label, remedy = refused
        raise DataError(
            f"{label} was trained on {len(saw)} of the {count} validation clips, first {saw[0]}, so r would mean "
            f"nothing; {remedy}"
        )
    if saw := found.chose:
        yield f"{which}: {len(saw)} of {count} validation clips chose its epochs; r is slightly too high"
    if saw := found.unsure:
        yield (
            f"{which}: {len(saw)} of {count} validation clips, first {saw[0]}, have names of clips that it has seen in "
            "data of another name, and no files to compare; it is unknown whether they are the same"
        )
    if inner is not None and (saw := sightings(seen, manifest, store, inner.valid).trained):
        yield (
            f"{which}: was trained on {len(saw)} of the {len(inner.valid)} clips that choose the epochs and calibrate "
            f"the intervals, first {saw[0]}; the intervals are too narrow"
        )
    yield from _people_notes(which, seen, manifest, split.valid)


def _people_notes(which: str, seen: Sequence[SourceClips], manifest: Manifest, valid: Sequence[Clip]) -> Iterable[str]:
    """Participants of the validation clips in the training clips of an encoder or a backbone, by name."""
    own = {clip.participant for clip in valid if clip.participant}
    for one in seen:
        if one.people is None:
            yield f"{which}: an older version of mien did not record the participants that it was trained on"
        elif both := sorted(name for name in own if name_key(name) in one.people):
            same = "" if one.data == manifest.source.name else f" if these are the same people as in {one.data}"
            yield (
                f"{which}: was trained on {len(both)} of the {len(own)} participants of the validation clips, first "
                f"{both[0]}; r may be too high{same}"
            )
