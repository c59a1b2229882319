"""Files of a server below its data folder; names come from ids, never from a client.

    uploads/ID.part          received so far
    jobs/ID/in/ID-N          media of a job, hard links of its uploads
    jobs/ID/clips/N.json     a finished clip
    jobs/ID/scores.json      all clips
    tmp/                     what is being written, before it is renamed to its place
    trash/                   renamed to here before they are deleted, so that nothing is added in the meantime

Files come before their rows, and rows go before their files: a file without a row is an orphan, to be removed.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mien.errors import DataError
from mien.storage.files import read_json, writing

ID = re.compile(r"[a-z]+-[0-9a-f]{24}")
ORPHAN_SECONDS = 3600.0
"""Age from which a file without a row is an orphan: its row may still be written."""


class Disk:
    """The data folder of a server."""

    def __init__(self, root: Path) -> None:
        """The folder, made readable only for its owner if it does not exist.

        Raises:
            OutputError: it cannot be made.
        """
        self.root = root.absolute()
        with writing(root):
            for folder in (root, root / "uploads", root / "jobs", root / "tmp", root / "trash"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def upload(self, name: str) -> Path:
        """The file of an upload."""
        return self.root / "uploads" / f"{_checked(name)}.part"

    def job(self, job: str) -> Path:
        """The folder of a job."""
        return self.root / "jobs" / _checked(job)

    def media(self, job: str, n: int) -> Path:
        """A file of a job; its name is unique, so that messages that contain it can be translated."""
        return self.job(job) / "in" / f"{job}-{n}"

    def scores(self, job: str) -> Path:
        """The scores document of a job."""
        return self.job(job) / "scores.json"

    def place(self, job: str, files: Sequence[str]) -> None:
        """Link uploads into a new job's folder.

        Raises:
            DataError: an upload is not there.
            OutputError: the disk is full, or its file system has no hard links.
        """
        with writing(self.job(job)):
            for folder in ("in", "clips"):
                (self.job(job) / folder).mkdir(mode=0o700, parents=True)
            for n, file in enumerate(files):
                try:
                    os.link(self.upload(file), self.media(job, n), follow_symlinks=False)
                except FileNotFoundError:
                    raise DataError(f"{file}: no such upload") from None

    def write_clip(self, job: str, n: int, made: Any) -> None:
        """Store a finished clip; not if the job was deleted in the meantime.

        Raises:
            OutputError: the disk is full.
        """
        self._write(self.job(job) / "clips" / f"{n}.json", made)

    def read_clip(self, job: str, n: int) -> Any:
        """A finished clip.

        Raises:
            DataError: there is none, or it is damaged.
        """
        return read_json(self.job(job) / "clips" / f"{n}.json")

    def write_scores(self, job: str, made: Any) -> None:
        """Store the scores document of a job; not if it was deleted in the meantime.

        Raises:
            OutputError: the disk is full.
        """
        self._write(self.scores(job), made)

    def remove_upload(self, name: str) -> None:
        """Delete an upload."""
        self.upload(name).unlink(missing_ok=True)

    def remove_media(self, job: str) -> None:
        """Delete the media of a job."""
        self.discard(self.job(job) / "in")

    def remove_job(self, job: str) -> None:
        """Delete everything of a job."""
        self.discard(self.job(job))

    def discard(self, path: Path) -> None:
        """Delete a file or a folder. A folder is renamed first: a worker that is still writing to it finds it gone."""
        aside = self.root / "trash" / secrets.token_hex(12)
        with suppress(FileNotFoundError):
            path.rename(aside)
            aside.unlink() if aside.is_file() else shutil.rmtree(aside)

    def empty_trash(self) -> None:
        """Delete what a killed process left there."""
        for path in (self.root / "trash").iterdir():
            self.discard(path)

    def free_bytes(self) -> int:
        """Space left for new files."""
        return shutil.disk_usage(self.root).free

    def orphans(self, uploads: Collection[str], jobs: Collection[str], older: float = ORPHAN_SECONDS) -> list[Path]:
        """Files of uploads and folders of jobs without a row, and unfinished files, older than some seconds.

        Unfinished files are never younger than ``ORPHAN_SECONDS``, because a worker may be writing them.
        """
        left: list[Path] = []
        for folder, known in (("uploads", uploads), ("jobs", jobs), ("tmp", ())):
            limit = time.time() - (max(older, ORPHAN_SECONDS) if folder == "tmp" else older)
            for path in (self.root / folder).iterdir():
                with suppress(FileNotFoundError):
                    if path.name.removesuffix(".part") not in known and path.lstat().st_mtime < limit:
                        left.append(path)
        return left

    def _write(self, path: Path, made: Any) -> None:
        """Write JSON atomically, without making the folder again if it was deleted."""
        part = self.root / "tmp" / secrets.token_hex(12)
        with writing(path):
            try:
                with part.open("x", encoding="utf-8") as file:
                    json.dump(made, file, indent=2, ensure_ascii=False)
                    file.write("\n")
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileNotFoundError):
                    part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _checked(name: str) -> str:
    assert ID.fullmatch(name), "ids are made by new_id, or found in the database"
    return name
