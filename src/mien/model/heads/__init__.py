"""Fusion heads to compare with concatenation: same features, same seeds, same training.

A head is the file of its name in ``mien.config.HEAD_NAMES``, and ``HEAD`` there is its class: settings are validated
without torch, so the names cannot come from the classes. A head is a ``FusionHead``, built from a ``FusionSpec``, and
returns ``(K, B, E)``. Most read embeddings, ``{modality: Embedding}``, and ``spec.widths`` are those of the embeddings;
those with ``reads_steps`` have their own branches, read ``{modality: Steps}``, and ``spec.widths`` are those of the
features.

Reading order: ``gated``, ``late``, ``auxiliary``; for those that read steps ``steps`` and ``lstm``, then
``cross_attention`` with ``taemi``, ``recurrent`` with ``hallmen``, ``temporal``.
"""

from importlib import import_module

from mien.config import HEAD_NAMES
from mien.model.fusion import FusionHead

HEADS: dict[str, type[FusionHead]] = {name: import_module(f"{__name__}.{name}").HEAD for name in HEAD_NAMES}
"""Every head by its name in the settings."""
