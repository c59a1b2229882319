"""Clips that trained a model, an encoder or a backbone, written down so that they are recognised later.

Names of clips and people are kept as hashes, because the record of a backbone travels with its file: who has a clip or
knows a person's name can ask whether it is among them, but there is no list to read.

A clip is recognised by the content of its file; in the same data by its name. Data are the same if they have the same
name, or, under another name, the same clips, splits, participants and ratings. Where neither decides, because features
were imported or made of words alone, an equal name in other data leaves it open.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal

from mien.schema import Clip, Manifest
from mien.storage.files import key_of

VERSION = 2
"""2: names as hashes, contents of the clips that chose the epochs, fingerprint of the data."""

Sighting = Literal["trained", "chose", "unsure"]
"""Whether a clip trained the weights, chose their epochs, or only has the name of one that did."""


@dataclass(frozen=True)
class SourceClips:
    """Clips that an encoder, a backbone or a whole model has seen in a run.

    Attributes:
        data: name of the data set.
        train: ``name_keys`` of the clips that trained it.
        chose: ``name_keys`` of the clips that chose its epochs.
        contents: ``contents_of`` the clips in ``train``.
        people: ``name_keys`` of the participants of the training clips; ``None`` if the run did not record them.
        chose_contents: ``contents_of`` the clips in ``chose``; empty if the run did not record them.
        fingerprint: of the data; ``None`` if the run did not record it.
    """

    data: str
    train: frozenset[str]
    chose: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    people: frozenset[str] | None = None
    chose_contents: frozenset[str] = frozenset()
    fingerprint: str | None = None

    @property
    def size(self) -> int:
        """Number of hashes."""
        return sum(len(value) for value in vars(self).values() if isinstance(value, frozenset))

    def record(self) -> dict[str, Any]:
        """Values for JSON."""
        values = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in vars(self).items()}
        return {"version": VERSION, **values}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "SourceClips":
        """The inverse of ``record``; records of version 1 have plain names.

        Raises:
            KeyError, TypeError: it is damaged.
        """
        plain = record.get("version", 1) == 1
        names = name_keys if plain else _texts
        people = record["people"]
        return cls(
            data=str(record["data"]),
            train=names(record["train"]),
            chose=names(record["chose"]),
            contents=_texts(record["contents"]),
            people=None if people is None else names(people),
            chose_contents=frozenset() if plain else _texts(record["chose_contents"]),
            fingerprint=None if plain or record["fingerprint"] is None else str(record["fingerprint"]),
        )

    def is_of(self, name: str, data_fingerprint: str) -> bool:
        """Whether these are clips of the data with this name, or this fingerprint."""
        return name == self.data or data_fingerprint == self.fingerprint

    def sighting(self, clip: Clip, contents: Set[str], same_data: bool) -> Sighting | None:
        """What it has seen of a clip.

        Args:
            clip: of some data.
            contents: ``contents_of`` the clip; empty if its features have no source file.
            same_data: whether these are the data that it was trained on (``is_of``).
        """
        name = name_key(clip.id)
        trained, chose = name in self.train, name in self.chose
        if not self.contents.isdisjoint(contents) or (trained and same_data):
            return "trained"
        if not self.chose_contents.isdisjoint(contents) or (chose and same_data):
            return "chose"
        trained = trained and not (contents and self.contents) and not self._is_of_others(clip)
        chose = chose and not (contents and self.chose_contents)
        return "unsure" if trained or chose else None

    def _is_of_others(self, clip: Clip) -> bool:
        """Whether none of its training clips can be of this clip's participant."""
        return bool(self.people and clip.participant and name_key(clip.participant) not in self.people)


def name_key(name: str) -> str:
    """The hash of a clip's or a participant's name."""
    return key_of(name)


def name_keys(names: Iterable[str]) -> frozenset[str]:
    """The hashes of some names."""
    return frozenset(name_key(str(name)) for name in names)


def fingerprint(manifest: Manifest) -> str:
    """A key of what training reads from a manifest: clips, splits, participants and labels, but not paths."""
    clips = [
        (clip.id, clip.split, clip.participant, None if clip.labels is None else [repr(x) for x in clip.labels])
        for clip in manifest.clips
    ]
    return key_of(list(manifest.targets), clips)


def _texts(values: Iterable[Any]) -> frozenset[str]:
    return frozenset(map(str, values))
