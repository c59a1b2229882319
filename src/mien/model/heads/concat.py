"""Concatenation of the embeddings and a regressor, as in the paper (``mien.model.fusion``)."""

from mien.model.fusion import Fusion

HEAD = Fusion
