"""Reads settings in YAML: one document of plain values, without references, of limited depth."""

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
    """The values of a YAML file, by name.

    Raises:
        SettingsError: the file cannot be read, or is not a mapping.
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
"""Exceptions of PyYAML: a date in month 99 is a ``ValueError``, a thousand brackets are a ``RecursionError``."""

DEEPEST = 20


class StrictLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that ``1e-4`` is a number and references are refused.

    A few lines with references can expand without end or contain themselves; depth takes quadratic time.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next part of the document."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"*{event.anchor}: write the value out, references are not supported")
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
