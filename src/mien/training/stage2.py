"""Stage 2: the encoders together. Fusion learns; the encoders stay, follow slowly, or start anew, as adaptation says.

The trade-off: with frozen encoders every clip is embedded once and the fusion trains on the embeddings, which is many
times faster; any adaptation needs all steps of all clips in every epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mien.config import Settings
from mien.model.emotion import Multimodal, Unimodal, Variant, variants
from mien.model.fusion import Embedding
from mien.model.inputs import Clips
from mien.training.fit import Job, fit
from mien.training.stage1 import Report, Rooms, mean_and_deviation


@dataclass
class Embedded:
    """Clips after frozen encoders: ``values (K, N, D)`` and ``present (N,)`` by modality, and their labels."""

    parts: Mapping[str, Embedding]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Tensor:
        """All clips cost the same."""
        return torch.ones(len(self))

    def batch(self, index: Tensor) -> dict[str, Embedding]:
        """The clips at ``index``."""
        return {name: Embedding(part.values[:, index], part.present[index]) for name, part in self.parts.items()}

    def by_length(self) -> list[Tensor]:
        """All clips in batches."""
        return list(torch.arange(len(self), device=self.labels.device).split(1024))


def train_fusion(
    train: Clips,
    valid: Clips,
    encoders: Mapping[str, Unimodal],
    settings: Settings,
    rooms: Rooms,
    report: Report,
    models: tuple[Variant, ...] | None = None,
) -> Multimodal:
    """Train the fused model.

    Args:
        train, valid: clips with all modalities that the model is to read.
        encoders: the stage-1 models to start from, by modality; not looked at for ``joint``.
        settings: ``stage2`` says how.
        rooms: where and in what precision.
        report: told of every epoch.
        models: how the K models differ; by default only in the seeds of the settings.
    """
    stage = settings.stage2
    models = models or variants(settings, stage)
    widths = {name: steps.values.shape[1] for name, steps in train.modalities.items()}
    module = Multimodal(widths, train.labels.shape[1], settings, models).to(train.labels.device)
    for name in widths:
        if stage.adaptation != "joint":
            module.encoders[name].load_state_dict(encoders[name].encoder.state_dict())
        elif name in settings.stage1.standardise:
            module.encoder(name).standardise(*mean_and_deviation(train.modalities[name]))
    frozen = stage.adaptation == "frozen"
    job = Job(
        name="stage2",
        module=module.fusion if frozen else module,
        groups=module.groups(stage),
        models=models,
        train=embed_all(module, train) if frozen else train,
        valid=embed_all(module, valid) if frozen else valid,
        settings=stage,
        epochs=stage.epochs,
        batch_seed=rooms.batch_seed,
        precision=rooms.precision,
        checkpoint=rooms.checkpoint,
    )
    for epoch in fit(job):
        report(job.name, epoch)
    return module


def embed_all(module: Multimodal, clips: Clips) -> Embedded:
    """Every clip through the encoders, once, in float32."""
    places = clips.by_length()
    back = torch.argsort(torch.cat(places))
    parts: dict[str, list[Tensor]] = {name: [] for name in module.modalities}
    with torch.no_grad():
        for index in places:
            for name, embedding in module.embed(clips.batch(index)).items():
                parts[name].append(embedding.values)
    return Embedded(
        {name: Embedding(torch.cat(values, 1)[:, back], clips.present(name)) for name, values in parts.items()},
        clips.labels,
    )
