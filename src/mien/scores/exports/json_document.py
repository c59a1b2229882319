"""The document itself as JSON (``scores/document.py``)."""

from mien.scores.document import as_json
from mien.scores.exports.format import JsonFormat

DOCUMENT = JsonFormat(
    name="json",
    about="the document, with all results: for reports, and for other programs",
    make=as_json,
)
