"""The only module that prints: output cannot contain control sequences or markup.

Names of targets, clips and files are untrusted. Strings that are printed here, or in tables, are shown literally, with
control characters escaped (``errors.escape_control``) and without rich's markup. No other module prints, creates a
console or a ``Text``; a test checks that.
"""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from mien.errors import escape_control


class Printer(Console):
    """A console that prints strings literally and leaves broken pipes to ``cli/__init__.py``."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False, markup=False)
        if not self.is_terminal:
            self.width = 160  # a file or a pipe is not 80 columns wide

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Rich calls this for every string: printed lines, and cells, headers and titles of tables."""
        made = shown(text)
        made.style, made.justify, made.overflow = style, justify, overflow
        return made

    def on_broken_pipe(self) -> None:
        """Raise it again."""
        raise BrokenPipeError


def shown(text: str) -> Text:
    """A string as literal ``Text``, where rich would parse markup."""
    return Text(escape_control(text))


def lines(first: str, *others: str) -> Text:
    """Several lines for one cell of a table, all but the first dimmed."""
    return Text.assemble(shown(first), *((f"\n{escape_control(line)}", "dim") for line in others))


def say(line: str) -> None:
    """Print one line to standard output, without wrapping."""
    _print(escape_control(line), sys.stdout)


def say_document(text: str) -> None:
    """Print lines that are escaped already (JSON, YAML) to standard output."""
    _print(text, sys.stdout)


def note(line: str) -> None:
    """Print a note to the error stream."""
    warn(f"note: {line}")


def warn(line: str) -> None:
    """Print one line to the error stream."""
    _print(escape_control(line), sys.stderr)


def _print(text: str, stream: Any) -> None:
    print(text, file=stream, flush=True)
