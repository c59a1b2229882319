"""Inference: from clips to scores with a trained model."""
