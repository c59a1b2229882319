"""Before stage 1: a backbone is trained further, under an encoder and a head of its own.

    inputs of the training clips ─▶ frozen part, once ─▶ blocks ─▶ encoder ─▶ head          (this file)
    the changed blocks ─▶ RUN/adapted/<modality> ─▶ features of all clips in RUN/features   (as any extraction)
    stage 1, stage 2: from these features, as from those of any other backbone

So an adapted backbone is a backbone of one's own for everything that follows: scoring, windows, every engine. The
encoder and the head of this training are left behind; stage 1 trains one for each seed on the new features. The
trade-off: the backbone is trained with the first seed only, and features of training clips come from a backbone that
has seen their ratings.

With ``stage2.adaptation: joint``, there is no stage 1: backbones, encoders and fusion are trained at once from the
pretrained backbones, and the fused model is kept with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mien.compute.device import Compute
from mien.compute.processes import together
from mien.config import AdaptSettings, Settings, with_changes, with_weights
from mien.errors import DataError, SettingsError
from mien.features.block_inputs import BlockInputs, block_inputs, check_inputs
from mien.features.extract import extract
from mien.features.kept_inputs import KeptInputs
from mien.features.store import Store
from mien.modalities import find_modality
from mien.modalities.base import Modality, pretrained
from mien.modalities.blocks import UpperBlocks
from mien.model.adaptation import Adapted, TrainableBackbone, check_gradients
from mien.model.inputs import ClipDataset, PackedSteps, autocast, load_dataset
from mien.model.network import ModelSpec, Multimodal, ParamGroup, Unimodal, variants
from mien.scale import cores, follows, launched
from mien.storage.checksums import read_tensors, write_tensors
from mien.training.cost import BlockCost, describe_cost, sequence_lengths
from mien.training.fit import fit
from mien.training.parameters import describe_groups
from mien.training.run_folder import EpochLog
from mien.training.run_state import RunState, log_and_call, remove
from mien.training.schedule import History
from mien.training.split_data import Side
from mien.training.state import TrainingJob
from mien.weights import Weights, resolve_backbones
from mien.weights.adapted import save_adapted
from mien.weights.architecture import read_architecture

ALL_STEPS = 1 << 30
"""No clip has more steps than this: what enters a block is never averaged over time."""


SIDES: tuple[Side, ...] = ("fit", "select")

RAREST = 1e-3
"""A mean rating that a head of log odds starts from is at least so far from 0 and 1."""

CHECKED_CLIPS = 8
"""In the check that every part of a backbone has a gradient."""

MANY_CLIPS = 500
"""From so many on, their features are made by several processes."""


def adapted_modalities(settings: Settings) -> tuple[str, ...]:
    """The modalities whose backbones are trained."""
    return tuple(name for name in settings.modalities if settings.backbone.adapts(name))


@dataclass(frozen=True)
class _Part:
    """The backbone of a modality, and what enters its trained blocks, by side."""

    modality: Modality
    method: str
    base: Weights
    backbone: TrainableBackbone
    inputs: dict[Side, PackedSteps]

    def cost(self, settings: AdaptSettings) -> BlockCost:
        """What its training costs."""
        upper = self.backbone.upper
        trained = sum(group.size for group in self.backbone.groups(self.modality.name, self.method, settings))
        steps = self.inputs["fit"]
        lengths = sequence_lengths(steps.has.cpu().numpy(), self.backbone.tokens)
        parameters = sum(parameter.numel() for parameter in upper.parameters())
        width = steps.values.shape[1]
        return BlockCost(parameters, trained, len(upper.blocks), width, lengths, self.method, settings.checkpoints)


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
    if not _file(run, modality).exists():
        part, settings = _load(run, modality), run.settings.adapt
        models = variants(run.settings, settings)[:1]
        width, targets = run.data.widths[modality], len(run.manifest.targets)
        model = Unimodal(modality, width, targets, run.settings.stage1, models)
        module = Adapted({modality: part.backbone}, model).to(run.data.device)
        groups = module.groups({modality: part.method}, settings, model.groups())
        clips = _clips(run, [part], "fit")
        clips = clips.only(torch.nonzero(clips.present(modality)).flatten())
        if settings.objective == "cross_entropy":
            start_at_means(model, clips.labels)
        _log_cost(run, [part])
        _fit(run, f"adapt {modality}", module, groups, models, clips, _clips(run, [part], "select"))
        if not follows():
            _save(run, module, part)
    return _file(run, modality)


def start_at_means(model: Unimodal, labels: torch.Tensor) -> None:
    """Let a head that gives log odds begin with those of the mean ratings; rare labels are else learned late.

    Args:
        model: of log odds.
        labels: ``(N, E)`` from 0 to 1, ``nan`` where unrated.

    Raises:
        DataError: ratings are not from 0 to 1.
    """
    if bool(((labels < 0) | (labels > 1)).any()):
        raise DataError("adapt.objective: cross_entropy: ratings are not all from 0 to 1 (see --label-scale)")
    means = torch.nanmean(labels, 0).nan_to_num(0.5).clamp(RAREST, 1 - RAREST)
    with torch.no_grad():
        model.head.linear.bias.copy_(torch.logit(means).expand_as(model.head.linear.bias))


def adapt_jointly(run: RunState, names: Sequence[str]) -> None:
    """Train backbones, encoders and fusion at once, unless that is done.

    Raises:
        SettingsError: more than one seed, or a refit, is asked for; and as for ``adapt``.
    """
    if len(run.settings.seeds) > 1 or run.settings.train.refit:
        raise SettingsError(
            "stage2.adaptation: joint with trained backbones trains one model: give one seed, such as seeds=[0], and "
            "no refit; for the mean of several, train and score with each"
        )
    if run.settings.adapt.objective != "loss":
        raise SettingsError(
            "adapt.objective: the head of a joint training is kept, and gives no log odds; leave it out"
        )
    if joint_file(run).exists():
        return
    parts, settings = [_load(run, name) for name in names], run.settings.adapt
    spec = variants(run.settings, run.settings.stage2)[0]
    models = (replace(spec, lr=settings.lr, weight_decay=settings.weight_decay, dropout=settings.dropout),)
    model = Multimodal(run.data.widths, len(run.manifest.targets), run.settings, models, run.data.layers)
    module = Adapted({part.modality.name: part.backbone for part in parts}, model).to(run.data.device)
    groups = module.groups(
        {part.modality.name: part.method for part in parts}, settings, model.groups(run.settings.stage2)
    )
    _log_cost(run, parts)
    history = _fit(run, "adapt joint", module, groups, models, _clips(run, parts, "fit"), _clips(run, parts, "select"))
    if follows():
        return
    for part in parts:
        _save(run, module, part)
    state = {f"model.{name}": tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    course = {"r": history.r, "factors": history.factors, "best": history.best}
    write_tensors(joint_file(run), state | {f"history.{name}": values for name, values in course.items()})
    remove(run.context(joint_file(run).parent).checkpoint)


def read_jointly(run: RunState) -> tuple[Multimodal, History]:
    """The fused model that was trained with its backbones, and the course of its training."""
    tensors = read_tensors(joint_file(run))[0]
    models = variants(run.settings, run.settings.stage2)
    module = Multimodal(run.data.widths, len(run.manifest.targets), run.settings, models, run.data.layers)
    state = {n.removeprefix("model."): torch.from_numpy(v) for n, v in tensors.items() if n.startswith("model.")}
    module.load_state_dict(state)
    return module.to(run.data.device), History(*(tensors[f"history.{name}"] for name in ("r", "factors", "best")))


def joint_file(run: RunState) -> Path:
    """Where the fused model is kept that was trained with its backbones."""
    return run.folder / "adapted" / "joint" / "model.safetensors"


def _file(run: RunState, modality: str) -> Path:
    return run.folder / "adapted" / modality / f"{modality}.adapted.safetensors"


def _load(run: RunState, name: str) -> _Part:
    """The backbone of a modality, and what enters its trained blocks of the clips that train and choose the epoch."""
    modality, settings = find_modality(name), run.settings.adapt
    assert modality.training is not None
    role = modality.backbone_role or ""
    base = resolve_backbones(run.settings.backbones, [role])[role]
    method: str = getattr(run.settings.backbone, name)
    depth = read_architecture(base.path).depth
    first = depth - settings.top_k if method == "top_k" else 0
    if first < 0:
        raise SettingsError(f"adapt.top_k: no {settings.top_k} blocks in a backbone of {depth}")
    run.log(f"backbone {name}: {method}, blocks {first + 1} to {depth} of {base.name}")
    for side in SIDES:
        check_inputs(run.store, run.data.side(side), modality)
    frozen = Compute(run.data.device, torch.float32)
    made: dict[Side, BlockInputs] = {
        side: block_inputs(run.store, run.data.side(side), modality, base.path, frozen, first, settings.longest_seconds)
        for side in SIDES
    }
    width = {name: max(one.packed.width for one in made.values())}
    inputs: dict[Side, PackedSteps] = {
        side: load_dataset({name: one.packed}, run.data.labels(side), width, ALL_STEPS, run.data.precision,
                           run.data.device).modalities[name]
        for side, one in made.items()
    }  # fmt: skip
    upper = UpperBlocks(pretrained("AutoModel", base.path, frozen), first)
    upper.checkpoints = settings.checkpoints
    tokens = max(one.tokens for one in made.values())
    longest = run.settings.stage1.longest_steps
    backbone = TrainableBackbone(upper, modality.training.pool(base.path), longest, tokens)
    if method == "lora":
        backbone.add_low_rank(settings, run.settings.seeds[0])
    return _Part(modality, method, base, backbone, inputs)


def _log_cost(run: RunState, parts: Sequence[_Part]) -> None:
    """Say what a training costs before it starts."""
    settings = run.settings.adapt
    costs = {part.modality.name: part.cost(settings) for part in parts}
    for line in describe_cost(costs, settings.epochs, settings.batch_size):
        run.log(line)


def _clips(run: RunState, parts: Sequence[_Part], side: Side) -> ClipDataset:
    """The clips of a side: what enters trained blocks, and in a joint training the features of the other modalities."""
    trained = {part.modality.name: part.inputs[side] for part in parts}
    is_joint = run.settings.stage2.adaptation == "joint"
    others = tuple(name for name in run.modalities if name not in trained) if is_joint else ()
    known = run.data.clips(side, others)
    names = run.modalities if is_joint else tuple(trained)
    return ClipDataset({n: trained.get(n) or known.modalities[n] for n in names}, known.labels, known.precision)


def _fit(
    run: RunState,
    name: str,
    module: Adapted,
    groups: Sequence[ParamGroup],
    models: tuple[ModelSpec, ...],
    train: ClipDataset,
    chosen: ClipDataset,
) -> History:
    """Train a module, after a check that every trained part of its backbones has a gradient."""
    folder, settings = run.folder / "adapted" / name.partition(" ")[2], run.settings.adapt
    for line in describe_groups(tuple(groups), settings.lr):
        run.log(line)
    _check_gradients(module, groups, train)
    context = run.context(folder)
    job = TrainingJob(
        name=name,
        module=module,
        groups=groups,
        models=models,
        train=train,
        valid=chosen,
        settings=settings,
        epochs=settings.epochs,
        batch_seed=context.batch_seed,
        precision=context.precision,
        log_odds=settings.objective == "cross_entropy",
        checkpoint=context.checkpoint,
        shares=launched() > 1,
    )
    report = (
        (lambda *_: None)
        if follows()
        else log_and_call(EpochLog(folder, run.folder / "tensorboard", name), run.on_epoch)
    )
    for epoch in fit(job):
        report(name, epoch)
    assert job.history is not None
    return job.history


def _check_gradients(module: Adapted, groups: Sequence[ParamGroup], clips: ClipDataset) -> None:
    """A first backward pass, of a few clips, in which every trained part of a backbone must have a gradient."""
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_()
    for name in module.backbones:
        some = torch.nonzero(clips.present(name)).flatten()[:CHECKED_CLIPS]
        with autocast(clips.labels.device, clips.precision):
            made = module(clips.batch(some)).float()
        check_gradients(module.backbone(name), made.square().sum())


def _save(run: RunState, module: Adapted, part: _Part) -> None:
    """Write what training changed in a backbone."""
    changes = module.backbone(part.modality.name).changes()
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in changes.items()}
    file = _file(run, part.modality.name)
    save_adapted(file, part.modality.backbone_role or "", part.method, part.base, arrays)
    remove(run.context(file.parent).checkpoint)


def adapt_all(run: RunState) -> None:
    """Train the backbones that the settings say, make the features of all clips with them, and let the run read these.

    Raises:
        DataError: a clip that had a modality has none now; and as for ``adapt``.
    """
    names = [name for name in adapted_modalities(run.settings) if name in run.modalities]
    with together(run.data.device):
        if run.settings.stage2.adaptation == "joint":
            adapt_jointly(run, names)
        else:
            for name in names:
                adapt(run, name)
    if follows():
        return
    for name in names:
        run.adapted[find_modality(name).backbone_role or ""] = _file(run, name)
    run.settings = with_weights(run.settings, {role: str(file.resolve()) for role, file in run.adapted.items()})
    run.data.stores |= dict.fromkeys(names, _features(run, names))


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
