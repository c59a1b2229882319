"""Scored clips as tables: a row per clip, or a row per window. Lists and reasons are text, so that they open anywhere.

Shapes: none; columns are named after clips, targets and modalities.
"""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from mien.modalities import MODALITIES
from mien.schema import Prediction, Window

WORDS = ("clip", "present", "absent", "error")
"""Columns of text; all others hold numbers."""

NO_INTERVAL = (math.nan, math.nan)


def table(predictions: Sequence[Prediction], targets: Sequence[str]) -> pa.Table:
    """A row per clip: its scores, the ends of their intervals, what it was scored from, and what went wrong.

    Where it is known what moved the scores, also ``why <modality> <target>``: Shapley values, ``nan`` where a clip
    lacks the modality.
    """
    columns: dict[str, list[object]] = {"clip": [made.clip for made in predictions]}
    columns |= _scores(predictions, targets)
    columns |= _reasons(predictions, targets)
    columns["present"] = [" ".join(made.present) for made in predictions]
    columns["absent"] = ["; ".join(f"{n}: {why}" for n, why in made.absent.items()) for made in predictions]
    columns["error"] = [made.error or "" for made in predictions]
    return _table(columns)


def windows_table(predictions: Sequence[Prediction], targets: Sequence[str]) -> pa.Table:
    """A row per window of each clip: where it starts and ends in seconds, its scores, and what they come from."""
    rows = [(made.clip, window) for made in predictions for window in made.windows]
    windows = [window for _, window in rows]
    columns: dict[str, list[object]] = {
        "clip": [clip for clip, _ in rows],
        "start": [window.start for window in windows],
        "end": [window.end for window in windows],
        **_scores(windows, targets),
        "present": [" ".join(window.present) for window in windows],
    }
    return _table(columns)


def explained(predictions: Sequence[Prediction]) -> list[str]:
    """The modalities whose part in the scores is known, in their order; empty when nobody asked."""
    asked = [made for made in predictions if made.why is not None]
    return [name for name in MODALITIES if any(name in made.present or name in made.absent for made in asked)]


def _scores(scored: Sequence[Prediction | Window], targets: Sequence[str]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {target: [made.scores[target] for made in scored] for target in targets}
    for end, name in enumerate(("lower", "upper")):
        columns |= {
            f"{target} {name}": [made.intervals.get(target, NO_INTERVAL)[end] for made in scored] for target in targets
        }
    return columns


def _reasons(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, list[object]]:
    shapley: list[Mapping[str, Mapping[str, float]]] = [made.why.shapley if made.why else {} for made in predictions]
    return {
        f"why {name} {target}": [moved.get(name, {}).get(target, math.nan) for moved in shapley]
        for name in explained(predictions)
        for target in targets
    }


def _table(columns: Mapping[str, list[object]]) -> pa.Table:
    kinds = [(name, pa.string() if name in WORDS else pa.float64()) for name in columns]
    return pa.table(dict(columns), schema=pa.schema(kinds))
