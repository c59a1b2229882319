r"""Cells that a spreadsheet would run instead of showing them.

A cell of a CSV file that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end is a formula to Excel, LibreOffice
and Google Sheets. Names of clips and targets come from strangers, so such a text gets an apostrophe in front, which
spreadsheets take for "this is text". One that has apostrophes before such a character gets one more, so that taking
away one apostrophe always gives the text back. Numbers are no text, and stay as they are.

Source: OWASP, *CSV Injection*.
"""

import re
from collections.abc import Iterable
from typing import Any

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The last four are the wide forms of the first four, which some spreadsheets take for the same."""


def escaped(text: str) -> str:
    """A text that is shown.

    >>> [escaped(text) for text in ("=1+1", "-", "clip 1", "'quoted'", "'=1")]
    ["'=1+1", "'-", 'clip 1', "'quoted'", "''=1"]
    """
    return f"'{text}" if _FORMULA.match(text) else text


def restored(text: str) -> str:
    """What ``escaped`` was given.

    >>> [restored(escaped(text)) for text in ("=1+1", "'quoted'", "'=1")]
    ['=1+1', "'quoted'", "'=1"]
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def escaped_row(cells: Iterable[Any]) -> list[Any]:
    """A row for ``csv.writer``: its texts escaped, except those that are numbers.

    >>> escaped_row(["-0.5", "+1.2", "-x", -3, None])
    ['-0.5', '+1.2', "'-x", -3, None]
    """
    return [escaped(cell) if isinstance(cell, str) and not _is_number(cell) else cell for cell in cells]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
