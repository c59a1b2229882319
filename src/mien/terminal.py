"""The only place that prints: whatever is shown can neither command the terminal nor style itself.

Names of targets, clips and files come from strangers. A string that is printed from here, or put into a table that is,
is shown as it is, with control characters spelt out (``errors.escape_control``); nothing in it is read as rich's
markup. So no other module prints, makes a console, or a ``Text`` (a test sees to it).
"""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from mien.errors import escape_control


class Printer(Console):
    """A console that takes strings literally and leaves a broken pipe to ``cli/__init__.py``."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False, markup=False)
        if not self.is_terminal:
            self.width = 160  # a file or a pipe is not 80 columns wide

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """What rich makes of every string: of lines that are printed, of cells, headers and titles of tables."""
        made = shown(text)
        made.style, made.justify, made.overflow = style, justify, overflow
        return made

    def on_broken_pipe(self) -> None:
        """Pass it on."""
        raise BrokenPipeError


def shown(text: str) -> Text:
    """A string as rich is to show it, for the places of rich that would look for markup in it."""
    return Text(escape_control(text))


def lines(first: str, *others: str) -> Text:
    """Several lines for one cell of a table, all but the first in a quieter tone."""
    return Text.assemble(shown(first), *((f"\n{escape_control(line)}", "dim") for line in others))


def say(line: str) -> None:
    """Print one line, however long, to where results go."""
    _print(escape_control(line), sys.stdout)


def say_document(text: str) -> None:
    """Print several lines that mien has made itself (JSON, YAML), in which everything is escaped already."""
    _print(text, sys.stdout)


def note(line: str) -> None:
    """Print one line that is no result."""
    warn(f"note: {line}")


def warn(line: str) -> None:
    """Print one line to the error stream."""
    _print(escape_control(line), sys.stderr)


def _print(text: str, stream: Any) -> None:
    print(text, file=stream, flush=True)
