"""A job's scores as files: every export format, the report, and all of them in an archive.

Made on request in a temporary folder from ``scores.json``; nothing is kept.
"""

import os
import tempfile
import zipfile
from pathlib import Path

from mien.reporting import scores as pages
from mien.reporting.render import render
from mien.reporting.videos import Videos
from mien.scores.document import ScoresDocument, read_document
from mien.scores.exports import write_scores
from mien.serving.disk import Disk

TABLES = {"scores.csv": "wide", "long.csv": "long", "windows.csv": "windows", "words.csv": "words", "why.csv": "why"}
FOLDERS = {"eaf": "eaf", "TextGrid": "textgrid"}
MEDIA_TYPES = {
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".zip": "application/zip",
}
NAMES = ("scores.json", *TABLES, *FOLDERS, "hume.json", "report.html", "all.zip")
"""Results of a job, by the last part of their address."""


def result(disk: Disk, job: str, name: str) -> tuple[bytes, str]:
    """A result of a job, and its media type.

    Args:
        disk: of the server.
        job: a job with scores.
        name: one of ``NAMES``; formats with a file per clip are archives.

    Raises:
        DataError: there are no scores.
    """
    file = disk.scores(job)
    if name == "scores.json":
        return file.read_bytes(), MEDIA_TYPES[".json"]
    scored = read_document(file)
    with tempfile.TemporaryDirectory(prefix="mien-result-") as folder:
        made = _make(scored, Path(folder), name)
        kind = MEDIA_TYPES.get(made.suffix, "application/octet-stream")
        return made.read_bytes(), kind


def _make(scored: ScoresDocument, folder: Path, name: str) -> Path:
    out = folder / name
    if name in TABLES:
        write_scores(scored, out, TABLES[name])
    elif name == "hume.json":
        write_scores(scored, out, "hume")
    elif name == "report.html":
        out.write_text(render(pages.page(scored, _no_videos(scored))), encoding="utf-8")
    elif name in FOLDERS:
        files = folder / "files"
        files.mkdir()
        write_scores(scored, files, FOLDERS[name])
        out = _zip(files, folder / f"{name}.zip")
    else:
        files = folder / "files"
        files.mkdir()
        write_scores(scored, files / "scores.json", "json")
        for one in (*TABLES, "hume.json", "report.html"):
            _make(scored, files, one)
        for one in FOLDERS:
            (files / one).mkdir()
            write_scores(scored, files / one, FOLDERS[one])
        out = _zip(files, out)
    return out


def _no_videos(scored: ScoresDocument) -> Videos:
    clips = pages.player_clips(scored)
    return Videos(fileless=tuple(clip.clip for clip in clips if clip.path is None),
                  missing=tuple(clip.clip for clip in clips if clip.path is not None))  # fmt: skip


def _zip(folder: Path, out: Path) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, os.fspath(file.relative_to(folder)))
    return out
