"""Manifests of clips and their labels, and splits. No torch."""
