"""The content of a page as frozen records without HTML; ``render`` makes HTML of them.

A block is rendered by the template of its ``kind`` (``templates/blocks/table.html``): a new kind of block is a record
and a template. Every figure has a table of its numbers and a text alternative.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mien.wording import decimal

NARROW = 460
"""Width up to which a single panel has its caption beside it, units."""


@dataclass(frozen=True)
class TableCell:
    """A cell shown as ``text``, sorted and exported by ``value``."""

    text: str
    value: float | str | None = None


Value = str | float | int | None | TableCell
Row = Sequence[Value]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        form: number format, as in ``format()``: ``".3f"``, ``"+.3f"``, ``".0%"``, ``","``; empty for text.
        note: tooltip of the heading.
    """

    name: str
    form: str = ""
    note: str = ""

    def text(self, value: Value) -> str:
        """The text of a cell; a dash for a missing number.

        >>> Column("r", ".3f").text(0.25), Column("r", ".3f").text(float("nan")), Column("clip").text("00001")
        ('0.250', '–', '00001')
        """
        if isinstance(value, TableCell):
            return value.text
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        return value if isinstance(value, str) else decimal(value, self.form)


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and downloaded as CSV.

    Attributes:
        id: unique on the page; also the name of the downloaded file.
        caption: its content.
        columns: headings with their formats.
        rows: a cell per column; the first is the row's heading.
        sortable: whether it can be sorted.
        strong: indices of summary rows.
    """

    kind: ClassVar[str] = "table"
    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    sortable: bool = True
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a name, a colour of the page's palette, and a line style of ``charts``."""

    name: str
    colour: str
    dash: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure of one or several panels.

    Attributes:
        id: unique on the page.
        title: a short heading.
        caption: how to read it.
        alt: the result in words, for screen readers.
        panels: inline SVG from ``charts``.
        table: its numbers.
        legend: meaning of colours and dashes.
    """

    kind: ClassVar[str] = "figure"
    id: str
    title: str
    caption: str
    alt: str
    panels: Sequence[str]
    table: Table
    legend: Sequence[Key] = ()

    @property
    def columns(self) -> int:
        """Panels side by side on a wide page."""
        return 2 if len(self.panels) == 4 else min(len(self.panels), 3)

    @property
    def narrow(self) -> bool:
        """Whether the caption fits beside the panel."""
        width = re.match(r'<svg viewBox="0 0 (\d+)', self.panels[0]) if len(self.panels) == 1 else None
        return width is not None and int(width[1]) <= NARROW


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text, then ``points`` as a list, collapsed after the first ``shown``."""

    kind: ClassVar[str] = "prose"
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    shown: int = 100


@dataclass(frozen=True)
class Notice:
    """A note or a warning (``level``); ``command`` is what to type about it."""

    kind: ClassVar[str] = "notice"
    text: str
    level: str = "note"
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values: key figures (``big``) or a list."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]
    big: bool = False


@dataclass(frozen=True)
class Answers:
    """Questions with their answers."""

    kind: ClassVar[str] = "answers"
    answers: Sequence[tuple[str, str]]


Block = Table | Figure | Prose | Notice | Facts | Answers


@dataclass(frozen=True)
class Section:
    """A section; ``blocks`` are those above, or others with a ``kind`` that has a template."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block | object]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title, subtitle: heading, and kind of report.
        about: paragraphs below the title.
        sections: in order, as in the table of contents.
        head: blocks above the first section: key figures, notices.
    """

    title: str
    subtitle: str
    about: Sequence[str]
    sections: Sequence[Section]
    head: Sequence[Block | object] = ()

    @property
    def blocks(self) -> list[object]:
        """All blocks, in order."""
        return [*self.head, *(block for section in self.sections for block in section.blocks)]
