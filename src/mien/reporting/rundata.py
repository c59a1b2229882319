"""What a run folder holds, read back: identity, split, curves, predictions, and the evaluation if there is one.

Without an evaluation the run's own validation predictions are judged: they lack subsets of modalities, robustness,
coverage and the reasons why something was absent, and the page says which command brings these.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mien.errors import DataError, ModelError
from mien.evaluation.evaluate import evaluate_targets
from mien.evaluation.record import read_evaluation, splits_of
from mien.evaluation.results import Evaluation
from mien.metrics import mean_defined
from mien.model.bundle import read_config
from mien.storage.bounded import read_parquet
from mien.storage.files import as_written, read_bytes_checked, read_json

Array = npt.NDArray[np.float64]


REMEDY = "delete what is damaged and run the mien train that made it again"


@dataclass(frozen=True)
class Curves:
    """One training: ``(epochs, K)`` mean validation r and mean loss; epochs are counted from 1."""

    r: Array
    loss: Array


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where.
        identity: settings, and keys of data and features.
        environment: versions and machine.
        split: rule, counts, participants, notes.
        targets: the emotions.
        r: validation Pearson ``(K, E)`` by model: each modality alone, ``fused``, ``ensemble``.
        curves: by training: each modality, then ``fused``.
        provenance: what the fused model says about its origin.
    """

    folder: Path
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    split: Mapping[str, Any]
    targets: tuple[str, ...]
    r: Mapping[str, Array]
    curves: Mapping[str, Curves]
    provenance: Mapping[str, Any]

    @property
    def modalities(self) -> tuple[str, ...]:
        """What was trained, in order."""
        return tuple(read_config(self.folder / "model")["widths"])


def read_run(folder: Path) -> Run:
    """A finished run.

    Raises:
        ModelError: the run is not finished.
        DataError: a file of it is damaged.
    """
    if not (folder / "results.json").exists():
        raise ModelError(f"{folder}: an unfinished run (no results.json); finish it with the mien train that began it")
    with as_written(folder, REMEDY):
        results = read_json(folder / "results.json")
        rooms = {file.parent.name: file for file in sorted((folder / "stage1").glob("*/epochs.jsonl"))}
        if (folder / "stage2" / "epochs.jsonl").exists():
            rooms["fused"] = folder / "stage2" / "epochs.jsonl"
        order = [*results["r"]]
        return Run(
            folder,
            read_json(folder / "run.json"),
            read_json(folder / "environment.json"),
            read_json(folder / "split.json"),
            tuple(results["targets"]),
            {name: _array(values) for name, values in results["r"].items()},
            {name: _curves(rooms[name]) for name in order if name in rooms},
            read_json(folder / "model" / "provenance.json"),
        )


def evaluation_of(run: Run, split: str | None = None) -> tuple[Evaluation, str, bool]:
    """How good the run is: the evaluation in it of a split, or else its own predictions for validation.

    Args:
        run: from ``read_run``.
        split: which; by default the one that was judged last.

    Returns:
        The evaluation, what it was judged on, and whether it is one of ``mien evaluate``.

    Raises:
        DataError: the run was not judged on that split.
    """
    known = splits_of(run.folder)
    if split in known or (known and split is None):
        judged, data = read_evaluation(run.folder, split or known[0])
        return judged, data, True
    if split in (None, "valid"):
        return _of_predictions(run), str(run.provenance["data"]["name"]), False
    raise DataError(
        f"{run.folder}: not judged on split {split!r} (judged on: {', '.join(known) or 'none'}); "
        f"judge it with: mien evaluate {run.folder} DATA --features STORE --split {split}"
    )


def _of_predictions(run: Run) -> Evaluation:
    """The run's own validation predictions, judged."""
    table = read_parquet(run.folder / "predictions.parquet")
    names = [name.replace("fused ", "predicted ", 1) for name in table.column_names]
    table = table.rename_columns(names)
    people = table["participant"].to_pylist()
    targets, mean_r = evaluate_targets(
        run.targets, matrix(table, "predicted", run.targets), matrix(table, "rated", run.targets),
        people if all(people) else None,
    )  # fmt: skip
    notes = [] if all(people) else ["participants are unknown: intervals resample clips and may be too narrow"]
    return Evaluation(
        split="valid", clips=table.num_rows, resampled="participants" if all(people) else "clips", targets=targets,
        mean_r=mean_r, defined=sum(np.isfinite(target.r.value) for target in targets),
        mean_ccc=float(mean_defined([target.ccc for target in targets])), seeds=mean_defined(run.r["fused"]),
        subsets={}, missing={}, shares=(), coverage=None, table=table, notes=tuple(notes), modalities=run.modalities,
    )  # fmt: skip


def matrix(table: pa.Table, what: str, targets: Sequence[str]) -> Array:
    """``(N, E)`` of the columns ``"rated Joy"`` …"""
    return np.stack([table[f"{what} {name}"].to_numpy(zero_copy_only=False) for name in targets], 1).astype(np.float64)


def _curves(file: Path) -> Curves:
    try:
        records = [json.loads(line) for line in read_bytes_checked(file).decode("utf-8").splitlines()]
        return Curves(_array([one["mean_r"] for one in records]), _array([one["loss"] for one in records]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: damaged ({error}); delete the run and train again") from error


def _array(values: Any) -> Array:
    """Numbers of a JSON file, where null is ``nan``."""
    return np.array(values, dtype=np.float64)
