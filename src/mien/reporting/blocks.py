"""What a page is made of: plain frozen records that know nothing of HTML. ``render`` sets them, tests read them.

A block is shown by the template of its name (``Table`` by ``templates/blocks/table.html``), so a new kind of block is
a record here or anywhere else, and a template. Every figure carries its numbers: who cannot see it reads the table.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

NARROW = 460
"""Units up to which a single panel leaves room for its caption beside it."""


@dataclass(frozen=True)
class TableCell:
    """A cell whose text says more than its number: shown as ``text``, sorted and exported by ``value``."""

    text: str
    value: float | str | None = None


Value = str | float | int | None | TableCell
Row = Sequence[Value]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        form: how numbers are written, as in ``format()``: ``".3f"``, ``"+.3f"``, ``".0%"``, ``","``; empty for text.
        note: what the heading means, for those who ask.
    """

    name: str
    form: str = ""
    note: str = ""

    def text(self, value: Value) -> str:
        """What a cell shows; a dash where there is no number.

        >>> Column("r", ".3f").text(0.25), Column("r", ".3f").text(float("nan")), Column("clip").text("00001")
        ('0.250', '–', '00001')
        """
        if isinstance(value, TableCell):
            return value.text
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        return value if isinstance(value, str) else format(value, self.form)


@dataclass(frozen=True)
class Table:
    """A table, sortable by its columns and there for download as CSV.

    Attributes:
        id: unique on the page; also the name of the downloaded file.
        caption: what it shows.
        columns: headings with their formats.
        rows: of as many cells as there are columns; the first cell of each heads its row.
        sortable: whether a reader may sort it.
        strong: places of rows that sum up the others.
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
    """One or several panels of one picture.

    Attributes:
        id: unique on the page.
        title: a short heading.
        caption: how to read it, and what was left out or thinned.
        alt: the finding in words, for those who cannot see it.
        panels: inline SVG from ``charts``; several stand beside each other where there is room.
        table: its numbers.
        legend: what colours and dashes mean, where panels need one.
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
        """How many panels stand beside each other where there is room."""
        return 2 if len(self.panels) == 4 else min(len(self.panels), 3)

    @property
    def narrow(self) -> bool:
        """Whether there is room for words beside its one panel."""
        width = re.match(r'<svg viewBox="0 0 (\d+)', self.panels[0]) if len(self.panels) == 1 else None
        return width is not None and int(width[1]) <= NARROW


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text; ``points`` follow as a list, of which those after the first ``shown`` are folded."""

    kind: ClassVar[str] = "prose"
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    shown: int = 100


@dataclass(frozen=True)
class Notice:
    """Something that a reader must not overlook: ``note`` or ``warning``; ``command`` is what to type about it."""

    kind: ClassVar[str] = "notice"
    text: str
    level: str = "note"
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values: few, for a glance (``big``), or many, for the record."""

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
    """A part of a page; ``blocks`` are those above, or others with a ``kind`` that has a template."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block | object]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title, subtitle: what it is about, and of what kind it is.
        about: a paragraph each, below the title.
        sections: in order; they make the table of contents.
        head: blocks above the first section: the figures to see at a glance, notices.
    """

    title: str
    subtitle: str
    about: Sequence[str]
    sections: Sequence[Section]
    head: Sequence[Block | object] = ()

    @property
    def blocks(self) -> list[object]:
        """All of them, in order."""
        return [*self.head, *(block for section in self.sections for block in section.blocks)]
