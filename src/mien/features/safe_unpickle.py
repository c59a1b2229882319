"""Pickled NumPy arrays, read without ``pickle``: this interpreter can only build one numeric array.

It knows the opcodes of NumPy's own pickles and five globals, which it implements itself; nothing is looked up,
imported or called by name. Its output is never larger than the file: a plain unpickler can be made to fill the memory
by a few bytes (a high memo index, an array of claimed terabytes, a text copied a million times).

The trade-off: a hundred lines here instead of a restricted ``pickle.Unpickler``, which has faults in its C code.
"""

import pickletools
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mien.errors import DataError

MOST_STEPS = 500
"""Opcodes; an array needs about thirty."""

PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
GLOBALS = frozenset({"_reconstruct", "_frombuffer", "ndarray", "dtype"})
NUMERIC = re.compile(r"[fiu][1248]")
"""Accepted data types, as NumPy writes them."""


def safe_unpickle_array(content: bytes) -> npt.NDArray[Any]:
    """The numeric array in a pickle.

    Raises:
        DataError: it is anything else, or is damaged.
    """
    interpreter = _Interpreter(len(content))
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number > MOST_STEPS:
                _refuse()
            interpreter.execute(opcode.name, argument)
        return interpreter.result()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may fail in nearly any way
        raise DataError(f"damaged pickle ({str(error)[:120]})") from error


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _DType:
    """A data type: ``code`` as in ``f4``, and its byte order."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        if not NUMERIC.fullmatch(self.code) or self.order not in "<>=|":
            _refuse()
        return np.dtype(self.order + self.code)


@dataclass
class _Array:
    """An array, which gets its content by ``BUILD``."""

    values: npt.NDArray[Any] | None = None


def _refuse() -> NoReturn:
    raise DataError("not a numeric array of steps x features")


class _Interpreter:
    """A pickle machine: stack, marks and memo."""

    def __init__(self, size: int) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._bytes_left = size

    def result(self) -> npt.NDArray[Any]:
        top = self._stack[-1]
        if not isinstance(top, _Array) or top.values is None:
            _refuse()
        return top.values

    def execute(self, name: str, argument: Any) -> None:
        if name in PUSHES:
            self._stack.append(argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in TUPLES:
            self._stack.append(self._pop_from(len(self._stack) - TUPLES[name]))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "TUPLE":
            self._stack.append(self._pop_from(self._marks.pop()))
        elif name == "GLOBAL":
            self._stack.append(_find_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            self._stack.append(_find_global(*self._pop_from(len(self._stack) - 2)))
        elif name == "REDUCE":
            function, arguments = self._pop_from(len(self._stack) - 2)
            self._stack.append(self._call(function, arguments))
        elif name == "BUILD":
            state = self._stack.pop()
            _set_state(self._stack[-1], state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            _refuse()

    def _pop_from(self, index: int) -> tuple[Any, ...]:
        """Pop the items from ``index`` upwards."""
        if index < 0:
            _refuse()
        items = tuple(self._stack[index:])
        del self._stack[index:]
        return items

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """The result of one of the known functions."""
        match function:
            case _Global("encode"):  # how protocol 2 writes bytes
                self._bytes_left -= len(arguments[0])
                return arguments[0].encode("latin-1") if self._bytes_left >= 0 else _refuse()
            case _Global("dtype"):
                return _DType(str(arguments[0]))
            case _Global("_reconstruct"):
                return _Array()
            case _Global("_frombuffer"):
                content, dtype, shape, order = arguments
                return _Array(_array(shape, dtype, order, content))
        _refuse()


def _find_global(module: str, name: str) -> _Global:
    if (module.partition(".")[0] == "numpy" and name in GLOBALS) or (module, name) == ("_codecs", "encode"):
        return _Global(name)
    raise DataError(f"refused: the pickle wants {module}.{name}, but only numeric arrays are admitted")


def _set_state(item: Any, state: tuple[Any, ...]) -> None:
    if isinstance(item, _DType):
        item.order = state[1]
    elif isinstance(item, _Array):
        _, shape, dtype, by_columns, content = state
        item.values = _array(shape, dtype, "F" if by_columns else "C", content)
    else:
        _refuse()


def _array(shape: Any, dtype: Any, order: str, content: Any) -> npt.NDArray[Any]:
    if not isinstance(dtype, _DType) or not all(isinstance(side, int) and side >= 0 for side in shape):
        _refuse()
    return np.frombuffer(content, dtype.dtype()).reshape(shape, order="F" if order == "F" else "C")
