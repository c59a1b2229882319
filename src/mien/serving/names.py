"""Names of clips, made from the names that a client gave to its files."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from mien.errors import escape_control

LONGEST_NAME = 255
FOLDERS = re.compile(r"(?<![\w:/.~])~?/(?:[^\s/:'\"]+/)*(?=[^\s/:'\"])")


def file_name(given: str) -> str:
    r"""A file's name as it is stored and shown: the last part of a path, escaped and shortened.

    >>> file_name("C:\\clips\\anna.mp4"), file_name("../../etc/passwd"), file_name("..")
    ('anna.mp4', 'passwd', 'clip')
    """
    last = escape_control(given.replace("\\", "/").rstrip("/").rpartition("/")[2]).strip()[-LONGEST_NAME:]
    return last if last.strip(".") else "clip"


def clip_names(files: Sequence[str]) -> list[str]:
    """An id for each file of a job: its name without suffix; the same name again gets a number.

    >>> clip_names(["a.mp4", "b.mp4", "a.mov"])
    ['a', 'b', 'a-2']
    """
    taken: set[str] = set()
    names = []
    for file in files:
        plain = PurePosixPath(file).stem or "clip"
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names.append(name)
    return names


def without_folders(text: str) -> str:
    """A message in which each path of this machine is only its last part, for whoever may read it.

    >>> without_folders("/srv/models/first/model.safetensors: damaged; see https://example.org/a/b, 3/4 of it")
    'model.safetensors: damaged; see https://example.org/a/b, 3/4 of it'
    """
    return FOLDERS.sub("", text)
