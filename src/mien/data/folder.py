"""A folder of videos and audio files, with all its folders, as clips.

A clip is named by its path without the suffix. Of several files that differ in their suffix only, one has that name:
the .mp4 file, or else the first video, or else the first audio file; the others keep their suffix. So an audio file
that is put beside a video renames nothing.
"""

import os
from collections import defaultdict
from pathlib import Path

from mien.data.sidecars import Transcripts
from mien.errors import DataError, escape_control
from mien.schema import Clip, Manifest
from mien.wording import plural

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .m1v .m2p .m2t .m2ts .m2v .m4v .mk3d .mkv .mod .mov .mp4 .mpe .mpeg "
    ".mpg .mpv .mts .mxf .ogm .ogv .ogx .qt .rm .rmvb .tod .ts .vob .webm .wmv .wtv .xvid".split()
)
AUDIO_SUFFIXES = frozenset(
    ".aac .ac3 .aif .aifc .aiff .amr .au .caf .flac .m4a .m4b .mka .mp2 .mp3 .oga .ogg .opus .snd .spx .w64 .wav .weba "
    ".wma .wv".split()
)

HIDDEN = frozenset(("@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found"))
"""Folders that servers and systems make for themselves, in lower case; beside those that begin with a dot."""


def read_folder(root: Path) -> Manifest:
    """Every video and audio file in a folder, sorted by name.

    Hidden files and folders are left out and counted; a linked folder is followed once.

    Raises:
        DataError: a folder cannot be listed.
    """
    found, skipped = _walk(root)
    media = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES]
    skipped["file without video or audio left out", "files without video or audio left out"] = [
        path for path in found if path not in set(media) and path.suffix.lower() != ".txt"
    ]
    skipped["name without a regular file left out", "names without a regular file left out"] = [
        path for path in media if not path.is_file()
    ]
    media = [path for path in media if path.is_file()]
    notes = [
        f"{root}: {plural(len(paths), *words)} (first: {paths[0].relative_to(root)})"
        for words, paths in skipped.items()
        if paths
    ]
    transcripts = Transcripts(root / "text")
    names = clip_names(root, media)
    shared = [path for path in media if names[path].endswith(path.suffix) and path.suffix]
    if shared:
        first = shared[0].relative_to(root)
        notes.append(
            f"{root}: {plural(len(shared), 'clip')} named with the suffix, as another file has the name (first: "
            f"{first})"
        )
    clips = [Clip(escape_control(names[path]), path, transcript=transcripts.read(names[path])) for path in media]
    return Manifest(root, (), tuple(clips), (*notes, *transcripts.notes()))


def _walk(root: Path) -> tuple[list[Path], dict[tuple[str, str], list[Path]]]:
    """All files below a folder, sorted, linked folders last, and what was left out, by reason (of one, of many)."""
    files: list[Path] = []
    hidden: list[Path] = []
    repeated: list[Path] = []
    folders, links, seen = [root], [], set()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
        if (status.st_dev, status.st_ino) in seen:
            repeated.append(folder)
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name.lower() in HIDDEN:
                hidden += [path] if entry.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES else []
            elif not entry.is_dir():
                files.append(path)
            else:
                (links if entry.is_symlink() else folders).append(path)
    reasons = {
        ("hidden file or folder left out", "hidden files and folders left out"): hidden,
        ("linked folder read under another name", "linked folders read under another name"): repeated,
    }
    return sorted(files), reasons


def clip_names(root: Path, media: list[Path]) -> dict[Path, str]:
    """A name for each file."""
    of_stem: dict[Path, list[Path]] = defaultdict(list)
    for path in media:
        of_stem[path.relative_to(root).with_suffix("")].append(path)
    names = {path: str(path.relative_to(root)) for path in media}
    for stem, paths in of_stem.items():
        first = min(paths, key=_rank)
        names[first] = str(stem)
    return names


def _rank(path: Path) -> tuple[bool, bool, str]:
    suffix = path.suffix.lower()
    return suffix != ".mp4", suffix not in VIDEO_SUFFIXES, path.name
