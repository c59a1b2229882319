"""Values that settings may take in a search or in the trials of a study."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Choice = str | int | float | bool


class Range(BaseModel):
    """Numbers from ``low`` to ``high``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a range has low < high, and with log a low above 0")
        return self


class Tuning(BaseModel):
    """How the cells of a study are tuned (``mien.study.trials``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trials: int = Field(ge=2)
    """Of every cell that is trained; the first is the cell as it is."""
    seeds: int = Field(1, ge=1)
    """Models per trial; a trial is scored by their mean r."""
    folds: int = Field(5, ge=2)
    """Folds of the training clips, by participant where known; trials are evaluated on the first."""
    draw_seed: int = 0
    """Seed of the proposals."""
    space: dict[str, Range | list[Choice]] = Field(min_length=1)
    """By dotted name of a setting: a range of numbers, or a list of values."""

    def proposals(self) -> list[dict[str, Choice]]:
        """The changes of each trial, the same for all cells; none in the first."""
        draw = np.random.default_rng(self.draw_seed)
        return [
            {},
            *({name: drawn(values, draw) for name, values in self.space.items()} for _ in range(self.trials - 1)),
        ]


def drawn(values: Range | list[Choice], draw: np.random.Generator) -> Choice:
    """One of the values at random; in a range with ``log``, every order of magnitude is as likely as another."""
    if isinstance(values, list):
        return values[int(draw.integers(len(values)))]
    low, high = (np.log(values.low), np.log(values.high)) if values.log else (values.low, values.high)
    found = draw.uniform(low, high)
    found = float(f"{np.exp(found) if values.log else found:.4g}")
    return round(found) if values.whole else found


def ends(values: Range | list[Choice]) -> tuple[Choice, Choice]:
    """The lowest and the highest value, or the first and the last."""
    if isinstance(values, list):
        return values[0], values[-1]
    return (int(values.low), int(values.high)) if values.whole else (values.low, values.high)
