"""Formats of numbers and names in text."""

import re

import numpy as np

from mien.metrics import Interval
from mien.reporting.blocks import TableCell
from mien.wording import decimal


def slug(text: str) -> str:
    """A name as an id.

    >>> slug("Empathic Pain")
    'empathic-pain'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def between(found: Interval, form: str = ".3f") -> TableCell:
    """Both ends of an interval, sorted by the lower one; a dash if undefined."""
    if not np.isfinite(found.low):
        return TableCell("–")
    return TableCell(f"{decimal(found.low, form)} to {decimal(found.high, form)}", found.low)


def number(value: float, form: str = ".3f") -> str:
    """A number in a sentence.

    >>> number(0.12345), number(float("nan"))
    ('0.123', 'undefined')
    """
    return decimal(value, form) if np.isfinite(value) else "undefined"


def best_of(name: str, value: float) -> str:
    """The best of several in a sentence.

    >>> best_of("text", 0.2), best_of("text", float("nan"))
    ('Best with text (0.200)', 'Best with: undefined')
    """
    return f"Best with {name} ({number(value)})" if np.isfinite(value) else "Best with: undefined"


def listed(names: list[str]) -> str:
    """Names in a sentence.

    >>> listed(["text", "audio", "vision"])
    'text, audio and vision'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def verdict(stored: str) -> str:
    """A verdict of ``study.json`` as it is shown.

    >>> verdict("better"), verdict("open")
    ('better', 'inconclusive')
    """
    return "inconclusive" if stored == "open" else stored
