"""Controlled comparisons: many trainings that differ in one setting, compared with intervals.

plan (a YAML file → cells) → cells (trained in batches, by several processes, resumable)
    → results (paired differences over seeds and over clips) → report (tables, charts, text)
"""

from mien.study.study import run_study

__all__ = ["run_study"]
