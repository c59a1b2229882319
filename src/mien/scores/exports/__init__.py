"""What scored clips are exported as: tables, the document, annotation files, and another service's JSON.

``FORMATS`` lists every format. Each is made from a ``ScoresDocument``, so that an export an hour or a year later holds
what it holds today. Read ``format.py`` first; to add a format, write a file like ``hume.py`` and add it to the table.
"""

from pathlib import Path

from mien.errors import SettingsError
from mien.scores.document import ScoresDocument
from mien.scores.exports.elan import EAF
from mien.scores.exports.format import Format
from mien.scores.exports.hume import HUME
from mien.scores.exports.json_document import DOCUMENT
from mien.scores.exports.praat import TEXTGRID
from mien.scores.exports.tabular import LONG, WHY, WIDE, WINDOWS, WORDS

FORMATS: dict[str, Format] = {
    made.name: made for made in (DOCUMENT, WIDE, LONG, WINDOWS, WORDS, WHY, EAF, TEXTGRID, HUME)
}
"""Every export format by its name."""


def check_form(out: Path, form: str | None = None) -> str:
    """Check that scores can be written to ``out``, before hours of work go into it.

    Args:
        out: a file, or a folder where the format has a file per clip.
        form: one of ``FORMATS``; ``None`` takes it from the file's ending: ``.json`` is the document, a table is wide.

    Returns:
        The name of the format.

    Raises:
        SettingsError: there is no such format, or it is not written to a file of that name.
    """
    form = form or ("json" if out.suffix.lower() == ".json" else "wide")
    if form not in FORMATS:
        raise SettingsError(f"{form}: no such format of scores; use {', '.join(FORMATS)}")
    FORMATS[form].check(out)
    return form


def write_scores(
    scored: ScoresDocument, out: Path, form: str | None = None, *, raw_cells: bool = False
) -> tuple[str, ...]:
    """Write scored clips.

    Args:
        scored: the document.
        out, form: as in ``check_form``.
        raw_cells: as in ``write_table``, for formats that are tables.

    Returns:
        Notes on what has no place in that format, one line each with a count and the first example.

    Raises:
        SettingsError: as in ``check_form``.
        DataError: windows are not in order of time, or lie within each other (annotation files).
    """
    return FORMATS[check_form(out, form)].write(scored, out, raw_cells)
