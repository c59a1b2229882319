"""Evaluation of models: on a split, by subgroup, paired comparison, submissions."""
