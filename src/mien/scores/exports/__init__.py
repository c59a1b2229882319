"""What scored clips are handed on as: tables, the document, annotation files, and another service's JSON.

    form      written as                                      made in
    json      the versioned document, everything there is     document.py
    wide      a table: .csv .tsv .parquet .json               tabular.py
    long, windows, words, why   as wide                       tabular.py
    eaf       a folder with one ELAN file per clip            elan.py, tiers.py
    textgrid  a folder with one Praat TextGrid per clip       praat.py, tiers.py
    hume      one .json file                                  hume.py

Everything is made from a ``ScoresDocument``, so that an export an hour or a year later says what it says today.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mien.errors import SettingsError
from mien.scores.document import ClipNote, ScoresDocument, write_document
from mien.scores.exports import tabular
from mien.scores.exports.elan import eaf
from mien.scores.exports.hume import hume
from mien.scores.exports.praat import textgrid
from mien.scores.tables import check_suffix, write_table
from mien.storage.files import atomic_file, write_json

TABLES = {
    "wide": tabular.wide,
    "long": tabular.long,
    "windows": tabular.windows,
    "words": tabular.words,
    "why": tabular.why,
}
FOLDERS = {"eaf": ".eaf", "textgrid": ".TextGrid"}
FORMS = ("json", *TABLES, *FOLDERS, "hume")


def check_form(out: Path, form: str | None = None) -> str:
    """See that scores can be written to ``out``, before hours of work go into it.

    Args:
        out: a file, or a folder where the form has a file per clip.
        form: one of ``FORMS``; ``None`` takes it from the file's ending: ``.json`` is the document, a table is wide.

    Returns:
        The form.

    Raises:
        SettingsError: there is no such form, or it is not written to a file of that name.
    """
    form = form or ("json" if out.suffix.lower() == ".json" else "wide")
    if form not in FORMS:
        raise SettingsError(f"{form}: no such format of scores; use {', '.join(FORMS)}")
    if form in TABLES:
        check_suffix(out)
    elif form in FOLDERS and (out.is_file() or out.suffix.lower() in (*map(str.lower, FOLDERS.values()), ".json")):
        raise SettingsError(f"{out}: {form} writes a file per clip; name a folder")
    elif form not in FOLDERS and out.suffix.lower() != ".json":
        raise SettingsError(f"{out}: {form} is written as JSON; end the name with .json")
    return form


def write_scores(
    scored: ScoresDocument, out: Path, form: str | None = None, *, raw_cells: bool = False
) -> tuple[str, ...]:
    """Write scored clips.

    Args:
        scored: the document.
        out, form: as in ``check_form``.
        raw_cells: as in ``write_table``, for forms that are tables.

    Returns:
        Notes on what has no place in that form, one line each with a count and the first example.

    Raises:
        SettingsError: as in ``check_form``.
        DataError: windows are not in order of time, or lie within each other (annotation files).
    """
    form = check_form(out, form)
    if form in FOLDERS:
        return _write_folder(scored, out, form)
    if form in TABLES:
        write_table(TABLES[form](scored), out, raw_cells=raw_cells)
    elif form == "hume":
        write_json(out, hume(scored))
    else:
        write_document(scored, out)
    return ()


def _write_folder(scored: ScoresDocument, folder: Path, form: str) -> tuple[str, ...]:
    made = [clip for clip in scored.clips if clip.error is None]
    for clip, name in zip(made, file_names([clip.clip for clip in made]), strict=True):
        with atomic_file(folder / f"{name}{FOLDERS[form]}") as part:
            part.write_bytes(_annotations(scored, clip, folder, form))
    failed = [clip for clip in scored.clips if clip.error is not None]
    if not failed:
        return ()
    return (f"{len(failed)} clips were not scored and have no file (first: {failed[0].clip}: {failed[0].error})",)


def _annotations(scored: ScoresDocument, clip: ClipNote, folder: Path, form: str) -> bytes:
    if form == "eaf":
        return eaf(clip, scored.targets, scored.model.name, folder)
    return textgrid(clip, scored.targets).encode("utf-8")


def file_names(clips: Sequence[str]) -> list[str]:
    """A name for each clip that any file system takes; names that would be one file get a number.

    >>> file_names(["a/b", "a_b", "A_B", "..", ""])
    ['a_b', 'a_b-2', 'A_B-3', 'clip', 'clip-2']
    """
    taken: set[str] = set()
    names = []
    for clip in clips:
        plain = re.sub(r"[^\w.-]+", "_", clip).strip("._ ")[-100:] or "clip"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names
