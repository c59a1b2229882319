"""Reads settings in YAML: one document of plain values, without references, of limited depth."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mien.errors import DataError, SettingsError
from mien.storage.files import read_bytes_checked

LARGEST_SETTINGS = 1_000_000
"""Bytes of a YAML file."""

YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
"""Exceptions of PyYAML: a date in month 99 is a ``ValueError``, a thousand brackets are a ``RecursionError``."""

DEEPEST = 20


def read_yaml(file: Path) -> dict[str, Any]:
    """The values of a YAML file, by name.

    Raises:
        SettingsError: the file cannot be read, is not a mapping, or has a key twice.
    """
    return read_lines(file)[0]


def read_lines(file: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The values of a YAML file, and the line of each key, from 1, by the path of keys that leads to it.

    Raises:
        SettingsError: as ``read_yaml``.
    """
    try:
        values, node = parse_yaml(read_bytes_checked(file, LARGEST_SETTINGS).decode("utf-8"))
    except DataError as error:
        raise SettingsError(str(error)) from error
    except YAML_ERRORS as error:
        raise SettingsError(f"{file}: not valid YAML ({textwrap.shorten(str(error), 300)})") from error
    if not isinstance(values or {}, dict):
        raise SettingsError(f"{file}: expected settings by name, found {type(values).__name__}")
    lines: dict[tuple[str, ...], int] = {}
    for place, line in _keys(node):
        if place in lines:
            raise SettingsError(f"{file}:{line}: {'.'.join(place)}: given twice, first in line {lines[place]}")
        lines[place] = line
    return values or {}, lines


def parse_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """The value of one YAML document, and its nodes, which know their lines.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: it is not valid (``YAML_ERRORS``).
    """
    loader = StrictLoader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    finally:
        loader.dispose()


def _keys(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _keys(value, place)


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
