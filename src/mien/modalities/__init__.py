"""The ways of looking at a person. A modality is one file and one line here; everything else reads ``MODALITIES``."""

import difflib
from collections.abc import Sequence

from mien.errors import SettingsError
from mien.modalities.audio import AUDIO
from mien.modalities.base import Modality
from mien.modalities.motion import MOTION
from mien.modalities.text import TEXT
from mien.modalities.vision import VISION

MODALITIES: dict[str, Modality] = {modality.name: modality for modality in (TEXT, AUDIO, VISION, MOTION)}


def find_modality(name: str) -> Modality:
    """The modality of a name.

    Raises:
        SettingsError: the table has none; the message names the nearest.

    >>> find_modality("visoin")
    Traceback (most recent call last):
    mien.errors.SettingsError: modalities: no modality 'visoin'; did you mean 'vision'?
    """
    if name not in MODALITIES:
        near = difflib.get_close_matches(name, MODALITIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(MODALITIES)}"
        raise SettingsError(f"modalities: no modality {name!r}; {hint}")
    return MODALITIES[name]


def named(names: Sequence[str]) -> tuple[Modality, ...]:
    """The modalities of these names, in the order of the table.

    Raises:
        SettingsError: the table has no modality of a name.
    """
    chosen = {find_modality(name).name for name in names}
    return tuple(modality for modality in MODALITIES.values() if modality.name in chosen)
