"""A scored clip as an ELAN annotation file (``.eaf``, format 3.0).

It follows ``EAFv3.0.xsd`` of the Max Planck Institute for Psycholinguistics: order of elements, required attributes,
times as whole milliseconds in slots sorted by time, two slots per annotation. Media are named as in ELAN: ``file:`` and
the unescaped path (ELAN does not decode ``%20``), and a path relative to the annotation file, with which ELAN finds the
video after both were moved.

Source: H. Sloetjes, P. Wittenburg, *Annotation by category: ELAN and ISO DCR*, LREC 2008; ``EAFv3.0.xsd`` (2017).
"""

import mimetypes
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from mien.scores.document import ClipNote, ScoresDocument
from mien.scores.exports.format import FolderFormat
from mien.scores.exports.tiers import Tier, TierInterval, tiers
from mien.scores.provenance import provenance_line
from mien.storage.addresses import is_address

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
KINDS = ("score", "speech")
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold; they become U+FFFD."""


def eaf(scored: ScoresDocument, clip: ClipNote, folder: Path) -> bytes:
    """The annotation file of a clip.

    Args:
        scored: the document; its model is the annotator of the tiers.
        clip: a scored clip of it.
        folder: folder of the annotation file; the path of the video is relative to it.

    Returns:
        XML in UTF-8: a tier per target with scores as text, and ``transcript`` and ``words`` if known. Provenance and
        notes on the file are properties in its head, ``mien`` and ``mien.notes``.

    Raises:
        DataError: windows are not in order of time, or nested.
    """
    made = tiers(clip, scored.targets)
    numbered = {part: place for place, part in enumerate(_parts(made), 1)}
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {"AUTHOR": "mien", "DATE": _date(scored), "FORMAT": "3.0", "VERSION": "3.0",
         "xmlns:xsi": INSTANCE, "xsi:noNamespaceSchemaLocation": SCHEMA},
    )  # fmt: skip
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if clip.path is not None and not is_address(clip.path):
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _media(Path(clip.path), folder))
    ElementTree.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(numbered))
    for name, text in (("mien", provenance_line(scored)), ("mien.notes", "; ".join(clip.notes))):
        if text:
            ElementTree.SubElement(header, "PROPERTY", NAME=name).text = clean(text)
    slots = _time_order(root, list(numbered))
    for tier in made:
        _tier(root, tier, numbered, slots, {"ANNOTATOR": scored.model.name, "PARTICIPANT": clip.participant or ""})
    for kind in KINDS:
        ElementTree.SubElement(
            root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=kind, TIME_ALIGNABLE="true"
        )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _date(scored: ScoresDocument) -> str:
    """When the scores were made; today for a document that does not know it."""
    return scored.provenance.created if scored.provenance else datetime.now(UTC).isoformat(timespec="seconds")


Part = tuple[str, TierInterval]
"""The name of a tier, and an interval of it."""


def _parts(made: Sequence[Tier]) -> list[Part]:
    return [(tier.name, interval) for tier in made for interval in tier.intervals]


def _time_order(root: ElementTree.Element, parts: Sequence[Part]) -> dict[tuple[Part, str], str]:
    """Write the time slots in order; returns the slot id of each end of each part."""
    ends = [(getattr(part[1], end), (part, end)) for part in parts for end in ("start", "end")]
    order = ElementTree.SubElement(root, "TIME_ORDER")
    slots = {}
    for place, (time, part_end) in enumerate(sorted(ends, key=lambda end: end[0]), 1):
        slots[part_end] = f"ts{place}"
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{place}", TIME_VALUE=str(time))
    return slots


def _tier(
    root: ElementTree.Element,
    tier: Tier,
    numbered: dict[Part, int],
    slots: dict[tuple[Part, str], str],
    about: dict[str, str],
) -> None:
    attributes = {**about, "LINGUISTIC_TYPE_REF": tier.kind, "TIER_ID": tier.name}
    row = ElementTree.SubElement(root, "TIER", {name: clean(value) for name, value in attributes.items() if value})
    for interval in tier.intervals:
        part = (tier.name, interval)
        annotation = ElementTree.SubElement(
            ElementTree.SubElement(row, "ANNOTATION"), "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{numbered[part]}",
            TIME_SLOT_REF1=slots[part, "start"], TIME_SLOT_REF2=slots[part, "end"],
        )  # fmt: skip
        ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = clean(interval.text)


def _media(path: Path, folder: Path) -> dict[str, str]:
    absolute = path.absolute()
    kind, _ = mimetypes.MimeTypes().guess_type(path.name)
    named = {"MEDIA_URL": f"file:///{absolute.as_posix().lstrip('/')}", "MIME_TYPE": kind or "unknown"}
    if absolute.drive == folder.absolute().drive:
        relative = Path(os.path.relpath(absolute, folder.absolute())).as_posix()
        named["RELATIVE_MEDIA_URL"] = relative if relative.startswith("../") else f"./{relative}"
    return {name: clean(value) for name, value in named.items()}


def clean(text: str) -> str:
    """Text with only characters that XML can hold.

    >>> clean("a\\x00b") == "a\\ufffdb"
    True
    """
    return NOT_XML.sub("\ufffd", text)


EAF = FolderFormat(
    name="eaf",
    about="an ELAN file per clip, with a tier per target, and the words: for annotators",
    suffix=".eaf",
    make=eaf,
)
