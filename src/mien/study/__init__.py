"""Controlled comparisons: one question, many trainings that differ in one thing, and what their intervals allow to say.

plan (a YAML file → cells) → cells (trained in batches of one shape, by several processes, resumable)
    → statistics (paired differences, over seeds and over clips) → report (tables, pictures, text)
"""

from mien.study.study import run_study

__all__ = ["run_study"]
