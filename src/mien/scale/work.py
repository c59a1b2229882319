"""What runs over items: a factory, the function that it makes, and an item that failed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result", covariant=True)

Seconds = Callable[[Any], float]
"""The time limit of an item."""


class WorkerFactory(Hashable, Protocol[Result]):
    """A frozen record, called once in each process, that returns the function to run."""

    def __call__(self) -> Callable[[Any], Result]:
        """Load models and return the function."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A function that holds processes or files until it is closed; in a worker it is released with the process."""

    def close(self) -> None:
        """Release them."""
        ...


@dataclass(frozen=True)
class Failed:
    """An item for which the worker died or ran out of time; ``reason`` is shown to the user."""

    reason: str
