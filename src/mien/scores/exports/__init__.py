"""Export formats of scores: tables, the document, annotation files, and Hume's JSON.

``FORMATS`` lists every format. Each is made from a ``ScoresDocument`` alone, so scores can be exported at any later
time. Read ``format.py`` first; to add a format, write a file like ``hume.py`` and add it to the table.
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
    """Check that scores can be written to ``out``, before hours of work.

    Args:
        out: a file, or a folder if the format has a file per clip.
        form: one of ``FORMATS``; by default from the file's ending: ``.json`` is the document, others a wide table.

    Returns:
        The name of the format.

    Raises:
        SettingsError: unknown format, or one that cannot be written to a file of that name.
    """
    form = form or ("json" if out.suffix.lower() == ".json" else "wide")
    if form not in FORMATS:
        raise SettingsError(f"{form}: unknown format; use {', '.join(FORMATS)}")
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
        Notes on what the format cannot hold, one line each with a count and the first example.

    Raises:
        SettingsError: as in ``check_form``.
        DataError: windows are not in order of time, or nested (annotation files).
    """
    return FORMATS[check_form(out, form)].write(scored, out, raw_cells)
