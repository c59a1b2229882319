"""What a feature depends on, as one key: equal keys mean equal features, so nothing is computed twice.

The content of the clip's file (not its name or date), its range, the settings that touch the modality, the weights,
the version of the preparing code and the number format. What a modality does not depend on is not in its key: other
vision weights leave the transcripts standing.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.artifacts import key_of, sha256_of
from mien.config import Section, Settings
from mien.data.manifest import VIDEO_SUFFIXES
from mien.errors import DataError
from mien.modalities.base import Modality
from mien.schema import Clip
from mien.weights import Weights


class Keys:
    """Makes the keys of one clip's features; each file is hashed once."""

    def __init__(self, clip: Clip, settings: Settings, weights: Mapping[str, Weights], precision: str) -> None:
        self._clip = clip
        self._settings = settings
        self._weights = weights
        self._precision = precision
        self._hashes: dict[Path, str] = {}

    def of(self, modality: Modality) -> str:
        """The key of a modality's features of this clip.

        Raises:
            DataError: the file that they would be made from cannot be read.
        """
        clip = self._clip
        given = modality.sense == "text" and clip.transcript is not None
        settings = () if given else modality.settings
        roles = (modality.backbone_role, *(() if given else modality.front_roles))
        return key_of(
            modality.name,
            modality.version,
            clip.transcript if given else self._content(_source(clip, modality, self._settings)),
            None if given else (clip.start, clip.end),
            self._precision,
            {name: _setting(self._settings, name) for name in settings},
            {role: self._weights[role].fingerprint for role in roles if role and role in self._weights},
        )

    def _content(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = _hash(path)
        return self._hashes[path]


def _source(clip: Clip, modality: Modality, settings: Settings) -> Path:
    """The file or folder that a modality's features of a clip are made from."""
    if modality.sense in ("text", "audio") and settings.speech.source == "provided":
        return clip.sound or clip.path
    if modality.sense == "vision" and settings.faces.source == "provided":
        return clip.crops or clip.path
    return clip.openface or clip.path if modality.sense == "motion" else clip.path


def _hash(path: Path) -> str:
    if path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES:
        return key_of([(file.name, sha256_of(file)) for file in sorted(path.iterdir()) if file.is_file()])
    try:
        if not (path.is_file() or path.is_dir() or not path.exists()):
            raise DataError(f"{path}: a pipe, socket or device, not a clip")  # which may never end
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: {_why(error)}") from error


def _why(error: OSError) -> str:
    reasons = {errno.ENOENT: "no such file", errno.EISDIR: "a folder, not a clip", errno.EACCES: "may not be read"}
    return reasons.get(error.errno or 0, error.strerror or str(error))


def _setting(settings: Settings, name: str) -> Any:
    """A setting, or a section of settings, by its dotted path, as plain values."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value.model_dump(mode="json") if isinstance(value, Section) else value
