"""Times of the annotations in an ELAN file, also of those that have none of their own.

Only annotations on independent tiers must have times. Time slots without a value lie evenly between those of their tier
and its parents that have one; symbolic subdivisions share their parent's interval evenly, in the order of
``PREVIOUS_ANNOTATION``; symbolic associations have the interval of their parent. ELAN shows them likewise.

Source: ELAN Annotation Format 3.0.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from mien.errors import DataError

DEEPEST = 100
"""Levels of parent annotations; ELAN's own tiers are a handful deep."""


class AnnotationTimes:
    """The times of all annotations of a file.

    Attributes:
        estimated: annotations that were looked up and have no times of their own.
    """

    def __init__(self, file: Path, root: Element) -> None:
        """Read the time slots and the links between annotations."""
        self._file = file
        self.estimated: list[str] = []
        self._slots = {
            slot.get("TIME_SLOT_ID", ""): milliseconds(file, slot, "TIME_VALUE")
            for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
        }
        tiers = {tier.get("TIER_ID", ""): tier for tier in root.iterfind("TIER")}
        subdivided = {
            kind.get("LINGUISTIC_TYPE_ID")
            for kind in root.iterfind("LINGUISTIC_TYPE")
            if kind.get("CONSTRAINTS") == "Symbolic_Subdivision"
        }
        self._ends: dict[str, tuple[int | None, int | None]] = {}
        self._unaligned: set[str] = set()
        self._parents: dict[str, tuple[str, int, int]] = {}
        for tier in tiers.values():
            self._read_aligned(tier, tiers)
            self._read_references(tier, tier.get("LINGUISTIC_TYPE_REF") in subdivided)

    def of(self, name: str) -> tuple[int, int]:
        """Start and end of an annotation, in milliseconds."""
        links: list[tuple[str, int, int]] = []
        passed, at = {name}, name
        while at in self._parents:
            links.append(self._parents[at])
            at = links[-1][0]
            if at in passed:
                raise DataError(f"{self._file}:{name}: is its own parent, through {at}")
            if len(links) > DEEPEST:
                raise DataError(f"{self._file}:{name}: has more than {DEEPEST} parent annotations")
            passed.add(at)
        start, end = self._ends.get(at, (None, None))
        if start is None or end is None:
            raise DataError(f"{self._file}:{name}: has no time of its own; in ELAN, align it or its parent")
        for _, place, count in reversed(links):
            step = (end - start) / count
            start, end = round(start + place * step), round(start + (place + 1) * step)
        if end <= start:
            raise DataError(f"{self._file}:{name}: ends at {end} ms, but begins at {start} ms")
        if at in self._unaligned or any(count > 1 for _, _, count in links):
            self.estimated.append(name)
        return start, end

    def _read_aligned(self, tier: Element, tiers: Mapping[str, Element]) -> None:
        notes = tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
        slots = [(note.get("TIME_SLOT_REF1", ""), note.get("TIME_SLOT_REF2", "")) for note in notes]
        known = self._slots
        if any(known.get(slot) is None for pair in slots for slot in pair):
            known = self._filled({slot for pair in slots for slot in pair}, tier, tiers)
        for note, pair in zip(notes, slots, strict=True):
            name = note.get("ANNOTATION_ID", "")
            self._ends[name] = (known.get(pair[0]), known.get(pair[1]))
            if any(self._slots.get(slot) is None for slot in pair):
                self._unaligned.add(name)

    def _filled(self, used: set[str], tier: Element, tiers: Mapping[str, Element]) -> dict[str, int | None]:
        """The slots of a tier and of its parents; those without a value evenly between their neighbours."""
        parents: set[str] = set()
        while (parent := tier.get("PARENT_REF", "")) in tiers and parent not in parents:
            parents.add(parent)
            tier = tiers[parent]
            for note in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
                used = used | {note.get("TIME_SLOT_REF1", ""), note.get("TIME_SLOT_REF2", "")}
        order = [slot for slot in self._slots if slot in used]  # TIME_ORDER lists slots in the order of time
        aligned = [place for place, slot in enumerate(order) if self._slots[slot] is not None]
        filled = {slot: self._slots[slot] for slot in order}
        for first, last in itertools.pairwise(aligned):
            begin, end = self._slots[order[first]], self._slots[order[last]]
            assert begin is not None and end is not None
            for place in range(first + 1, last):
                filled[order[place]] = round(begin + (end - begin) * (place - first) / (last - first))
        return filled

    def _read_references(self, tier: Element, subdivided: bool) -> None:
        children: dict[str, list[Element]] = defaultdict(list)
        for note in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            children[note.get("ANNOTATION_REF", "")].append(note)
        for parent, notes in children.items():
            shares = subdivided or any(note.get("PREVIOUS_ANNOTATION") for note in notes)
            for place, name in enumerate(self._in_order(notes)):
                self._parents[name] = (parent, place, len(notes)) if shares else (parent, 0, 1)

    def _in_order(self, notes: Sequence[Element]) -> list[str]:
        """The names of annotations with one parent, each after its ``PREVIOUS_ANNOTATION``."""
        names = {note.get("ANNOTATION_ID", "") for note in notes}
        followers: dict[str, list[str]] = defaultdict(list)
        for note in notes:
            before = note.get("PREVIOUS_ANNOTATION", "")
            followers[before if before in names else ""].append(note.get("ANNOTATION_ID", ""))
        order: list[str] = []
        waiting = followers.pop("", [])[::-1]
        while waiting:
            order.append(waiting.pop())
            waiting += followers.pop(order[-1], [])[::-1]
        if followers:
            raise DataError(f"{self._file}:{next(iter(followers))}: its PREVIOUS_ANNOTATION leads back to itself")
        return order


def milliseconds(file: Path, element: Element, attribute: str) -> int | None:
    """A time of an annotation file; ``None`` if there is none.

    Raises:
        DataError: it is not a whole number.
    """
    text = element.get(attribute)
    if text is None:
        return None
    if not re.fullmatch(r"\s*-?[0-9]{1,14}\s*", text):
        raise DataError(f"{file}: {attribute} = {text[:40]!r} is not a whole number of milliseconds")
    return int(text)
