"""The licence that a model's ``README.md`` names in its front matter."""

from pathlib import Path

from mien.config.yaml_file import YAML_ERRORS, parse_yaml
from mien.errors import DataError
from mien.storage.files import read_bytes_checked

UNKNOWN_LICENCE = "licence unknown"
LARGEST_README = 5_000_000
"""Bytes."""


def licence_note(folder: Path) -> str:
    """The ``license`` of the front matter of ``README.md``, in lower case as hubs write it, else ``licence unknown``.

    The note is what the author of the repository wrote; it is not checked.
    """
    try:
        text = read_bytes_checked(folder / "README.md", LARGEST_README).decode("utf-8", "replace")
    except DataError:
        return UNKNOWN_LICENCE
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        return UNKNOWN_LICENCE
    end = 1 + [line.strip() for line in lines[1:]].index("---")
    try:
        head = parse_yaml("\n".join(lines[1:end]))[0]
    except YAML_ERRORS:
        return UNKNOWN_LICENCE
    found = head.get("license") if isinstance(head, dict) else None
    if found == "other" and isinstance(head.get("license_name"), str):
        found = head["license_name"]
    names = found if isinstance(found, list) else [found]
    said = ", ".join(name for name in names if isinstance(name, str))
    return " ".join(said.split())[:200] or UNKNOWN_LICENCE
