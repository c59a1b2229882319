"""Before stage 1: a backbone is trained further, under an encoder and a head of its own.

    inputs of the training clips ─▶ frozen part, once ─▶ blocks ─▶ encoder ─▶ head          (this file)
    the changed blocks ─▶ RUN/adapted/<modality> ─▶ features of all clips in RUN/features   (as any extraction)
    stage 1, stage 2: from these features, as from those of any other backbone

So an adapted backbone is a backbone of one's own for everything that follows: scoring, windows, every engine. The
encoder and the head of this training are left behind; stage 1 trains one for each seed on the new features. The
trade-off: the backbone is trained with the first seed only, and features of training clips come from a backbone that
has seen their ratings; its file records these clips, so that another run does not evaluate on them.

With ``stage2.adaptation: joint``, there is no stage 1: backbones, encoders and fusion are trained at once from the
pretrained backbones, and the fused model is kept with them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mien.compute.processes import together
from mien.config import Settings, with_changes, with_weights
from mien.errors import DataError, SettingsError
from mien.features.extract import extract
from mien.features.kept_inputs import KeptInputs
from mien.features.store import Store
from mien.modalities import find_modality
from mien.model.adaptation import Adapted, check_gradients
from mien.model.inputs import ClipDataset, autocast
from mien.model.network import ModelSpec, Multimodal, ParamGroup, Unimodal, variants
from mien.scale import cores, follows, launched
from mien.storage.checksums import read_tensors, write_tensors
from mien.training.backbone_part import BackbonePart, inputs_of, load_part
from mien.training.cost import describe_cost
from mien.training.encoder_start import start_encoders, started
from mien.training.fit import fit
from mien.training.leaks import training_clips
from mien.training.parameters import describe_groups
from mien.training.run_folder import EpochLog
from mien.training.run_state import RunState, log_and_call, remove
from mien.training.schedule import History
from mien.training.state import TrainingJob
from mien.weights.adapted import save_adapted

RAREST = 1e-3
"""A mean rating that a head of log odds starts from is at least so far from 0 and 1."""

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
    if not _file(run, modality).exists():
        part, settings = load_part(run, modality), run.settings.adapt
        models = variants(run.settings, settings)[:1]
        width, targets = run.data.widths[modality], len(run.manifest.targets)
        model = Unimodal(modality, width, targets, run.settings.stage1, models)
        module = Adapted({modality: part.backbone}, model).to(run.data.device)
        start_encoders(model, run.data.clips("fit", started(model)))
        groups = module.groups({modality: part.method}, settings, model.groups())
        clips = inputs_of(run, [part], "fit")
        clips = clips.only(torch.nonzero(clips.present(modality)).flatten())
        if settings.objective == "cross_entropy":
            start_at_means(model, clips.labels)
        _log_cost(run, [part])
        _fit(run, f"adapt {modality}", module, groups, models, clips, inputs_of(run, [part], "select"))
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
    parts, settings = [load_part(run, name) for name in names], run.settings.adapt
    spec = variants(run.settings, run.settings.stage2)[0]
    models = (replace(spec, lr=settings.lr, weight_decay=settings.weight_decay, dropout=settings.dropout),)
    model = Multimodal(run.data.widths, len(run.manifest.targets), run.settings, models, run.data.layers)
    module = Adapted({part.modality.name: part.backbone for part in parts}, model).to(run.data.device)
    start_encoders(model, run.data.clips("fit", started(model)))
    groups = module.groups(
        {part.modality.name: part.method for part in parts}, settings, model.groups(run.settings.stage2)
    )
    _log_cost(run, parts)
    history = _fit(
        run, "adapt joint", module, groups, models, inputs_of(run, parts, "fit"), inputs_of(run, parts, "select")
    )
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


def _log_cost(run: RunState, parts: Sequence[BackbonePart]) -> None:
    """Say what a training costs before it starts."""
    settings = run.settings.adapt
    costs = {part.modality.name: part.cost(settings) for part in parts}
    for line in describe_cost(costs, settings.epochs, settings.batch_size):
        run.log(line)


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


def _save(run: RunState, module: Adapted, part: BackbonePart) -> None:
    """Write what training changed in a backbone."""
    changes = module.backbone(part.modality.name).changes()
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in changes.items()}
    file = _file(run, part.modality.name)
    role, seen = part.modality.backbone_role or "", training_clips(run.manifest, run.data)
    save_adapted(file, role, part.method, part.base, arrays, seen)
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
    run.data.read_from(_features(run, names), names)


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
