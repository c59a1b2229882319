"""A pickled NumPy array, read without ``pickle``: a pickle is a program, and this machine can only make one array.

It knows the instructions that NumPy's own pickles consist of and four words, each of which it understands itself;
nothing is looked up, imported or called by name. What it makes is never larger than the file: a plain unpickler
fills the memory for a few bytes (an entry of its memo far away, a claim of terabytes, a text copied a million times).

The trade-off: a hundred lines here, instead of a restricted ``pickle.Unpickler`` whose faults are in C.
"""

import pickletools
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mien.errors import DataError

MOST_STEPS = 500
"""Instructions; an array needs about thirty."""

PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
WORDS = frozenset({"_reconstruct", "_frombuffer", "ndarray", "dtype"})
NUMERIC = re.compile(r"[fiu][1248]")
"""Kinds of numbers that are taken, as NumPy writes them."""


def safe_unpickle_array(content: bytes) -> npt.NDArray[Any]:
    """The numeric array that a pickle holds.

    Raises:
        DataError: it holds anything else, or is damaged.
    """
    machine = _Machine(len(content))
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if number > MOST_STEPS:
                _refuse()
            machine.do(instruction.name, argument)
        return machine.result()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle is wrong in nearly any way
        raise DataError(f"damaged pickle ({str(error)[:120]})") from error


@dataclass(frozen=True)
class _Word:
    name: str


@dataclass
class _Kind:
    """A data type: ``code`` as in ``f4``, then its byte order."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        if not NUMERIC.fullmatch(self.code) or self.order not in "<>=|":
            _refuse()
        return np.dtype(self.order + self.code)


@dataclass
class _Array:
    """An array that gets its content by ``BUILD``."""

    values: npt.NDArray[Any] | None = None


def _refuse() -> NoReturn:
    raise DataError("not a numeric array of steps x features")


class _Machine:
    """A stack, its marks, and what was put aside to be used again."""

    def __init__(self, size: int) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._may_copy = size

    def result(self) -> npt.NDArray[Any]:
        made = self._stack[-1]
        if not isinstance(made, _Array) or made.values is None:
            _refuse()
        return made.values

    def do(self, name: str, argument: Any) -> None:
        if name in PUSHES:
            self._stack.append(argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in TUPLES:
            self._stack.append(self._taken(len(self._stack) - TUPLES[name]))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "TUPLE":
            self._stack.append(self._taken(self._marks.pop()))
        elif name == "GLOBAL":
            self._stack.append(_word(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            self._stack.append(_word(*self._taken(len(self._stack) - 2)))
        elif name == "REDUCE":
            word, arguments = self._taken(len(self._stack) - 2)
            self._stack.append(self._said(word, arguments))
        elif name == "BUILD":
            state = self._stack.pop()
            _fill(self._stack[-1], state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            _refuse()

    def _taken(self, place: int) -> tuple[Any, ...]:
        """What lies from ``place`` upwards, off the stack."""
        if place < 0:
            _refuse()
        taken = tuple(self._stack[place:])
        del self._stack[place:]
        return taken

    def _said(self, word: Any, arguments: tuple[Any, ...]) -> Any:
        """What comes of a word with its arguments."""
        match word:
            case _Word("encode"):  # how protocol 2 writes bytes
                self._may_copy -= len(arguments[0])
                return arguments[0].encode("latin-1") if self._may_copy >= 0 else _refuse()
            case _Word("dtype"):
                return _Kind(str(arguments[0]))
            case _Word("_reconstruct"):
                return _Array()
            case _Word("_frombuffer"):
                content, kind, shape, order = arguments
                return _Array(_array(shape, kind, order, content))
        _refuse()


def _word(module: str, name: str) -> _Word:
    if (module.partition(".")[0] == "numpy" and name in WORDS) or (module, name) == ("_codecs", "encode"):
        return _Word(name)
    raise DataError(f"refused: the pickle wants {module}.{name}, but only numeric arrays are admitted")


def _fill(thing: Any, state: tuple[Any, ...]) -> None:
    if isinstance(thing, _Kind):
        thing.order = state[1]
    elif isinstance(thing, _Array):
        _, shape, kind, by_columns, content = state
        thing.values = _array(shape, kind, "F" if by_columns else "C", content)
    else:
        _refuse()


def _array(shape: Any, kind: Any, order: str, content: Any) -> npt.NDArray[Any]:
    if not isinstance(kind, _Kind) or not all(isinstance(side, int) and side >= 0 for side in shape):
        _refuse()
    return np.frombuffer(content, kind.dtype()).reshape(shape, order="F" if order == "F" else "C")
