"""Licences of the pretrained weights behind a model, from its ``config.json`` and the table of weights.

A model folder contains no pretrained weights, but the model was trained on their features and cannot score a clip
without them. The record states facts; it does not choose a licence for the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mien.modalities import MODALITIES
from mien.model.encoder_origin import EncoderOrigin, origins_in
from mien.weights import ENTRIES, SETS
from mien.weights.licences import WeightLicence, elsewhere, licence_of, licence_of_own

DATA = (
    "mien does not know the licence of the data that a model was trained on: it is your own responsibility. The "
    "challenge's data, Hume-Vidmimic2, are handed out by its organisers on request, under an agreement of their own."
)


@dataclass(frozen=True)
class Licences:
    """Licences behind a model.

    Attributes:
        weights: pretrained weights in use, by role, each once; of encoders from other runs too.
        follows: consequences for the model, in sentences.
        data: note on the licence of the data.
        encoders: encoders from other runs, by modality.
    """

    weights: tuple[WeightLicence, ...]
    follows: tuple[str, ...]
    data: str = DATA
    encoders: Mapping[str, EncoderOrigin] = field(default_factory=dict)

    @property
    def non_commercial(self) -> bool:
        """Whether any of the weights forbids commercial use."""
        return any(one.non_commercial for one in self.weights)

    def record(self) -> dict[str, Any]:
        """Values for ``licences.json``."""
        return {
            "non_commercial": self.non_commercial,
            "weights": [asdict(one) for one in self.weights],
            "follows": list(self.follows),
            "data": self.data,
        } | (
            {"encoders": {n: one.model_dump(mode="json") for n, one in self.encoders.items()}} if self.encoders else {}
        )


def licences_of(config: Mapping[str, Any], provenance: Mapping[str, Any] | None = None) -> Licences:
    """The licences behind a model, and behind encoders in it from other runs.

    Args:
        config: its ``config.json``.
        provenance: its ``provenance.json``.
    """
    encoders = origins_in(provenance or {})
    found: dict[tuple[str, str], WeightLicence] = {}
    for one in (*_in_use(config), *(one for origin in encoders.values() for one in origin.weights)):
        found.setdefault((one.role, one.name), one)
    weights = tuple(found.values())
    follows = (*_follows(weights), *(_data_of(name, origin) for name, origin in encoders.items()))
    return Licences(weights, follows, (provenance or {}).get("data_terms") or DATA, encoders)


def _in_use(config: Mapping[str, Any]) -> Iterator[WeightLicence]:
    """Backbones by the makers of the features; detectors and recognisers by the model's set of weights."""
    weights = config["settings"]["weights"]
    entries = SETS[weights if isinstance(weights, str) else weights["set"]]
    own = {one["name"]: one for one in config.get("backbones", {}).values()}
    for modality, made in config["feature_provenance"].items():
        known = MODALITIES.get(modality)
        if known and not known.backbone_role and not known.front_roles:
            continue  # computed, not learned: no weights behind it
        is_known = known and (_table_name(made) or made.partition(" ")[0] in own)
        role = known.backbone_role or known.front_roles[0] if known and is_known else modality
        for way in made.split(" + "):
            name, first = _table_name(way), way.partition(" ")[0]
            if first in own:
                one = own[first]
                yield licence_of_own(role, first, one["reference"], one["licence"], one.get("sha256", ""))
            else:
                yield licence_of(role, name) if name else elsewhere(role, way or "unknown")
        fronts = known.front_roles if known and is_known else ()
        yield from (licence_of(front, entries[front]) for front in fronts if front in entries)


def _table_name(made: str) -> str:
    """The table entry that made features, from their provenance; empty if it is not in the table.

    >>> _table_name("gte-base float32 v1"), _table_name("challenge vit@1")
    ('gte-base', '')
    """
    name = made.partition(" ")[0]
    return name if name in ENTRIES else ""


def _data_of(modality: str, origin: EncoderOrigin) -> str:
    return (
        f"The {modality} encoder was first trained on {origin.data} ({origin.run}): their terms, which mien does not "
        "know, may bind this model too."
    )


def _follows(weights: tuple[WeightLicence, ...]) -> Iterator[str]:
    bound = [one for one in weights if one.non_commercial]
    for one in bound:
        yield (
            f"{one.name} ({one.licence}) may not be used commercially. The model was trained on its outputs "
            "and cannot score without it: scoring for a commercial purpose needs other terms from its owner."
        )
    alike = [one for one in bound if "SA" in one.licence.split("-")]
    if alike:
        yield (
            f"{', '.join(one.name for one in alike)} is share-alike. Whether a model trained on its outputs is adapted "
            "material is not settled; sharing the model under the same licence is the careful choice."
        )
    foreign = [one.role for one in weights if one.non_commercial is None]
    if foreign:
        yield f"The licence of the weights behind {', '.join(foreign)} is unknown: ask the maker of these features."
    if not bound and not foreign:
        yield "Nothing in use forbids commercial use; notices of authorship must be kept, as these licences say."
