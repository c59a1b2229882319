"""Where the films of scored clips are, whether browsers play them, and how a page gets at them.

A page links to a film by the way from itself to the film, so both can be moved together; or it holds the film inside.
A film that is missing, or that browsers do not play, is not silently left out: ``Films`` says which and why.
"""

import base64
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mien.errors import DataError, MediaError
from mien.media.browser_support import TYPES, media_type, why_unplayable
from mien.reporting.wording import plural
from mien.scores.document import ClipNote
from mien.storage.files import read_bytes_checked

LARGEST = 400_000_000
"""Bytes of films that a page holds inside, at most; browsers fail at texts that are not much longer."""


@dataclass(frozen=True)
class Film:
    """A film that browsers play.

    Attributes:
        id: unique on the page.
        name: its file's name.
        media: what a browser calls its form: ``video/mp4``.
        link: the way from the page to it, quoted; empty when it is inside.
        inside: the file in Base64; empty when it is linked.
    """

    id: str
    name: str
    media: str
    link: str = ""
    inside: str = field(default="", repr=False)


@dataclass(frozen=True)
class Films:
    """The films of clips.

    Attributes:
        films: each once, in order.
        of: the film's id by clip.
        missing: clips without their file, in order.
        unplayable: by clip, its file's name and why browsers do not play it.
    """

    films: tuple[Film, ...] = ()
    of: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unplayable: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What is missing or cannot be played, with counts and the first example, and what to do about it."""
        made = []
        if self.missing:
            what = (
                f"{plural(len(self.missing), 'clip')} without a film, no file where it was (first: {self.missing[0]})"
            )
            made.append((f"{what}. If it has moved, say where to", "mien report SCORES.json --videos FOLDER"))
        if self.unplayable:
            name, _ = next(iter(self.unplayable.values()))
            kinds = Counter(reason for _, reason in self.unplayable.values())
            what = "; ".join(f"{reason}: {count}" for reason, count in kinds.items())
            text = f"{plural(len(self.unplayable), 'clip')} whose film browsers do not play ({what}; first: {name})"
            way = f"ffmpeg -i {shlex.quote(name)} -c:v libx264 -pix_fmt yuv420p -c:a aac {{}}"
            to = shlex.quote(str(Path("films") / Path(name).with_suffix(".mp4")))
            made.append((f"{text}. Converted into a folder, they are found there", f"{way.format(to)}\n"
                         "mien report SCORES.json --videos films"))  # fmt: skip
        return made

    def says(self, clip: str) -> str:
        """Why a clip has no film; empty when it has one."""
        if clip in self.of:
            return ""
        name, reason = self.unplayable.get(clip, ("", ""))
        return f"Browsers do not play {name} ({reason})." if name else "Its film was not found."


def find_films(clips: Iterable[ClipNote], page: Path, scores: Path, videos: Path | None, embed: bool) -> Films:
    """Find the films of clips.

    Args:
        clips: those whose films are wanted.
        page: the file that the page will be.
        scores: the file of the scores: films are looked for as they were named, here or from its folder.
        videos: the folder to look in instead, by as much of the path as fits; a film of another ending is taken, too.
        embed: put the films inside the page.

    Raises:
        DataError: they are too large to be put inside.
    """
    found: dict[Path, Film] = {}
    of, missing, unplayable = {}, [], {}
    for clip in clips:
        there = [path for path in candidates(clip, scores, videos) if path.is_file()]
        reasons = [_why_not(path) for path in there]
        if None in reasons:
            path = _absolute(there[reasons.index(None)])
            film = found.setdefault(path, Film(f"film-{len(found)}", path.name, media_type(path), link(path, page)))
            of[clip.clip] = film.id
        elif there:
            unplayable[clip.clip] = there[0].name, str(reasons[0])
        else:
            missing.append(clip.clip)
    return Films(_inside(found) if embed else tuple(found.values()), of, tuple(missing), unplayable)


def candidates(clip: ClipNote, scores: Path, videos: Path | None) -> list[Path]:
    """Where the file of a clip may be, the likeliest first."""
    if clip.path is None:
        return []
    path = Path(clip.path)
    if videos is None:
        return [path, scores.parent / path]
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    tails = [videos.joinpath(*parts[first:]) for first in range(len(parts))]
    return [*tails, *(tail.with_suffix(suffix) for tail in tails for suffix in TYPES if suffix != path.suffix)]


def link(film: Path, page: Path) -> str:
    """The way from a page to a film, as a browser wants it.

    >>> link(Path("/data/films/anna #1.mp4"), Path("/data/pages/report.html"))
    '../films/anna%20%231.mp4'
    """
    return quote(os.path.relpath(_absolute(film), _absolute(page).parent))


def _absolute(path: Path) -> Path:
    """A path from the root, with its symbolic links as they are: a browser does not follow them either."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow them


def _why_not(path: Path) -> str | None:
    try:
        return why_unplayable(path)
    except MediaError as error:
        return str(error).removeprefix(f"{path.name}: ")


def _inside(found: dict[Path, Film]) -> tuple[Film, ...]:
    size = sum(path.stat().st_size for path in found)
    if size > LARGEST:
        raise DataError(
            f"{len(found)} films of {size / 1e6:,.0f} MB together, but a page holds {LARGEST / 1e6:.0f} MB at most; "
            "leave out --embed, and they stay where they are"
        )
    return tuple(
        Film(film.id, film.name, film.media, inside=base64.b64encode(read_bytes_checked(path, LARGEST)).decode())
        for path, film in found.items()
    )
