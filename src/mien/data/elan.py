"""Reader of ELAN annotation files (``.eaf``): every rated interval becomes a labelled clip.

Ratings are on tiers: one tier per target, the rating as the text of an annotation. Annotations of several tiers with
the same start and end are one clip with several labels. The trade-off: intervals must agree exactly, since a tolerance
could join what the rater kept apart; the note on clips with missing labels shows those that nearly agree.

Files are untrusted: a document type or an entity, which ELAN never writes, is refused before it is expanded.
Read ``read_elan`` first; then ``_clips``, ``_annotations``, ``elan_times``.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from mien.data.elan_times import AnnotationTimes, milliseconds
from mien.data.folder import VIDEO_SUFFIXES
from mien.data.sidecars import locate
from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.storage.files import read_bytes_checked
from mien.wording import plural


@dataclass(frozen=True, slots=True)
class Annotation:
    """The text of an interval; ``start`` and ``end`` in milliseconds of the annotation file."""

    id: str
    start: int
    end: int
    text: str
    participant: str


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The content of one annotation file.

    Attributes:
        file: its path.
        media: the annotated video; it may not exist.
        origin: milliseconds of the video before the annotation file's time 0.
        tiers: annotations by the requested name of the tier.
        names: names of all tiers.
        estimated: number of annotations with evenly shared times.
    """

    file: Path
    media: Path
    origin: int
    tiers: Mapping[str, tuple[Annotation, ...]]
    names: tuple[str, ...]
    estimated: int = 0


def read_elan(source: Path, targets: Sequence[str], transcript: str | None = None) -> Manifest:
    """Rated intervals of videos from ELAN annotation files.

    Args:
        source: an ``.eaf`` file, or a folder (every ``.eaf`` below it).
        targets: tiers with ratings; ``Joy`` also takes ``Joy@Anna``, ELAN's convention for a tier of Anna's.
        transcript: a tier with the words said; a clip gets the annotations that have their middle in it.

    Returns:
        A clip per interval, in order of file and time: its video, ``start`` and ``end`` in that video, the tier's
        participant, and a label per target, ``nan`` where that tier has no such interval or no text in it. Ratings are
        not scaled; ``read_manifest`` does that.

    Raises:
        DataError: there is no file, a file is not an annotation file or names no video, no file has one of the tiers,
            or an annotation has no time, is not a number, begins before its video, or has the interval and tier of
            another one.
    """
    files = [source]
    if source.is_dir():  # macOS puts a hidden ._x.eaf beside x.eaf on foreign disks
        files = sorted(file for file in source.rglob("*.eaf") if not file.name.startswith("."))
    if not files:
        raise DataError(f"{source}: no .eaf files found")
    wanted = [*targets, *([transcript] if transcript else [])]
    parsed = [_parse(file, wanted) for file in files]
    for name in wanted:
        if not any(name in one.tiers for one in parsed):
            found = ", ".join(parsed[0].names) or "none"
            raise DataError(f"{source}: no tier {name!r} in {plural(len(files), 'file')} (in {files[0].name}: {found})")
    root = source if source.is_dir() else source.parent
    clips = [clip for one in parsed for clip in _clips(one, targets, transcript, root)]
    if not clips:
        raise DataError(f"{source}: the tiers {', '.join(targets)} have no annotations")
    return Manifest(source, tuple(targets), tuple(clips), tuple(_notes(source, clips, parsed, targets)))


def _clips(eaf: AnnotationFile, targets: Sequence[str], transcript: str | None, root: Path) -> Iterator[Clip]:
    """The intervals of a file that are rated on any tier."""
    rated: dict[tuple[int, int, str], dict[str, Annotation]] = {}
    for target in targets:
        for note in eaf.tiers.get(target, ()):
            first = rated.setdefault((note.start, note.end, note.participant), {}).setdefault(target, note)
            if first is not note:
                raise DataError(f"{eaf.file}:{note.id}: {target} is rated twice on one interval (first by {first.id})")
    several = len({participant for _, _, participant in rated}) > 1
    stem = eaf.file.relative_to(root).with_suffix("").as_posix()
    for (start, end, participant), found in sorted(rated.items()):
        if start + eaf.origin < 0:
            raise DataError(f"{eaf.file}:{next(iter(found.values())).id}: begins before its video, {eaf.media.name}")
        suffix = f"_{participant}" if several and participant else ""
        yield Clip(
            id=f"{stem}_{start}-{end}{suffix}",
            path=eaf.media,
            start=(start + eaf.origin) / 1000,
            end=(end + eaf.origin) / 1000,
            participant=participant or None,
            transcript=None if transcript is None else _words(eaf, transcript, start, end, participant),
            labels=tuple(_rating(eaf.file, found[name]) if name in found else math.nan for name in targets),
        )


def _rating(file: Path, note: Annotation) -> float:
    try:
        value = float(note.text or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value) or (note.text and math.isnan(value)):
        raise DataError(f"{file}:{note.id}: {note.text[:40]!r} is not a number; a rating is written like 0.5")
    return value


