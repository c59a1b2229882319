"""Settings from a file and overrides. An error names the place of the wrong value: a line of the file, or an option."""

import difflib
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mien.config.settings import NAME, SECTION, Settings
from mien.config.yaml_file import YAML_ERRORS, parse_yaml, read_lines
from mien.errors import SettingsError

Place = tuple[str, ...]
"""Sections and key of a setting."""


@dataclass(frozen=True)
class Override:
    """One setting with its value.

    Attributes:
        name: dotted name.
        value: as YAML gives it.
        label: the name in error messages, e.g. ``--set media.vision_fps`` or ``--weights``.
    """

    name: str
    value: Any
    label: str


def parse_override(text: str, label: str = "") -> Override:
    """An override written ``section.key=value``, the value in YAML.

    Raises:
        SettingsError: it is not of this form.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise SettingsError(f"{label or repr(text)}: an override is written name=value, for example media.vision_fps=2")
    try:
        return Override(name, parse_yaml(value)[0], label or name)
    except YAML_ERRORS as error:
        raise SettingsError(f"{label or name}: {_shown(value)} is not a valid value") from error


def read_settings(file: str | Path | None = None, overrides: Iterable[str | Override] = ()) -> Settings:
    """Settings from a YAML file (or the defaults), then ``section.key=value`` overrides, the value read as YAML.

    Raises:
        SettingsError: the file cannot be read, a key does not exist, or a value is not allowed.

    >>> read_settings(overrides=["media.vision_fps=2"]).media.vision_fps
    2.0
    >>> read_settings(overrides=["media.vison_fps=2"])
    Traceback (most recent call last):
    mien.errors.SettingsError: media.vison_fps: no such setting; did you mean 'vision_fps'?
    """
    values, labels = _from_file(Path(file)) if file else ({}, {})
    for text in overrides:
        override = parse_override(text) if isinstance(text, str) else text
        _put(values, override)
        place = tuple(override.name.split("."))
        labels = {other: label for other, label in labels.items() if other[: len(place)] != place}
        labels[place] = override.label
    return _validated(values, labels)


def with_changes(base: Settings, changes: Mapping[str, Any], where: str) -> Settings:
    """``base`` with some settings changed by dotted name; ``where`` is the source named in messages.

    Raises:
        SettingsError: a setting does not exist, or a value is not allowed.
    """
    values = base.model_dump()
    labels: dict[Place, str] = {}
    for name, value in changes.items():
        override = Override(str(name), value, f"{where}: {name}")
        _put(values, override)
        labels[tuple(override.name.split("."))] = override.label
    return _validated(values, labels)


def check_name(override: Override) -> None:
    """Check that a setting exists, whatever its value.

    Raises:
        SettingsError: it does not; the message suggests the nearest name.
    """
    place = tuple(override.name.split("."))
    for end in range(1, len(place) + 1):
        known = _keys_at(place[: end - 1])
        if known and place[end - 1] not in known:
            raise SettingsError(f"{override.label}: no such setting{_hint(place[:end])}")


def set_dotted(values: dict[str, Any], override: str) -> None:
    """Put ``section.key=value``, the value read as YAML, into nested ``values``.

    Raises:
        SettingsError: it is not of this form.
    """
    _put(values, parse_override(override))


def _from_file(file: Path) -> tuple[dict[str, Any], dict[Place, str]]:
    """The values of a file, and a label with the line of each."""
    values, lines = read_lines(file)
    return values, {place: f"{file}:{line}: {'.'.join(place)}" for place, line in lines.items()}


def _put(values: dict[str, Any], override: Override) -> None:
    *sections, key = override.name.split(".")
    for section in sections:
        if section == "weights" and isinstance(values.get(section), str):
            values[section] = {"set": values[section]}
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{override.label}: {section!r} is a single value, not a section")
    values[key] = override.value


def _validated(values: dict[str, Any], labels: Mapping[Place, str]) -> Settings:
    try:
        return Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise SettingsError(_first_error(error, labels)) from error


def _tuples(value: Any) -> Any:
    """Lists as tuples: YAML has only lists, and the frozen settings hold only tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _first_error(error: ValidationError, labels: Mapping[Place, str]) -> str:
    first = error.errors()[0]
    place = tuple(str(part) for part in first["loc"] if part not in (NAME, SECTION))
    if first["type"] == "extra_forbidden":
        return f"{_label(place, labels)}: no such setting{_hint(place)}"
    expected = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    if first["type"] == "tuple_type":
        expected = f"expected a list{_example(first['input'])}"
    return f"{_label(place, labels)}: {expected}, found {_shown(first['input'])}"


def _example(value: Any) -> str:
    """A list of the single value that was given, for a message."""
    only = _shown(value).strip("'")
    return "" if isinstance(value, dict) else f", for example [{only}]"


def _label(place: Place, labels: Mapping[Place, str]) -> str:
    """Where the setting at ``place`` was given, and its name; deeper places belong to the nearest section given."""
    for end in range(len(place), 0, -1):
        if place[:end] in labels:
            return ": ".join((labels[place[:end]], *((".".join(place[end:]),) if place[end:] else ())))
    return ".".join(place)


def _hint(place: Place) -> str:
    """The names nearest to a misspelt one: in its section, else in any, else all of the section."""
    *sections, key = place
    known = _keys_at(sections)
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"; did you mean {near[0]!r}?"
    elsewhere = [name for name in _leaves(Settings) if name.rpartition(".")[2] == key]
    named = " or ".join([", ".join(elsewhere[:-1]), *elsewhere[-1:]][len(elsewhere) == 1 :])
    return f"; did you mean {named}?" if elsewhere else f"; known are {', '.join(known)}"


def _leaves(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    """Dotted names of all settings."""
    for key, field in section.model_fields.items():
        name, inner = field.alias or key, _section_in(field.annotation)
        if inner is not None:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting is, or may be instead of a single value."""
    inner = [annotation, *get_args(annotation)]
    inner += [part for one in inner for part in get_args(one)]
    return next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _keys_at(path: Iterable[str]) -> list[str]:
    """The names of the settings in the section at ``path``."""
    section: type[BaseModel] = Settings
    for name in path:
        inner = _section_in(section.model_fields[name].annotation) if name in section.model_fields else None
        if inner is None:
            return []
        section = inner
    return [field.alias or name for name, field in section.model_fields.items()]


def _shown(value: Any) -> str:
    """A value in a message, shortened."""
    return textwrap.shorten(reprlib.repr(value), 200)
