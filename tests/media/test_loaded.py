"""Models are loaded in the background, once each, in order, and without network."""

import socket
import threading
from collections import Counter
from functools import partial

import pytest

from mien.media.loaded import Loaded
from mien.sandbox import network_guard


def test_what_has_begun_goes_on_beside_the_caller_and_is_loaded_once_and_in_order() -> None:
    loaded, go, began = Loaded(), threading.Event(), list[str]()

    def load(name: str) -> str:
        began.append(name)
        assert go.wait(10)
        return name.upper()

    for name in ("a", "b", "a"):
        loaded.begin(name, partial(load, name))
    go.set()
    assert loaded.get("b", lambda: load("b")) == "B"
    assert loaded.get("a", lambda: load("a")) == "A"
    assert loaded.get("c", lambda: load("c")) == "C"
    assert began == ["a", "b", "c"]


def test_a_failure_is_raised_where_the_thing_is_needed_and_the_next_call_loads_again() -> None:
    loaded, answers = Loaded(), iter([ValueError("not here"), ValueError("not yet")])

    def load() -> str:
        for error in answers:
            raise error
        return "here"

    loaded.begin("a", load)
    for reason in ("not here", "not yet"):
        with pytest.raises(ValueError, match=reason):
            loaded.get("a", load)
    assert loaded.get("a", load) == "here"


def test_what_waits_is_dropped_and_may_begin_again() -> None:
    loaded, begun, go = Loaded(), threading.Event(), threading.Event()
    count = Counter[str]()

    def load(name: str) -> str:
        count[name] += 1
        begun.set()
        assert go.wait(10)
        return name

    for name in ("a", "b"):
        loaded.begin(name, partial(load, name))
    assert begun.wait(10)
    loaded.cancel()
    go.set()
    assert loaded.get("a", partial(load, "a")) == "a"
    assert loaded.get("c", partial(load, "c")) == "c"
    assert count == {"a": 1, "c": 1}
    assert loaded.get("b", partial(load, "b")) == "b"


@pytest.mark.skipif(bool(network_guard()), reason=network_guard())
def test_nothing_is_loaded_from_the_network() -> None:
    def dial() -> None:
        socket.create_connection(("127.0.0.1", 9))

    with pytest.raises(PermissionError):
        Loaded().get("a", dial)
    with pytest.raises(ConnectionRefusedError):
        dial()
