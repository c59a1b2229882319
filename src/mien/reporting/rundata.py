"""Reads a run folder: identity, split, curves, predictions, and its evaluations.

Without an evaluation the run's own validation predictions are evaluated, without subsets of modalities, robustness,
coverage and reasons for missing modalities; the page names the command that adds them.
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
from mien.evaluation.subgroups import interval_notes
from mien.metrics import mean_defined
from mien.model.model_folder import read_config
from mien.storage.bounded import read_parquet
from mien.storage.files import as_written, read_bytes_checked, read_json

Array = npt.NDArray[np.float64]


REMEDY = "delete the damaged file and run the same mien train again"


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
        provenance: of the fused model.
        notes: on its trainings.
    """

    folder: Path
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    split: Mapping[str, Any]
    targets: tuple[str, ...]
    r: Mapping[str, Array]
    curves: Mapping[str, Curves]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def inner(self) -> bool:
        """Whether an inner split of the training clips chose the epochs, and not the validation clips."""
        return self.split.get("inner") is not None

    @property
    def refitted(self) -> bool:
        """Whether the model was trained again on all rated clips, so that ``r`` is of the models before."""
        return bool(self.provenance.get("data", {}).get("refit"))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in order."""
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
        logs = {file.parent.name: file for file in sorted((folder / "stage1").glob("*/epochs.jsonl"))}
        if (folder / "stage2" / "epochs.jsonl").exists():
            logs["fused"] = folder / "stage2" / "epochs.jsonl"
        order = [*results["r"]]
        return Run(
            folder,
            read_json(folder / "run.json"),
            read_json(folder / "environment.json"),
            read_json(folder / "split.json"),
            tuple(results["targets"]),
            {name: _array(values) for name, values in results["r"].items()},
            {name: _curves(logs[name]) for name in order if name in logs},
            read_json(folder / "model" / "provenance.json"),
            tuple(map(str, results.get("notes", ()))),
        )


def evaluation_of(run: Run, split: str | None = None) -> tuple[Evaluation, str, bool]:
    """The run's evaluation on a split, or else one of its own validation predictions.

    Args:
        run: from ``read_run``.
        split: which; by default that of the latest evaluation.

    Returns:
        The evaluation, its data, and whether ``mien evaluate`` made it.

    Raises:
        DataError: the run was not evaluated on that split.
    """
    known = splits_of(run.folder)
    if split in known or (known and split is None):
        evaluation, data = read_evaluation(run.folder, split or known[0])
        return evaluation, data, True
    if split in (None, "valid"):
        return _of_predictions(run), str(run.provenance["data"]["name"]), False
    raise DataError(
        f"{run.folder}: not evaluated on split {split!r} (evaluated on: {', '.join(known) or 'none'}); "
        f"evaluate it with: mien evaluate {run.folder} DATA --features STORE --split {split}"
    )


def _of_predictions(run: Run) -> Evaluation:
    """An evaluation of the run's own validation predictions."""
    table = read_parquet(run.folder / "predictions.parquet")
    names = [name.replace("fused ", "predicted ", 1) for name in table.column_names]
    table = table.rename_columns(names)
    people = table["participant"].to_pylist()
    targets, mean_r = evaluate_targets(
        run.targets, matrix(table, "predicted", run.targets), matrix(table, "rated", run.targets),
        people if all(people) else None,
    )  # fmt: skip
    notes = interval_notes(people, matrix(table, "rated", run.targets))
    return Evaluation(
        split="valid", clips=table.num_rows, resampled="participants" if all(people) else "clips", targets=targets,
        mean_r=mean_r, defined=sum(np.isfinite(target.r.value) for target in targets),
        mean_ccc=float(mean_defined([target.ccc for target in targets])), seeds=mean_defined(run.r["fused"]),
        subsets={}, missing={}, shares=(), coverage=None, table=table, notes=tuple(notes), modalities=run.modalities,
        validated_on=0 if run.inner else table.num_rows,
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
