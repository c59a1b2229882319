"""Subsets of modalities, and their names: ``text+audio``.

A subset's name is used as a column, as a key of a model's intervals, and as a label in a study; it lists the
modalities in the model's order.
"""

import itertools
from collections.abc import Iterable, Sequence

SEPARATOR = "+"


def subset_name(modalities: Iterable[str]) -> str:
    """The name of a subset.

    >>> subset_name(["text", "audio"])
    'text+audio'
    """
    return SEPARATOR.join(modalities)


def modalities_of(name: str) -> list[str]:
    """The inverse of ``subset_name``.

    >>> modalities_of("text+audio")
    ['text', 'audio']
    """
    return name.split(SEPARATOR)


def all_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, in order of size; 15 of four modalities.

    >>> all_subsets(["text", "audio"])
    [('text',), ('audio',), ('text', 'audio')]
    """
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]
