"""Before stage 1: a backbone is trained further, under an encoder and a head of its own.

    inputs of the training clips ─▶ frozen part, once ─▶ blocks ─▶ encoder ─▶ head          (this file)
    the changed blocks ─▶ RUN/adapted/<modality> ─▶ features of all clips in RUN/features   (as any extraction)
    stage 1, stage 2: from these features, as from those of any other backbone

So an adapted backbone is a backbone of one's own for everything that follows: scoring, windows, every engine. The
encoder and the head of this training are left behind; stage 1 trains one for each seed on the new features. The
trade-off: the backbone is trained with the first seed only, and features of training clips come from a backbone that
has seen their ratings.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mien.compute.device import Compute
from mien.config import Settings, with_changes
from mien.errors import DataError, SettingsError
from mien.features.block_inputs import block_inputs, check_inputs
from mien.features.extract import extract
from mien.features.kept_inputs import KeptInputs
from mien.features.store import Store
from mien.modalities import find_modality
from mien.modalities.base import Modality, pretrained
from mien.modalities.blocks import UpperBlocks
from mien.model.adaptation import AdaptedUnimodal, TrainableBackbone, check_gradients
from mien.model.inputs import ClipDataset, autocast, load_dataset
from mien.model.network import ParamGroup, Unimodal, variants
from mien.scale import cores
from mien.training.fit import fit
from mien.training.parameters import describe_groups
from mien.training.run_folder import EpochLog
from mien.training.run_state import RunState, log_and_call, remove
from mien.training.state import TrainingJob
from mien.weights import Weights, resolve_backbones
from mien.weights.adapted import save_adapted
from mien.weights.architecture import read_architecture

ALL_STEPS = 1 << 30
"""No clip has more steps than this: what enters a block is never averaged over time."""


CHECKED_CLIPS = 8
"""In the check that every part of a backbone has a gradient."""

MANY_CLIPS = 500
"""From so many on, their features are made by several processes."""


def adapted_modalities(settings: Settings) -> tuple[str, ...]:
    """The modalities whose backbones are trained."""
    return tuple(name for name in settings.modalities if settings.backbone.adapts(name))


def adapt(run: RunState, modality: str) -> Path:
    """Train the backbone of a modality, unless that is done.

    Returns:
        The file of the adapted backbone.

    Raises:
        DataError: clips have no inputs.
        MienError: part of the backbone has no gradient, or no validation r is defined.
        SettingsError: its blocks cannot be trained in this way.
        WeightsError, WeightsMissing: it cannot be loaded.
    """
    folder = run.folder / "adapted" / modality
    file = folder / f"{modality}.adapted.safetensors"
    if file.exists():
        return file
    known, settings = find_modality(modality), run.settings.adapt
    role = known.backbone_role or ""
    base = resolve_backbones(run.settings.backbones, [role])[role]
    method: str = getattr(run.settings.backbone, modality)
    depth = read_architecture(base.path).depth
    first = depth - settings.top_k if method == "top_k" else 0
    if first < 0:
        raise SettingsError(f"adapt.top_k: no {settings.top_k} blocks in a backbone of {depth}")
    run.log(f"backbone {modality}: {method}, blocks {first + 1} to {depth} of {base.name}")
    _check_inputs(run, known)
    module, train, chosen = _prepare(run, known, base, method, first)
    groups = module.groups(method, settings)
    for line in describe_groups(groups, settings.lr):
        run.log(line)
    _check_gradients(module, groups, train)
    epoch_log = EpochLog(folder, run.folder / "tensorboard", f"adapt {modality}")
    context = run.context(folder)
    job = TrainingJob(
        name=f"adapt {modality}",
        module=module,
        groups=groups,
        models=variants(run.settings, settings)[:1],
        train=train.only(torch.nonzero(train.present(modality)).flatten()),
        valid=chosen,
        settings=settings,
        epochs=settings.epochs,
        batch_seed=context.batch_seed,
        precision=context.precision,
        checkpoint=context.checkpoint,
    )
    report = log_and_call(epoch_log, run.on_epoch)
    for epoch in fit(job):
        report(job.name, epoch)
    changes = {name: tensor.float().cpu().numpy() for name, tensor in module.backbone.changes().items()}
    save_adapted(file, role, method, base, changes)
    remove(context.checkpoint)
    return file


def _check_inputs(run: RunState, modality: Modality) -> None:
    for side in ("fit", "select"):
        check_inputs(run.store, run.data.side(side), modality)


def _prepare(
    run: RunState, modality: Modality, base: Weights, method: str, first: int
) -> tuple[AdaptedUnimodal, ClipDataset, ClipDataset]:
    """The module to be trained, with its training clips and those that choose the epoch."""
    name, settings, device = modality.name, run.settings.adapt, run.data.device
    assert modality.training is not None
    frozen = Compute(device, torch.float32)
    sides = [
        block_inputs(run.store, run.data.side(side), modality, base.path, frozen, first, settings.longest_seconds)
        for side in ("fit", "select")
    ]
    width = {name: sides[0].packed.width}
    train, chosen = (
        load_dataset({name: made.packed}, run.data.labels(side), width, ALL_STEPS, run.data.precision, device)
        for side, made in zip(("fit", "select"), sides, strict=True)
    )
    upper = UpperBlocks(pretrained("AutoModel", base.path, frozen), first)
    upper.checkpoints = settings.checkpoints
    backbone = TrainableBackbone(upper, modality.training.pool(base.path), max(made.tokens for made in sides))
    if method == "lora":
        backbone.add_low_rank(settings, run.settings.seeds[0])
    models = variants(run.settings, settings)[:1]
    model = Unimodal(name, width[name], len(run.manifest.targets), run.settings.stage1, models)
    return AdaptedUnimodal(backbone, model).to(device), train, chosen


def _check_gradients(module: AdaptedUnimodal, groups: Sequence[ParamGroup], clips: ClipDataset) -> None:
    """A first backward pass, of a few clips, in which every trained part of the backbone must have a gradient."""
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_()
    some = torch.nonzero(clips.present(module.model.modality)).flatten()[:CHECKED_CLIPS]
    with autocast(clips.labels.device, clips.precision):
        made = module(clips.batch(some)).float()
    check_gradients(module.backbone, made.square().sum())


def adapt_all(run: RunState) -> None:
    """Train the backbones that the settings say, make the features of all clips with them, and let the run read these.

    Raises:
        DataError: a clip that had a modality has none now; and as for ``adapt``.
    """
    names = adapted_modalities(run.settings)
    for name in names:
        if name in run.modalities:
            run.adapted[find_modality(name).backbone_role or ""] = adapt(run, name)
    places = {f"weights.{role}": str(folder.resolve()) for role, folder in run.adapted.items()}
    run.settings = with_changes(
        run.settings, {"weights.set": run.settings.backbones.set, **places}, "adapted backbones"
    )
    store = _features(run, [name for name in names if name in run.modalities])
    for name in names:
        if name in run.modalities:
            run.data.stores[name] = store


def _features(run: RunState, names: Sequence[str]) -> Store:
    """The features of all rated clips from the adapted backbones; those that are there already are kept."""
    clips = (*run.split.train, *run.split.valid)
    run.log(f"features of {len(clips)} clips with the adapted {' and '.join(names)} backbone")
    settings = with_changes(run.settings, {"modalities": list(names)}, "adapted backbones")
    kept = run.store.root if KeptInputs(run.store.root).exist() else None
    workers = cores() if len(clips) >= MANY_CLIPS and cores() > 1 else 0
    out = run.folder / "features"
    for outcome in extract(replace(run.manifest, clips=clips), out, settings, workers=workers, inputs=kept):
        if outcome.failure is not None:
            raise DataError(f"{out}: {outcome.failure}; its features could not be made with the adapted backbone")
    return Store(out)
