"""Counts in messages: a number with its noun, and notes of one kind counted together."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NUMBER = re.compile(r"\d+(\.\d+)?")


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun, and whatever else depends on it; ``many`` is by default ``one`` with an s.

    >>> plural(1, "clip"), plural(4588, "clip"), plural(2, "clip has", "clips have")
    ('1 clip', '4,588 clips', '2 clips have')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def kind_of(text: str) -> str:
    """A note or a reason without its numbers.

    >>> kind_of("no face in 28 of 30 frames")
    'no face in … of … frames'
    """
    return _NUMBER.sub("…", text)


@dataclass
class Kind:
    """Notes that differ at most in their numbers.

    Attributes:
        text: of the first note; without its numbers if another has others.
        clips: that have such a note, each once, in order.
        first: the first note, as it is.
    """

    text: str
    clips: list[str]
    first: str


def by_kind(notes: Iterable[tuple[str, str]]) -> list[Kind]:
    """Notes ``(clip, note)`` by kind, the common ones first.

    >>> [kind] = by_kind([("a", "ends at 3 s"), ("b", "ends at 4.5 s")])
    >>> kind.text, kind.clips, kind.first
    ('ends at … s', ['a', 'b'], 'ends at 3 s')
    """
    kinds: dict[str, Kind] = {}
    for clip, note in notes:
        kind = kinds.setdefault(kind_of(note), Kind(note, [], note))
        if note != kind.first:
            kind.text = kind_of(note)
        if clip not in kind.clips[-1:]:
            kind.clips.append(clip)
    return sorted(kinds.values(), key=lambda kind: -len(kind.clips))


def decimal(value: float, form: str) -> str:
    """A number in a format such as ``".3f"`` or ``"+.1%"``; what rounds to 0 has no minus.

    >>> decimal(-0.0004, ".3f"), decimal(-0.0004, "+.3f"), decimal(-0.25, ".3f"), decimal(1200, ",")
    ('0.000', '+0.000', '-0.250', '1,200')
    """
    return format(value, form.replace(".", "z.", 1))
