"""Cross-attention as published: every step is read, and each attention has an output projection.

As published with ``hidden: 512``, ``dropout: .1``, ``modality_dropout: .1`` and ``missing: token``;
``cross_attention.py`` has the rest.

Source: "TAEMI", Zhu et al. 2026, arXiv:2603.14976.
"""

from mien.model.heads.cross_attention import CrossAttention


class Taemi(CrossAttention):
    """K fusions by cross-attention from text, with the parts of the publication."""

    output_projection = True
    max_segments = None


HEAD = Taemi
