"""What a model reads of a feature store.

A model with adapted backbones reads the features that its run made with them (``RUN/features``), unless those of the
store were made with the same backbones.
"""

from collections.abc import Sequence

from mien.errors import DataError, ModelError
from mien.evaluation.seen_clips import folders_of_run
from mien.features.layers import gather, inputs_of
from mien.features.source_files import check_unchanged
from mien.features.store import Packed, Store, made_alike
from mien.modalities import MODALITIES
from mien.model.bundle import Bundle
from mien.schema import Clip


def gather_inputs(bundle: Bundle, store: Store, clips: Sequence[Clip]) -> dict[str, Packed]:
    """What a model reads of some clips, by modality.

    Raises:
        DataError: files were replaced since extraction, the store lacks layers that the model reads, or the run has no
            features of some clips from its adapted backbones.
        StoreError: features are damaged.
    """
    ids = [clip.id for clip in clips]
    inputs = inputs_of(store, bundle.settings.backbone, bundle.modalities)
    check_unchanged(store, clips, [read.feature for read in inputs.values()])
    packed = {}
    for name, read in inputs.items():
        source = _source(bundle, store, name)
        if source is not store:
            _check_made(bundle, store, source, name, ids)
        packed[name] = gather(source, read, name, ids)
    return packed


def check_features(bundle: Bundle, store: Store) -> None:
    """Check that features were made in the same way as those of the training.

    Raises:
        ModelError: a modality was made in a different way; scores would be silently wrong.
    """
    for name, expected in bundle.feature_provenance.items():
        source = _source(bundle, store, name)
        found = source.provenance(name)
        if found and not made_alike(expected, found):
            hint = f"; {_remedy(bundle, store, name)}" if _is_adapted(bundle, name) else ""
            raise ModelError(
                f"{source.root}: {name} was made by {found}, but the model was trained on {expected}{hint}"
            )


def _source(bundle: Bundle, store: Store, modality: str) -> Store:
    """The store that a modality is read from."""
    expected = bundle.feature_provenance.get(modality, "")
    if _is_adapted(bundle, modality) and (found := store.provenance(modality)) and not made_alike(expected, found):
        for folder in folders_of_run(bundle.folder):
            if (folder / "features" / "store.json").is_file():
                return Store(folder / "features")
    return store


def _is_adapted(bundle: Bundle, modality: str) -> bool:
    return MODALITIES[modality].backbone_role in bundle.adapted


def _check_made(bundle: Bundle, store: Store, made: Store, modality: str, clips: Sequence[str]) -> None:
    """Check that the run has features of all clips that have the modality."""
    lacking = [
        clip for clip in clips if (row := store.row(clip, modality)) and row.steps and not made.row(clip, modality)
    ]
    if lacking:
        raise DataError(
            f"{made.root}: no {modality} of {len(lacking)} of {len(clips)} clips, first {lacking[0]}; "
            f"{_remedy(bundle, store, modality)}"
        )


def _remedy(bundle: Bundle, store: Store, modality: str) -> str:
    """How to make the features of a model with adapted backbones."""
    places = " ".join(f"--set weights.{role}={place}" for role, place in bundle.adapted.items())
    return (
        f"its {modality} backbone was trained further; mien extract DATA --out STORE --inputs {store.root} {places} "
        "makes what it reads"
    )
