"""Keys of features: hashes of everything that a feature depends on, so that nothing is computed twice.

A key covers the content of the clip's file (not its name or date), its range, the settings that affect the modality,
the weights, the version of the preparing code, the engine and its number format. What a modality does not depend on is
not in its key: other vision weights leave the transcripts valid.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mien.compute.device import Compute
from mien.config import Section, Settings
from mien.errors import DataError, MediaError
from mien.features.layers import affect_feature, layers_key
from mien.features.source_files import TRANSCRIPT, SourceFile, content_of, file_stat
from mien.media.provided import settled
from mien.modalities.base import InputKind, Modality
from mien.schema import Clip
from mien.storage.files import key_of
from mien.weights import Weights

INPUT_VERSIONS: Mapping[InputKind, int] = {"text": 1, "audio": 1, "vision": 5, "motion": 5}
"""By kind of input, raised whenever the same clip and settings give another one (``Media``); kept inputs of that kind
are then made again."""

INPUT_SETTINGS: Mapping[InputKind, tuple[str, ...]] = {
    "text": ("speech",),
    "audio": ("speech.source",),
    "vision": ("faces", "media.vision_fps", "media.motion_fps"),
    "motion": ("faces.full_range", "media.vision_fps", "media.motion_fps"),
}
"""By kind of input, the settings that it depends on."""

INPUT_WEIGHTS: Mapping[InputKind, tuple[str, ...]] = {
    "text": ("vad", "asr"),
    "audio": (),
    "vision": ("landmarker", "full_range"),
    "motion": ("landmarker", "full_range"),
}
"""By kind of input, the roles of the weights behind it."""


class Keys:
    """The keys of one clip's features, and the files they are made from; ``sha256`` is called once per file."""

    def __init__(
        self,
        clip: Clip,
        settings: Settings,
        weights: Mapping[str, Weights],
        compute: Compute,
        sha256: Callable[[Path], str],
    ) -> None:
        self._clip = clip
        self._sha256 = sha256
        self._settings = settled(settings, clip)
        self._weights = weights
        self._compute = compute
        self._origins: dict[str, SourceFile] = {}

    def of(self, modality: Modality, feature: str | None = None) -> str:
        """The key of a modality's features of this clip, or of one with more columns if that is the ``feature``.

        Raises:
            DataError: the source file cannot be opened.
            MediaError: it cannot be read, or not in time.
        """
        clip = self._clip
        given = _is_given(clip, modality.sense)
        settings = () if given else modality.settings
        roles = (modality.backbone_role, *(() if given else modality.front_roles))
        key = key_of(
            modality.name,
            modality.version,
            clip.transcript if given else self._content(modality),
            None if given else (clip.start, clip.end),
            modality.arithmetic(self._compute),
            {name: _setting(self._settings, name) for name in settings},
            {role: self._weights[role].fingerprint for role in roles if role and role in self._weights},
        )
        if feature is None or feature in modality.features:
            return key
        affect = feature == affect_feature(modality)
        return layers_key(key, feature, () if affect else self._settings.backbone.layers_of(modality.name))

    def of_input(self, kind: InputKind) -> str:
        """The key of what is decoded of this clip for the backbones that read this kind of input.

        Raises:
            DataError, MediaError: as for ``of``.
        """
        given = _is_given(self._clip, kind)
        origin = None if given else self._origin(kind)
        roles = () if given else INPUT_WEIGHTS[kind]
        return key_of(
            "input",
            INPUT_VERSIONS[kind],
            kind,
            self._clip.transcript if given else origin and origin.content,
            None if given else (self._clip.start, self._clip.end),
            {name: _setting(self._settings, name) for name in (() if given else INPUT_SETTINGS[kind])},
            {role: self._weights[role].fingerprint for role in roles if role in self._weights},
        )

    def origin_text(self, modality: Modality) -> str:
        """The source file of a modality's features, as text that is stored; empty without one."""
        origin = self.origin(modality)
        return "" if origin is None else origin.text

    def _content(self, modality: Modality) -> str | None:
        origin = self.origin(modality)
        return None if origin is None else origin.content

    def origin(self, modality: Modality) -> SourceFile | None:
        """The source file of a modality's features of this clip; ``None`` when the clip has none for it.

        Raises:
            DataError: it cannot be read.
        """
        return self._origin(modality.sense)

    def _origin(self, kind: InputKind) -> SourceFile | None:
        clip = self._clip
        if _is_given(clip, kind):
            return SourceFile(TRANSCRIPT, key_of(clip.transcript))
        source = _source(clip, kind, self._settings)
        if source not in self._origins:
            path = getattr(clip, source)
            if path is None:
                return None
            try:
                found = file_stat(path)  # before its bytes are read, so that a later change shows
                self._origins[source] = SourceFile(source, content_of(path, self._sha256), clip.start, clip.end, *found)
            except OSError as error:
                raise DataError(f"{path}: {_why(error)}") from error
        return self._origins[source]

    def check_unchanged(self) -> None:
        """Check that no file was written to since it was hashed.

        Raises:
            MediaError: one was, so what was decoded may be a mixture of versions.
        """
        for source, origin in self._origins.items():
            path = getattr(self._clip, source)
            if file_stat(path) != (origin.size, origin.changed):
                raise MediaError(f"{path.name}: was written to while it was read; run it again when that is done")


def _is_given(clip: Clip, kind: InputKind) -> bool:
    return kind == "text" and clip.transcript is not None


def _source(clip: Clip, kind: InputKind, settings: Settings) -> str:
    """The field of the clip that names the source file or folder of a kind of input."""
    if kind in ("text", "audio") and settings.speech.source == "provided":
        return "sound" if clip.sound else "path"
    if kind == "vision" and settings.faces.source == "provided":
        return "crops" if clip.crops else "path"
    return "openface" if kind == "motion" and clip.openface else "path"


def _why(error: OSError) -> str:
    reasons = {errno.ENOENT: "no such file", errno.EISDIR: "a folder, not a clip", errno.EACCES: "may not be read"}
    return reasons.get(error.errno or 0, error.strerror or str(error))


def _setting(settings: Settings, name: str) -> Any:
    """A setting, or a section of settings, by its dotted path, as plain values."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value.model_dump(mode="json") if isinstance(value, Section) else value
