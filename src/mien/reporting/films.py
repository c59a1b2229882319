"""Where the films of scored clips are, whether browsers play them, and how a page gets at them.

A page links to a film by the way from itself to the film, so both can be moved together; or it holds the film inside.
A film that is missing, or that browsers do not play, is not silently left out: ``Films`` says which and why.
"""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mien.errors import DataError, MediaError
from mien.media.playable import TYPES, media_type, why_unplayable
from mien.serving.document import ClipNote

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
        unplayable: file names by the reason why browsers do not play them.
    """

    films: tuple[Film, ...]
    of: dict[str, str]
    missing: tuple[str, ...]
    unplayable: dict[str, tuple[str, ...]]

    @property
    def notes(self) -> list[str]:
        """What is missing or cannot be played, a line each, with counts and the first example."""
        made = []
        if self.missing:
            made.append(
                f"{_clips(len(self.missing))} without a film (first: {self.missing[0]}): the file is not where it was "
                "when it was scored; say where with --videos DIR"
            )
        if self.unplayable:
            kinds = "; ".join(f"{reason}: {len(names)}, first {names[0]}" for reason, names in self.unplayable.items())
            made.append(
                f"{_clips(sum(map(len, self.unplayable.values())))} in a form that browsers do not play ({kinds}); "
                "convert them into another folder with ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p -c:a aac OUT.mp4, and "
                "name it with --videos DIR"
            )
        return made


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
            path = Path(os.path.abspath(there[reasons.index(None)]))  # noqa: PTH100 - as written, links not followed
            film = found.setdefault(path, Film(f"film-{len(found)}", path.name, media_type(path), link(path, page)))
            of[clip.clip] = film.id
        elif there:
            unplayable.setdefault(reasons[0], []).append(there[0].name)
        else:
            missing.append(clip.clip)
    films = _inside(found) if embed else tuple(found.values())
    return Films(films, of, tuple(missing), {reason: tuple(names) for reason, names in unplayable.items()})


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
    return quote(Path(os.path.relpath(film, Path(os.path.abspath(page)).parent)).as_posix())  # noqa: PTH100


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
        Film(film.id, film.name, film.media, inside=base64.b64encode(path.read_bytes()).decode())
        for path, film in found.items()
    )


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"
