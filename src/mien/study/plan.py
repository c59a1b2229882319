"""A study as data: a base recipe and the axes along which it is varied, expanded to a list of cells.

question: Is it the two stages, or the backbones?
base: ../recipes/default.yaml            # beside this file; without it, the defaults
settings: {stage1.longest_steps: 48}     # changes of the base, for all cells
seeds: 10
axes:
  regime:                                # label: what it changes
    adapted: {stage2.adaptation: encoder}
    joint: {stage2.adaptation: joint}
    ridge: {method: ridge}
  stage2.modality_dropout: [0.0, 0.3]    # short for {"0": {stage2.modality_dropout: 0}, …}
  modalities: all                        # short for all 15 subsets
grid: full                               # every combination; star: one axis at a time around the reference
rays:                                    # more axes, varied one at a time around the reference only
  modality dropout: {with: {}, without: {stage2.modality_dropout: 0.0}}
reference: {regime: adapted}             # by default the first label of each axis
tune: {trials: 4, space: {stage2.lr: [3.0e-4, 1.0e-3]}}      # as many trials for every cell (study/trials.py)
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.config import Settings, read_settings, read_yaml, with_changes
from mien.errors import SettingsError
from mien.study.space import Tuning, ends
from mien.subsets import all_subsets, subset_name

Method = Literal["train", "ridge", "unimodal_mean"]
"""``train``: stages 1 and 2 with the settings; ``ridge``: regression on pooled features, the baseline;
``unimodal_mean``: mean prediction of the stage-1 models."""


class StudyFile(BaseModel):
    """Contents of a study's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    question: str = ""
    """The research question, in a sentence."""
    base: str | None = None
    """A recipe, relative to this file."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Changes of the base, by dotted name, for all cells."""
    seeds: int = Field(10, ge=2)
    """Models per cell, trained together."""
    axes: dict[str, Any]
    """By axis: labels with their changes, or a list of values."""
    grid: Literal["full", "star"] = "full"
    """Every combination, or one axis at a time."""
    rays: dict[str, Any] = Field(default_factory=dict)
    """Axes that are varied one at a time around the reference, whatever the grid."""
    reference: dict[str, str] = Field(default_factory=dict)
    """The label of each axis with which everything is compared."""
    tune: Tuning | None = None
    """Trials of every cell before it is trained; none by default."""


