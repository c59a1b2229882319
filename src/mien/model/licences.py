"""What a model builds on, on whose terms, and what follows: from its ``config.json`` and the table of weights alone.

A model's own weights hold none of the pretrained ones, but it was trained on what those made of clips, and it cannot
score a clip without them. The record is facts for whoever decides; no licence is chosen for anybody here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mien.modalities import MODALITIES
from mien.weights import ENTRIES, SETS
from mien.weights.licences import WeightLicence, elsewhere, licence_of

DATA = (
    "mien does not know the licence of the data that a model was trained on: it is your own responsibility. The "
    "challenge's data, Hume-Vidmimic2, are handed out by its organisers on request, under an agreement of their own."
)


@dataclass(frozen=True)
class Licences:
    """What a model builds on.

    Attributes:
        weights: every set of pretrained weights in use, by role, each once.
        follows: what that means for the model, in sentences.
        data: what is known of the data's licence.
    """

    weights: tuple[WeightLicence, ...]
    follows: tuple[str, ...]
    data: str = DATA

    @property
    def non_commercial(self) -> bool:
        """Whether something in use forbids commercial use."""
        return any(one.non_commercial for one in self.weights)

    def record(self) -> dict[str, Any]:
        """Plain values, for ``licences.json``."""
        return {
            "non_commercial": self.non_commercial,
            "weights": [asdict(one) for one in self.weights],
            "follows": list(self.follows),
            "data": self.data,
        }


def licences_of(config: Mapping[str, Any]) -> Licences:
    """The licences of what a model builds on.

    Args:
        config: what stands in its ``config.json``.
    """
    weights = tuple({(one.role, one.name): one for one in _in_use(config)}.values())
    return Licences(weights, tuple(_follows(weights)))


def _in_use(config: Mapping[str, Any]) -> Iterator[WeightLicence]:
    """Backbones by what the features' makers are called; what looks and listens before them by the model's set."""
    entries = SETS[config["settings"]["weights"]]
    for modality, made in config["feature_provenance"].items():
        known = MODALITIES.get(modality)
        if known and not known.backbone_role and not known.front_roles:
            continue  # computed, not learned: no weights behind it
        role = known.backbone_role or known.front_roles[0] if known and _table_name(made) else modality
        for way in made.split(" + "):
            name = _table_name(way)
            yield licence_of(role, name) if name else elsewhere(role, way or "nothing is known of them")
        fronts = known.front_roles if known and _table_name(made) else ()
        yield from (licence_of(front, entries[front]) for front in fronts if front in entries)


def _table_name(made: str) -> str:
    """The entry that made features, from what their store says of them; empty when it was none of the table.

    >>> _table_name("gte-base float32 v1"), _table_name("challenge vit@1")
    ('gte-base', '')
    """
    name = made.partition(" ")[0]
    return name if name in ENTRIES else ""


def _follows(weights: tuple[WeightLicence, ...]) -> Iterator[str]:
    bound = [one for one in weights if one.non_commercial]
    for one in bound:
        yield (
            f"{one.name} ({one.licence}) may not be used commercially. The model learned from what it makes of clips "
            "and cannot score without it: scoring for a commercial purpose needs other terms from its owner."
        )
    alike = [one for one in bound if "SA" in one.licence.split("-")]
    if alike:
        yield (
            f"{', '.join(one.name for one in alike)} is share-alike. Whether a model trained on its outputs is adapted "
            "material is not settled; giving the model on under the same licence is the careful way."
        )
    foreign = [one.role for one in weights if one.non_commercial is None]
    if foreign:
        yield f"The licence of the weights behind {', '.join(foreign)} is unknown: ask who made these features."
    if not bound and not foreign:
        yield "Nothing in use forbids commercial use; notices of authorship must be kept, as these licences say."
