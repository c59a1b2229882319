"""Settings from a file and overrides, with one-line errors."""

import difflib
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mien.config.settings import Settings
from mien.config.yaml_file import YAML_FAULTS, StrictLoader, read_yaml
from mien.errors import SettingsError


def read_settings(file: str | Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Settings from a YAML file (or the defaults), then ``section.key=value`` overrides, the value read as YAML.

    Raises:
        SettingsError: the file cannot be read, a key does not exist, or a value is not allowed.

    >>> read_settings(overrides=["media.vision_fps=2"]).media.vision_fps
    2.0
    >>> read_settings(overrides=["media.vison_fps=2"])
    Traceback (most recent call last):
    mien.errors.SettingsError: media.vison_fps: no such setting; did you mean 'vision_fps'?
    """
    file = Path(file) if file else None
    values = read_yaml(file) if file else {}
    for override in overrides:
        set_dotted(values, override)
    try:
        return Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise SettingsError(_first_error(error, file)) from error


def with_changes(base: Settings, changes: Mapping[str, Any], where: str) -> Settings:
    """``base`` with some settings changed by dotted name; ``where`` is the source named in messages.

    Raises:
        SettingsError: a setting does not exist, or a value is not allowed.
    """
    values = base.model_dump()
    for name, value in changes.items():
        *sections, key = str(name).split(".")
        inner = values
        for section in sections:
            inner = inner.get(section)
            if not isinstance(inner, dict):
                raise SettingsError(f"{where}: {name}: no such setting")
        inner[key] = value
    try:
        return Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise SettingsError(f"{where}: {_first_error(error, None)}") from error


def set_dotted(values: dict[str, Any], override: str) -> None:
    """Put ``section.key=value``, the value read as YAML, into nested ``values``.

    Raises:
        SettingsError: it is not of this form.
    """
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"{override!r}: an override is written name=value, for example media.vision_fps=2")
    try:
        value = yaml.load(text, StrictLoader)
    except YAML_FAULTS as error:
        raise SettingsError(f"{name}: {_shown(text)} is not a valid value") from error
    *sections, key = name.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {section!r} is a single value, not a section")
        values = inner
    values[key] = value


def _tuples(value: Any) -> Any:
    """Lists as tuples: YAML has only lists, and the frozen settings hold only tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _first_error(error: ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    prefix = f"{file}: " if file else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _keys_at(where[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_keys_at(where[:-1]))}"
        return f"{prefix}{'.'.join(where)}: no such setting{hint}"
    return f"{prefix}{'.'.join(where)}: {first['msg'][0].lower()}{first['msg'][1:]}, found {_shown(first['input'])}"


def _shown(value: Any) -> str:
    """A value in a message, shortened."""
    return textwrap.shorten(reprlib.repr(value), 200)


def _keys_at(path: list[str]) -> list[str]:
    """The names of the settings in the section at ``path``."""
    section: type[BaseModel] = Settings
    for name in path:
        inner = section.model_fields[name].annotation if name in section.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)
