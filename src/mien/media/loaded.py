"""Models are loaded once each, in the background, while something else is done with the clip at hand.

    loaded = Loaded()
    loaded.begin("recogniser", open_recogniser)        # returns at once
    loaded.get("recogniser", open_recogniser)          # waits for it; if it has not begun, it begins now

They are loaded one after the other, in a thread without network: half of the time of loading is Python's imports, of
which only one goes on at a time anyway.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from mien.sandbox import deny_network

Thing = TypeVar("Thing")


class Loaded:
    """What has been loaded, by name."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._thread = ThreadPoolExecutor(1, "mien-loading", initializer=partial(deny_network, whole_process=False))
        self._things: dict[str, Future[Any]] = {}

    def begin(self, name: str, load: Callable[[], Thing]) -> "Future[Thing]":
        """Load a thing, unless that has begun."""
        if name not in self._things:
            self._things[name] = self._thread.submit(load)
        return self._things[name]

    def get(self, name: str, load: Callable[[], Thing]) -> Thing:
        """The thing, once it is loaded; what ``load`` raises is raised here, and the next call loads again."""
        thing = self.begin(name, load)
        try:
            return thing.result()
        except BaseException:
            self._things.pop(name, None)
            raise

    def cancel(self) -> None:
        """Drop what waits to be loaded; what is being loaded goes on. It may begin again."""
        self._things = {name: thing for name, thing in self._things.items() if not thing.cancel()}
