r"""Escaping of CSV cells that a spreadsheet would take for formulas.

A cell of a CSV file that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end is a formula to Excel, LibreOffice
and Google Sheets. Names of clips and targets are untrusted, so such a text gets an apostrophe in front, which
spreadsheets take for "this is text". A text with apostrophes before such a character gets one more, so that removing
one apostrophe always restores the text. Numbers are not escaped.

Source: OWASP, *CSV Injection*.
"""

import re
from collections.abc import Iterable
from typing import Any

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The last four are the full-width forms of the first four, which some spreadsheets treat alike."""


def escaped(text: str) -> str:
    """A text that spreadsheets show as it is.

    >>> [escaped(text) for text in ("=1+1", "-", "clip 1", "'quoted'", "'=1")]
    ["'=1+1", "'-", 'clip 1', "'quoted'", "''=1"]
    """
    return f"'{text}" if _FORMULA.match(text) else text


def restored(text: str) -> str:
    """The inverse of ``escaped``.

    >>> [restored(escaped(text)) for text in ("=1+1", "'quoted'", "'=1")]
    ['=1+1', "'quoted'", "'=1"]
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a text of a table that was not escaped.

    >>> [is_formula(text) for text in ("=1+1", "@anna", "'=1+1", "-0,5", "+3 %", "-", "")]
    [True, True, False, False, False, False, False]
    """
    found = _FORMULA.match(text) is not None and not text.startswith("'")
    return found and text != "-" and re.fullmatch(r"[+-][\d.,eE+-]*\d *%?", text) is None


def escaped_row(cells: Iterable[Any]) -> list[Any]:
    """A row for ``csv.writer`` with its texts escaped, except numbers.

    >>> escaped_row(["-0.5", "+1.2", "-x", -3, None])
    ['-0.5', '+1.2', "'-x", -3, None]
    """
    return [escaped(cell) if isinstance(cell, str) and not _is_number(cell) else cell for cell in cells]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
