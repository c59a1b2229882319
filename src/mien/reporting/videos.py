"""Finds the videos of scored clips, checks whether browsers play them, and links or embeds them.

A link is the relative path from the page to the video, so that both can be moved together. Videos that are missing or
that browsers do not play are listed in ``Videos`` with the reason.
"""

import base64
import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mien.config import ComputeSettings, MediaSettings
from mien.errors import DataError, MediaError
from mien.media.browser_support import TYPES, media_type
from mien.media.convert import SUFFIXES, convert
from mien.media.decoder import DecoderClient
from mien.scores.document import ClipNote
from mien.storage.files import key_of, read_bytes_checked
from mien.wording import plural

LARGEST = 400_000_000
"""Bytes of embedded videos in a page, at most; browsers fail at texts that are not much longer."""

SIDE = 640
"""Longest side of converted videos, pixels."""


@dataclass(frozen=True)
class Video:
    """A video that browsers play.

    Attributes:
        id: unique on the page.
        name: the file's name.
        media: MIME type: ``video/mp4``.
        link: relative path from the page, quoted; empty when it is embedded.
        embedded: the file in Base64; empty when it is linked.
    """

    id: str
    name: str
    media: str
    link: str = ""
    embedded: str = field(default="", repr=False)


@dataclass(frozen=True)
class Videos:
    """The videos of clips.

    Attributes:
        videos: each once, in order.
        of: the video's id by clip.
        missing: clips whose file was not found, in order.
        unplayable: by clip, the file's name and why browsers do not play it.
        fileless: clips that never had a file, in order.
        without: what is said of a clip whose file was not found.
    """

    videos: tuple[Video, ...] = ()
    of: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unplayable: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    fileless: tuple[str, ...] = ()
    without: str = "Its video was not found."

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Missing and unplayable videos, with counts and the first example, each with a command that helps."""
        made = []
        if self.missing:
            what = f"{plural(len(self.missing), 'clip')} without video: file not found (first: {self.missing[0]})"
            made.append(
                (f"{what}. If the files were moved, give their folder", "mien report SCORES.json --videos FOLDER")
            )
        if self.unplayable:
            name, _ = next(iter(self.unplayable.values()))
            kinds = Counter(reason for _, reason in self.unplayable.values())
            what = "; ".join(f"{reason}: {count}" for reason, count in kinds.items())
            clips = plural(len(self.unplayable), "clip")
            text = f"{clips} with a video that browsers do not play ({what}; first: {name}). Convert them into a folder"
            made.append((text, "mien report SCORES.json --convert FOLDER"))
        return made

    def why_none(self, clip: str) -> str:
        """Why a clip has no video; empty when it has one."""
        if clip in self.of:
            return ""
        if clip in self.fileless:
            return "The clip has no file, only words."
        name, reason = self.unplayable.get(clip, ("", ""))
        return f"Browsers do not play {name} ({reason})." if name else self.without


def find_videos(
    clips: Iterable[ClipNote],
    page: Path,
    scores: Path,
    *,
    folder: Path | None = None,
    embed: bool = False,
    convert_into: Path | None = None,
) -> Videos:
    """Find the videos of clips.

    Args:
        clips: the clips of the player.
        page: the page's file.
        scores: the scores' file; paths of videos are relative to the working directory or to its folder.
        folder: where to look first, by the longest matching end of the path; other extensions match, too.
        embed: embed the videos in the page.
        convert_into: a folder into which videos that browsers do not play are converted, unless that was done before.

    Raises:
        DataError: they are too large to be embedded.
        OutputError: ``convert_into`` cannot be written.
    """
    found: dict[Path, Video] = {}
    of, missing, unplayable, fileless = {}, [], {}, []
    decoder = DecoderClient(MediaSettings(largest_side=SIDE), ComputeSettings())
    check = functools.cache(lambda path: _checked(path, decoder, convert_into))
    try:
        for clip in clips:
            files = [path for path in candidates(clip, scores, folder) if os.path.isfile(path)]  # noqa: PTH113 - no error
            checked = (check(_absolute(path)) for path in files)
            if file := next((made for made, _ in checked if made), None):
                video = found.setdefault(
                    file, Video(f"video-{len(found)}", file.name, media_type(file), link(file, page))
                )
                of[clip.clip] = video.id
            elif files:
                unplayable[clip.clip] = files[0].name, check(_absolute(files[0]))[1]
            else:
                (fileless if clip.path is None else missing).append(clip.clip)
    finally:
        decoder.kill()
    return Videos(_embedded(found) if embed else tuple(found.values()), of, tuple(missing), unplayable, tuple(fileless))


def candidates(clip: ClipNote, scores: Path, folder: Path | None) -> list[Path]:
    """Where the file of a clip may be, the likeliest first."""
    if clip.path is None:
        return []
    path = Path(clip.path)
    original = [path, scores.parent / path]
    if folder is None:
        return original
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    tails = [folder.joinpath(*parts[first:]) for first in range(len(parts))]
    others = (tail.with_suffix(suffix) for tail in tails for suffix in TYPES if suffix != path.suffix)
    return [*tails, *others, *original]


def link(video: Path, page: Path) -> str:
    """The relative path from a page to a video, quoted for a browser.

    >>> link(Path("/data/videos/anna #1.mp4"), Path("/data/pages/report.html"))
    '../videos/anna%20%231.mp4'
    """
    return quote(os.path.relpath(_absolute(video), _absolute(page).parent))


def _absolute(path: Path) -> Path:
    """An absolute path that keeps symbolic links: browsers do not resolve them either."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow them


def _checked(path: Path, decoder: DecoderClient, convert_into: Path | None) -> tuple[Path | None, str]:
    """The file to show: ``path`` or its conversion; else ``None`` and the reason."""
    try:
        reason = decoder.why_unplayable(path)
        if reason is None:
            return path, ""
        return (None, reason) if convert_into is None else (_converted(path, decoder, convert_into), "")
    except MediaError as error:
        return None, str(error).removeprefix(f"{path.name}: ")


def _converted(path: Path, decoder: DecoderClient, folder: Path) -> Path:
    """The conversion of a file: an earlier one, if it is not older than the file."""
    name = f"{path.stem}-{key_of(str(path))[:8]}"
    earlier = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    made = next((file for file in earlier if file.is_file() and file.stat().st_mtime >= path.stat().st_mtime), None)
    return _absolute(made or convert(path, folder, name, decoder))


def _embedded(found: dict[Path, Video]) -> tuple[Video, ...]:
    size = sum(path.stat().st_size for path in found)
    if size > LARGEST:
        raise DataError(
            f"{plural(len(found), 'video')} of {size / 1e6:,.0f} MB in all, but a page holds at most "
            f"{LARGEST / 1e6:.0f} MB; without --embed, the page links to them"
        )
    return tuple(
        Video(video.id, video.name, video.media, embedded=base64.b64encode(read_bytes_checked(path, LARGEST)).decode())
        for path, video in found.items()
    )
