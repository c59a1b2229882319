"""Training curves."""

import numpy as np

from mien.reporting.blocks import Column, Figure, Table
from mien.reporting.charts import Line, lines
from mien.reporting.rundata import Array, Curves, Run
from mien.reporting.wording import number


def curves(run: Run) -> list[Figure]:
    """Validation r and loss of every training, seeds as a band around their mean."""
    named = {name if name == "fused" else f"{name} alone": made for name, made in run.curves.items()}
    if not named:
        return []
    span = _span([made.r for made in named.values()])
    reached = "; ".join(f"{name} {_best(mean_of(made.r))}" for name, made in named.items())
    fall = "; ".join(f"{n} {number(mean_of(m.loss)[0])} to {number(mean_of(m.loss)[-1])}" for n, m in named.items())
    clips = "the clips of the inner split" if run.inner else "the validation clips"
    return [
        Figure(
            "curves-r", "Validation r by epoch",
            f"On {clips}; mean over seeds, the band is their range. The best epoch of each seed is kept.",
            f"Best mean r over seeds: {reached}.", [_panel(name, made.r, "r", span) for name, made in named.items()],
            _table(named),
        ),
        Figure(
            "curves-loss", "Training loss by epoch",
            "The minimised loss, weighted as in the settings; each panel has its own scale.",
            f"Mean loss in the first and the last epoch: {fall}.",
            [_panel(name, made.loss, "loss", None) for name, made in named.items()], _table(named, loss=True),
        ),
    ]  # fmt: skip


def _best(r: Array) -> str:
    """The highest mean r and its epoch; undefined for a modality that no validation clip has."""
    if not np.isfinite(r).any():
        return number(np.nan)
    return f"{number(float(np.nanmax(r)))} in epoch {int(np.nanargmax(r)) + 1}"


def mean_of(values: Array) -> Array:
    """Mean over the seeds with a finite value, by epoch."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(1) / known.sum(1)


def _panel(name: str, values: Array, what: str, span: tuple[float, float] | None) -> str:
    known = np.where(np.isfinite(values), values, mean_of(values)[:, None])
    line = Line(list(mean_of(values)), "accent", low=list(known.min(1)), high=list(known.max(1)))
    return lines(range(1, len(values) + 1), [line], name, ("epoch", what), span=span, height=200)


def _span(values: list[Array]) -> tuple[float, float]:
    known = np.concatenate([value[np.isfinite(value)] for value in values])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return min(0.0, low) - 0.01, high + 0.02


def _table(named: dict[str, Curves], loss: bool = False) -> Table:
    rows = [
        (name, epoch + 1, float(mean), float(np.nanmin(row)), float(np.nanmax(row)))
        for name, made in named.items()
        for values in [made.loss if loss else made.r]
        for epoch, (mean, row) in enumerate(zip(mean_of(values), values, strict=True))
        if np.isfinite(mean)
    ]
    what, named_so = ("loss", "Training loss") if loss else ("r", "Validation r")
    kinds = (Column(f"{kind} {what}", ".4f") for kind in ("mean", "lowest", "highest"))
    columns = [Column("training"), Column("epoch", "d"), *kinds]
    return Table(f"curves-{what}-numbers", f"{named_so} by epoch, over seeds", columns, rows)
