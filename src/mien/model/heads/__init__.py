"""Rivals of the fusion by concatenation, on equal footing: same features, same seeds, same training.

Every head is a ``FusionHead``, is built from a ``FusionSpec`` and gives ``(K, B, E)``. Most read embeddings,
``{modality: Embedding}``, and the design's widths are those of the embeddings; those that say ``reads_steps`` have
branches of their own, read ``{modality: Steps}``, and the widths are those of the features.

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
