"""Training: batches, the one loop, and the two stages. ``train`` does a whole run."""

from mien.training.train import RunSummary, train

__all__ = ["RunSummary", "train"]
