"""Fusion heads to compare with concatenation: same features, same seeds, same training.

Every head is a ``FusionHead`` built from a ``FusionSpec`` and returns ``(K, B, E)``. Most read embeddings,
``{modality: Embedding}``, and ``spec.widths`` are those of the embeddings; those with ``reads_steps`` have their own
branches, read ``{modality: Steps}``, and ``spec.widths`` are those of the features.

Reading order: ``gated``, ``late``, ``auxiliary``; for those that read steps ``steps`` and ``lstm``, then
``cross_attention``, ``recurrent``, ``temporal``.
"""

from mien.model.fusion import Fusion, FusionHead
from mien.model.heads.auxiliary import Auxiliary
from mien.model.heads.cross_attention import CrossAttention
from mien.model.heads.gated import Gated
from mien.model.heads.late import Mean, WeightedLate
from mien.model.heads.recurrent import Recurrent
from mien.model.heads.temporal import Temporal

HEADS: dict[str, type[FusionHead]] = {
    "concat": Fusion,
    "gated": Gated,
    "late": WeightedLate,
    "mean": Mean,
    "auxiliary": Auxiliary,
    "cross_attention": CrossAttention,
    "recurrent": Recurrent,
    "temporal": Temporal,
}
"""Every head by its name in the settings."""
