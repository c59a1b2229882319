"""The table of modalities. A modality is one file and one line here; everything else reads ``MODALITIES``."""

import difflib
from collections.abc import Iterable, Sequence

from mien.errors import SettingsError
from mien.modalities.audio import AUDIO
from mien.modalities.base import Modality
from mien.modalities.motion import MOTION
from mien.modalities.text import TEXT
from mien.modalities.vision import VISION

MODALITIES: dict[str, Modality] = {modality.name: modality for modality in (TEXT, AUDIO, VISION, MOTION)}


def find_modality(name: str) -> Modality:
    """The modality with this name.

    Raises:
        SettingsError: there is no such modality; the message names the closest.

    >>> find_modality("visoin")
    Traceback (most recent call last):
    mien.errors.SettingsError: modalities: no modality 'visoin'; did you mean 'vision'?
    """
    if name not in MODALITIES:
        close = difflib.get_close_matches(name, MODALITIES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(MODALITIES)}"
        raise SettingsError(f"modalities: no modality {name!r}; {hint}")
    return MODALITIES[name]


def get_modalities(names: Sequence[str]) -> tuple[Modality, ...]:
    """The modalities with these names, in the order of the table.

    Raises:
        SettingsError: there is no modality with one of these names.
    """
    selected = {find_modality(name).name for name in names}
    return tuple(modality for modality in MODALITIES.values() if modality.name in selected)


def anchor_of(names: Iterable[str]) -> str | None:
    """The modality that others are aligned with: the one with a single vector per clip, text; ``None`` without it."""
    return next((name for name in names if not find_modality(name).sequence), None)
