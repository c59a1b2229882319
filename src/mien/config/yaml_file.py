"""YAML as the settings are written in: one document of plain values, no references, not too deep."""

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from mien.errors import DataError, SettingsError
from mien.storage.files import read_bytes_checked

LARGEST_SETTINGS = 1_000_000
"""Bytes of a YAML file."""


def read_yaml(file: Path) -> dict[str, Any]:
    """What stands in a YAML file, by name.

    Raises:
        SettingsError: it cannot be read, or is no mapping.
    """
    try:
        values = yaml.load(read_bytes_checked(file, LARGEST_SETTINGS).decode("utf-8"), StrictLoader)
    except DataError as error:
        raise SettingsError(str(error)) from error
    except YAML_FAULTS as error:
        raise SettingsError(f"{file}: not valid YAML ({textwrap.shorten(str(error), 300)})") from error
    if not isinstance(values or {}, dict):
        raise SettingsError(f"{file}: expected settings by name, found {type(values).__name__}")
    return values or {}


YAML_FAULTS = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: a date in month 99 is a ``ValueError``, a thousand brackets are a ``RecursionError``."""

DEEPEST = 20


class StrictLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but ``1e-4`` is a number, as everybody means it, and nothing is said by reference.

    References make settings that grow without end, or contain themselves, of a few lines; depth takes quadratic time.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next part of the document."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"*{event.anchor}: write the value out, references are not read")
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        made = super().compose_node(parent, index)
        self._depth -= 1
        return made


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
