"""A job that is divided into parts: each is a command of its own, on any machine, in any order.

    features.parts/division.json    what the parts have in common: their number, the clips, all that decides the result
    features.parts/3/               part 3 of 16: a feature store of its own
    scores.csv.parts/3.json         part 3 of 16: a scores document of its own

A part is a block of consecutive clips of the manifest. The first part that starts writes ``division.json``; a part of
other clips, settings or versions is refused before it computes anything. Apart from that file, parts share nothing, so
they need no locks across machines. ``mien merge`` joins them. All of it may be in object storage.

The trade-off: the division is fixed. A slow machine is not relieved by a fast one, as it is with ``--cluster``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from mien.errors import DataError, MienError, SettingsError, Taken
from mien.storage.addresses import is_address
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.documents import check_document
from mien.storage.files import as_written
from mien.storage.remote import download, find, upload
from mien.storage.temporary import temporary_folder
from mien.wording import plural

FORMAT = "mien-parts"
VERSION = 1

DIVISION = "division.json"

NAMED = 20
"""Missing parts that a message names."""

LARGEST_DIVISION = 1_000_000_000
"""Bytes of a record; a name of a clip has some dozens."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """Part ``number`` of ``count``, from 1 on."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read ``3/16``.

        Raises:
            SettingsError: it is written differently, or is not one of 1 to ``count``.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal()):
            raise SettingsError(f"--shard {text}: expected NUMBER/COUNT, e.g. 3/16")
        if not 1 <= int(number) <= int(count):
            raise SettingsError(f"--shard {text}: parts are counted from 1: 1/{count} to {count}/{count}")
        return cls(int(number), int(count))

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its block of the items; blocks differ by one item at most.

        >>> [Part(number, 3).of("abcdefg") for number in (1, 2, 3)]
        ['ab', 'cd', 'efg']
        """
        first, last = (len(items) * number // self.count for number in (self.number - 1, self.number))
        return items[first:last]


@dataclass(frozen=True)
class Division:
    """What the parts of a job have in common.

    Attributes:
        kind: ``features`` or ``scores``.
        count: number of parts.
        clips: names of all clips, in order.
        settings: all that decides the result, as JSON-like values; with the version of mien.
    """

    kind: str
    count: int
    clips: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def parts(self) -> Iterator[Part]:
        """Every part, in order."""
        return (Part(number, self.count) for number in range(1, self.count + 1))


def place_of(out: str | Path, name: str) -> str | Path:
    """Where a file or folder of the parts of an output is: in a folder beside it.

    >>> place_of("s3://bucket/features", "3"), place_of(Path("scores.csv"), "3.json").as_posix()
    ('s3://bucket/features.parts/3', 'scores.csv.parts/3.json')
    """
    if isinstance(out, str) and is_address(out):
        return f"{out.rstrip('/')}.parts/{name}"
    out = Path(out)
    return out.with_name(f"{out.name}.parts") / name


def begin_part(
    out: str | Path, kind: str, part: Part, clips: Sequence[str], settings: Mapping[str, Any], suffix: str = ""
) -> str | Path:
    """Prepare one part of an output; returns the path or the address of its own output, which ends with ``suffix``.

    Raises:
        SettingsError: there are fewer clips than parts, or the other parts have other clips, settings or versions.
        DataError: the record of the other parts is damaged, or object storage cannot be reached or refuses.
        OutputError: the folder cannot be written.
    """
    if len(clips) < part.count:
        raise SettingsError(f"--shard {part.number}/{part.count}: more parts than clips ({len(clips)})")
    ours = Division(kind, part.count, tuple(clips), {"mien": version("mien"), **settings})
    record = place_of(out, DIVISION)
    if not (record.exists() if isinstance(record, Path) else find(record)):
        _write_division(record, ours)
    if (reason := _difference(read_division(out), ours)) is not None:
        folder = str(record).removesuffix(f"/{DIVISION}")
        raise SettingsError(f"{record}: {reason}; give all parts the same command, or remove {folder} to start again")
    return place_of(out, f"{part.number}{suffix}")


def _write_division(record: str | Path, division: Division) -> None:
    """Write the record; in object storage only if no other part was faster."""
    values = {"format": FORMAT, "version": VERSION, **vars(division), "clips": list(division.clips)}
    if isinstance(record, Path):
        return write_checksummed(record, values)
    with temporary_folder() as folder, suppress(Taken):
        write_checksummed(file := folder / DIVISION, values)
        upload(file, record)


def read_division(out: str | Path) -> Division:
    """What the parts of an output have in common.

    Raises:
        DataError: it has no parts, or the record is damaged or of another version, or cannot be fetched.
    """
    record = place_of(out, DIVISION)
    with temporary_folder() as folder:
        file = record if isinstance(record, Path) else folder / DIVISION
        if isinstance(record, str) and find(record):
            download(record, file, LARGEST_DIVISION)
        if not file.exists():
            raise DataError(
                f"{out}: has no parts ({record} does not exist); make them with --out {out} --shard 1/N to N/N"
            )
        remedy = "remove its folder and make the parts again"
        values = check_document(
            file, read_checksummed(file), FORMAT, VERSION, noun="division into parts", remedy=remedy
        )
        with as_written(file, remedy):
            return Division(values["kind"], values["count"], tuple(values["clips"]), values["settings"])


def check_complete(out: str | Path, division: Division, missing: Mapping[int, Sequence[str]]) -> None:
    """Check that no part is missing or unfinished.

    Args:
        out: the output.
        division: of the output.
        missing: by number, the clips that a part lacks.

    Raises:
        MienError: some are; the message names the parts, and how many clips they lack.
    """
    if not missing:
        return
    listed = ", ".join(
        f"{number} (lacks {len(clips)}: {clips[0]}{' …' * (len(clips) > 1)})"
        for number, clips in [*missing.items()][:NAMED]
    )
    more = f", and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    clips = sum(len(clips) for clips in missing.values())
    first, parts = next(iter(missing)), plural(division.count, "part")
    raise MienError(
        f"{out}: {plural(clips, 'clip')} missing in {len(missing)} of {parts}: {listed}{more}; run these parts again, "
        f"e.g. with --shard {first}/{division.count}"
    )


def _difference(theirs: Division, ours: Division) -> str | None:
    """How this part differs from the others."""
    if (theirs.kind, theirs.count) != (ours.kind, ours.count):
        return f"the other parts are {theirs.count} of {theirs.kind}, this one is of {ours.count} of {ours.kind}"
    if theirs.clips != ours.clips:
        pairs = zip(theirs.clips, ours.clips, strict=False)
        place = next((place for place, (a, b) in enumerate(pairs) if a != b), min(map(len, (theirs.clips, ours.clips))))
        return (
            f"the other parts are of {plural(len(theirs.clips), 'clip')}, this one is of {len(ours.clips)}, which "
            f"differ from clip {place + 1} on"
        )
    before, now = _flat(theirs.settings), _flat(ours.settings)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            return f"{name} is {before.get(name)} in the other parts and {now.get(name)} in this one"
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names; sequences compare as in JSON."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return found
