"""What a public corpus is: where it comes from, what it may be used for, and how its files become a ``Manifest``.

A reader is a function of a folder; what all readers share is here: files that may be in one of several places, labels
by name, and notes on media that are not there. Nothing is downloaded: the page of a corpus says how to get it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.storage.files import is_lfs_pointer
from mien.wording import plural

CHANNELS = ("both", "face", "voice")
"""What the raters were given: voice and face, the face without sound, or the voice alone."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may choose of a corpus.

    Attributes:
        channel: one of ``CHANNELS``.
        label_scale: the highest possible rating, for corpora with a scale of their own.
    """

    channel: str = "both"
    label_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """A public corpus.

    Attributes:
        name: on the command line.
        title: its full name.
        items: what it consists of.
        people: who is in it, and who rated it.
        targets: what its labels mean, and how they are scaled to [0, 1].
        is_not: what it must not be taken for.
        licence: of its labels and media.
        citation: its publication.
        get: how to get it, one command or address.
        read: a folder and options → the manifest.
        has_channels: whether raters saw and heard clips in more than one way.
    """

    name: str
    title: str
    items: str
    people: str
    targets: str
    is_not: str
    licence: str
    citation: str
    get: str
    read: Callable[[Path, Options], Manifest]
    has_channels: bool = False

    def describe(self) -> list[str]:
        """Its description, a line for each fact."""
        facts = ("title", "items", "people", "targets", "is_not", "licence", "citation", "get")
        return [f"{fact.replace('_', ' '):<10} {getattr(self, fact)}" for fact in facts]


def find_file(folder: Path, *places: str) -> Path:
    """The first of several places of a file that exists.

    Raises:
        DataError: none does.
    """
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise DataError(f"{folder}: no {places[0]} in it" + (f" (nor {', '.join(places[1:])})" if places[1:] else ""))


def keep_targets(manifest: Manifest, targets: Sequence[str]) -> Manifest:
    """A manifest with some of its targets, in the order given; ``joy`` is also ``Joy``.

    Raises:
        DataError: there is no such target.
    """
    places = {name.casefold(): place for place, name in enumerate(manifest.targets)}
    for name in targets:
        if name.casefold() not in places:
            raise DataError(f"{manifest.source}: no target {name!r} (found: {', '.join(manifest.targets)})")
    chosen = [places[name.casefold()] for name in targets]
    clips = tuple(with_labels(clip, [(clip.labels or ())[place] for place in chosen]) for clip in manifest.clips)
    names = tuple(manifest.targets[place] for place in chosen)
    return Manifest(manifest.source, names, clips, manifest.notes, manifest.label_scale)


def with_labels(clip: Clip, labels: Iterable[float]) -> Clip:
    """A clip with other labels; ``None`` if all are missing."""
    values = tuple(labels)
    return replace(clip, labels=None if all(math.isnan(value) for value in values) else values)


def media_notes(folder: Path, clips: Sequence[Clip], pull: str) -> list[str]:
    """Notes on clips whose file is missing, or is a pointer of Git LFS.

    Args:
        folder: of the corpus.
        clips: those with a path.
        pull: the command that fetches the files.
    """
    paths = [clip.path for clip in clips if clip.path is not None]
    missing = [path for path in paths if not path.exists()]
    pointers = [path for path in paths if is_lfs_pointer(path)]
    notes = []
    if missing:
        notes.append(
            f"{folder}: {len(missing):,} of {plural(len(paths), 'file')} not there (first: {missing[0].name}); {pull}"
        )
    if pointers:
        notes.append(
            f"{folder}: {len(pointers):,} of {plural(len(paths), 'file')} are pointers of Git LFS, not media (first: "
            f"{pointers[0].name}); {pull}"
        )
    return notes


def one_hot(names: Sequence[str], chosen: Mapping[str, float] | Iterable[str]) -> tuple[float, ...]:
    """Labels by name: 1 for the chosen ones, 0 for the others."""
    found = set(chosen)
    return tuple(float(name in found) for name in names)