def _words(eaf: AnnotationFile, tier: str, start: int, end: int, participant: str) -> str:
    """The words in an interval on the participant's tiers, and on those without a participant."""
    return " ".join(
        note.text
        for note in sorted(eaf.tiers.get(tier, ()), key=lambda note: (note.start, note.end))
        if start <= (note.start + note.end) / 2 < end and note.participant in (participant, "")
    )


def _notes(
    source: Path, clips: Sequence[Clip], parsed: Sequence[AnnotationFile], targets: Sequence[str]
) -> Iterator[str]:
    unrated = [eaf for eaf in parsed if not any(name in eaf.tiers for name in targets)]
    if unrated:
        yield f"{source}: {plural(len(unrated), 'file')} without any of the tiers (first: {unrated[0].file.name})"
    partly = [clip for clip in clips if any(math.isnan(label) for label in clip.labels or ())]
    if partly:
        yield f"{source}: {len(partly)} of {plural(len(clips), 'clip')} not rated on every tier (first: {partly[0].id})"
    shared = sum(eaf.estimated for eaf in parsed)
    if shared:
        first = next(eaf for eaf in parsed if eaf.estimated).file.name
        count = plural(shared, "annotation")
        yield f"{source}: {count} without times, placed evenly in the parent (first: {first})"
    missing = [eaf for eaf in parsed if not _is_file(eaf.media)]
    if missing:
        words = "video not at the path in its file", "videos not at the paths in their files"
        yield f"{source}: {plural(len(missing), *words)} (first: {missing[0].media})"


# -- one file -----------------------------------------------------------------------------------------------------


def _parse(file: Path, wanted: Sequence[str]) -> AnnotationFile:
    root = _root(file)
    units = root.find("HEADER[@TIME_UNITS]")
    if units is not None and units.get("TIME_UNITS") != "milliseconds":
        raise DataError(f"{file}: times are in {units.get('TIME_UNITS')}, but only milliseconds are read")
    found: dict[str, list[Annotation]] = {}
    times = AnnotationTimes(file, root)
    for tier in root.iterfind("TIER"):
        name, _, owner = tier.get("TIER_ID", "").partition("@")
        match = next((want for want in wanted if want in (tier.get("TIER_ID"), name)), None)
        if match is not None:
            notes = _annotations(tier, times, tier.get("PARTICIPANT") or (owner if match == name else ""))
            found.setdefault(match, []).extend(notes)
    names = tuple(tier.get("TIER_ID", "") for tier in root.iterfind("TIER"))
    media, origin = _media(file, root)
    return AnnotationFile(
        file, media, origin, {name: tuple(notes) for name, notes in found.items()}, names, len(times.estimated)
    )


def _root(file: Path) -> Element:
    try:
        root = fromstring(read_bytes_checked(file, LARGEST_EAF), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(f"{file}: holds a document type or entities, which ELAN does not write; not read") from error
    except ParseError as error:
        raise DataError(f"{file}:{error.position[0]}: not an ELAN file ({error})") from error
    except (ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{file}: not an ELAN file ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{file}: not an ELAN file, but XML of another kind ({root.tag[:40]})")
    return root


LARGEST_EAF = 50_000_000
"""Bytes of an annotation file."""


def _annotations(tier: Element, times: AnnotationTimes, participant: str) -> Iterator[Annotation]:
    for note in tier.iterfind("ANNOTATION/*"):
        name = note.get("ANNOTATION_ID", "")
        text = " ".join((note.findtext("ANNOTATION_VALUE") or "").split())
        yield Annotation(name, *times.of(name), text, participant)


def _media(file: Path, root: Element) -> tuple[Path, int]:
    """The first video (or audio file) that the file is linked to, and its offset."""
    linked = root.findall("HEADER/MEDIA_DESCRIPTOR")
    if not linked:
        raise DataError(f"{file}: names no video; in ELAN, add it under Edit, Linked Files")
    urls = [(entry, entry.get("RELATIVE_MEDIA_URL") or entry.get("MEDIA_URL") or "") for entry in linked]
    entry, url = next((pair for pair in urls if PurePosixPath(pair[1]).suffix.lower() in VIDEO_SUFFIXES), urls[0])
    scheme = url.partition("://")[0]
    if not url or (scheme != url and scheme != "file"):
        raise DataError(f"{file}: its video is {url or 'not named'}; expected a file on this machine")
    return _found(file, entry), milliseconds(file, entry, "TIME_ORIGIN") or 0


def _found(file: Path, entry: Element) -> Path:
    """The video's path: the relative one, the full one, or beside the file; the first that exists, else the first."""
    relative, full = (entry.get(name, "").replace("\\", "/") for name in ("RELATIVE_MEDIA_URL", "MEDIA_URL"))
    full = "/" + full.removeprefix("file:").lstrip("/") if full.startswith("file:") else full
    paths = [file.parent / path for given in (relative, full) if given for path in (given, unquote(given))]
    paths += [file.parent / PurePosixPath(path).name for path in (str(paths[0]), unquote(str(paths[0])))]
    paths += [locate(path.parent, path.name) for path in paths]
    found = next((path for path in paths if _is_file(path)), paths[0])
    return Path(os.path.normpath(found))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an untrusted name that no file can have
        return False