@dataclass(frozen=True)
class Cell:
    """One configuration.

    Attributes:
        labels: ``(axis, label)`` in the order of the axes.
        settings: everything it is trained with, seeds included.
        method: how its predictions are made.
        hidden_axes: axes that its name leaves out, because nearly all cells have the same label there.
    """

    labels: tuple[tuple[str, str], ...]
    settings: Settings
    method: Method = "train"
    hidden_axes: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The labels in one line."""
        return " · ".join(label for axis, label in self.labels if axis not in self.hidden_axes)


@dataclass(frozen=True)
class Plan:
    """All cells of a study.

    Attributes:
        title, question: name and question of the file.
        axes: their names, rays last.
        cells: every one.
        reference: the cell that the others are compared with.
        recipe: the file of the base settings; ``None`` for the defaults.
        changes: of the recipe, for all cells.
        tuning: the trials of each cell, if there are any.
    """

    title: str
    question: str
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    reference: Cell
    recipe: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None


def read_study(file: Path) -> Plan:
    """Read a study and expand it into cells.

    Raises:
        SettingsError: it cannot be read, or one of its cells has a setting that does not exist or is not allowed.
    """
    try:
        study = StudyFile.model_validate(read_yaml(file))
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    recipe = file.parent / study.base if study.base else None
    base = with_changes(read_settings(recipe), {**study.settings, "seeds": list(range(study.seeds))}, str(file))
    if both := set(study.axes) & set(study.rays):
        raise SettingsError(f"{file}: rays.{both.pop()}: is already an axis")
    rays = frozenset(study.rays)
    axes = {name: _labels(name, values, base, file) for name, values in {**study.axes, **study.rays}.items()}
    reference = _reference(study, axes, file)
    chosen = _chosen(axes, reference, rays if study.grid == "full" else frozenset(axes))
    cells = tuple(_cell(base, labels, axes, frozenset(r for r in rays if labels[r] == reference[r]), file)
                  for labels in chosen)  # fmt: skip
    center = next(cell for cell in cells if cell.labels == tuple(reference.items()))
    _check_tuning(study, axes, base, file)
    return Plan(file.stem, study.question, tuple(axes), cells, center, recipe, study.settings, study.tune)


def _check_tuning(
    study: StudyFile, axes: Mapping[str, Mapping[str, Mapping[str, Any]]], base: Settings, file: Path
) -> None:
    """Trials must not undo what an axis is about, and both ends of every range must be allowed."""
    if study.tune is None:
        return
    varied = {name for labels in axes.values() for change in labels.values() for name in change}
    if both := sorted(varied & set(study.tune.space)):
        raise SettingsError(f"{file}: tune.space.{both[0]}: is what an axis varies")
    for end in (0, -1):
        with_changes(base, {name: ends(values)[end] for name, values in study.tune.space.items()}, str(file))


def _chosen(
    axes: Mapping[str, Mapping[str, Any]], reference: Mapping[str, str], rays: frozenset[str]
) -> list[dict[str, str]]:
    """Every combination of the axes in the grid; then, for each ray, its other labels around the reference."""
    grid = [[reference[axis]] if axis in rays else list(labels) for axis, labels in axes.items()]
    chosen = [dict(zip(axes, labels, strict=True)) for labels in itertools.product(*grid)]
    single = ({**reference, axis: label} for axis in axes if axis in rays for label in axes[axis])
    return chosen + [labels for labels in single if labels != reference]


def _labels(axis: str, values: Any, base: Settings, file: Path) -> dict[str, Mapping[str, Any]]:
    """The labels of an axis, each with its changes."""
    if axis == "modalities" and values == "all":
        return {subset_name(subset): {"modalities": list(subset)} for subset in reversed(all_subsets(base.modalities))}
    if isinstance(values, list) and values:
        return {_short(value): {axis: value} for value in values}
    if isinstance(values, dict) and values and all(isinstance(change, dict) for change in values.values()):
        return {str(label): change for label, change in values.items()}
    raise SettingsError(f"{file}: axes.{axis}: expected a list of values, or labels each with its changes")


def _short(value: Any) -> str:
    """A value as a label: a list of modalities joined, ``all`` for no limit, anything else as it is written."""
    if value is None:
        return "all"
    return subset_name(map(str, value)) if isinstance(value, list) else str(value)


def _reference(study: StudyFile, axes: Mapping[str, Mapping[str, Any]], file: Path) -> dict[str, str]:
    for axis, label in study.reference.items():
        if axis not in axes or label not in axes[axis]:
            raise SettingsError(
                f"{file}: reference.{axis}: no such label; labels are {', '.join(axes.get(axis, axes))}"
            )
    return {axis: study.reference.get(axis, next(iter(labels))) for axis, labels in axes.items()}


def _cell(
    base: Settings,
    labels: dict[str, str],
    axes: Mapping[str, Mapping[str, Any]],
    hidden_axes: frozenset[str],
    file: Path,
) -> Cell:
    changes: dict[str, Any] = {}
    for axis, label in labels.items():
        changes |= axes[axis][label]
    method = changes.pop("method", "train")
    if method not in ("train", "ridge", "unimodal_mean"):
        raise SettingsError(f"{file}: method {method!r}: expected one of train, ridge, unimodal_mean")
    settings = with_changes(base, changes, f"{file}: {' · '.join(labels.values())}")
    return Cell(tuple(labels.items()), settings, method, hidden_axes)
