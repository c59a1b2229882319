"""Numbers and labels in the cells of a table, and which of its columns are labels.

A column is a label if it is given as one, or else if it holds numbers that look like ratings: row numbers never do, and
ages or trial numbers are refused, with the option that names the ratings.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mien.data.rows import Table
from mien.errors import DataError
from mien.wording import plural

Labels = tuple[float, ...] | None

_MISSING_NUMBERS = frozenset(("", "na", "none", "-", "."))
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_PERCENT = re.compile(r"(.*\d)\s*%")
_ROW_NUMBERS = re.compile(r"unnamed: ?\d+|index|row|rownames|rowid|rownumber|level_0|x1?|\.\.\.1|#")
"""Names that pandas, R and people give to a column of row numbers."""
_NOT_RATINGS = frozenset(
    "age alter trial trialnumber block session order year birthyear number nr no num count duration length seconds "
    "frames fps width height rt reactiontime sex gender visit wave week day month hour timestamp seed subject "
    "subjectid participantid pid rater raterid videoid clipid stimulus stimulusid item itemid".split()
)
"""Names, without spaces and digits, of numbers that are no ratings."""


def read_labels(
    table: Table, columns: list[str], targets: Sequence[str] | None, scale: float, notes: list[str]
) -> tuple[tuple[str, ...], list[Labels]]:
    """The label columns and, per row, the labels (``None`` where the row has none).

    Args:
        table: with its rows.
        columns: candidates; a column without a name is never one (R writes row numbers there, Excel empty cells).
        targets: the label columns, if given; by default all columns of numbers that look like ratings.
        scale: the highest possible rating.
        notes: chosen and ignored columns, conversions and missing labels are appended here.

    Raises:
        DataError: a given column does not exist, it is unclear which columns are labels, or a label is not a number in
            [0, 1] after scaling.
    """
    file = table.file
    if targets is None:
        names = _choose(table, columns, scale, notes)
    else:
        names = tuple(targets)
        for name in names:
            if table.rows and name not in table.columns:
                raise DataError(f"{file}:1: no column {name!r} (found: {', '.join(table.columns)})")
    labels = [tuple(_label(file, line, name, row[name], scale) for name in names) for line, row in table.rows]
    cells = [row[name] for _, row in table.rows for name in names]
    notes += comma_note(file, "label", cells)
    percent = [cell for cell in cells if _PERCENT.fullmatch(cell)]
    if percent:
        notes.append(f"{file}: {plural(len(percent), 'label')} in percent (first: {percent[0]})")
    gaps = sum(math.isnan(value) for row in labels for value in row)
    if gaps:
        missing = plural(gaps, "label is", "labels are")
        notes.append(f"{file}: {missing} missing; a clip without a label is not used for that target")
    return names, [row if names and not all(math.isnan(value) for value in row) else None for row in labels]


def comma_note(file: Path, what: str, cells: Iterable[str]) -> list[str]:
    """A note on the numbers with a decimal comma, if there are any; ``what`` they are, in the singular."""
    found = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    return [f"{file}: {plural(len(found), what)} with a decimal comma (first: {found[0]})"] if found else []


def read_number(file: Path, line: int, column: str, cell: str) -> float | None:
    """The number in a cell; ``None`` if the cell is empty.

    Raises:
        DataError: it is not a number.
    """
    if cell.lower() in _MISSING_NUMBERS:
        return None
    value = _number(cell)
    if value is None:
        raise DataError(f"{file}:{line}: {column} = {cell!r} is not a number")
    return value


def _number(cell: str) -> float | None:
    """A finite number, with a decimal point or a decimal comma; ``None`` if it is not one."""
    try:
        value = float(cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


def _rating(cell: str, scale: float) -> float | None:
    """A number on the scale, or a percentage of it; ``None`` if it is neither."""
    percent = _PERCENT.fullmatch(cell)
    value = _number(percent[1] if percent else cell)
    return value if value is None or not percent else value / 100 * scale


def _label(file: Path, line: int, column: str, cell: str, scale: float) -> float:
    if cell.lower() in _MISSING_NUMBERS:
        return math.nan
    value = _rating(cell, scale)
    if value is None:
        raise DataError(f"{file}:{line}: {column} = {cell!r} is not a number")
    if not 0 <= value / scale <= 1:
        hint = (
            "if the ratings run 0-100, pass --label-scale 100"
            if scale == 1
            else "if it is not a label, name the labels with --targets"
        )
        raise DataError(f"{file}:{line}: {column} = {cell}, but intensities lie in [0, {scale:g}]; {hint}")
    return value / scale


def _choose(table: Table, columns: list[str], scale: float, notes: list[str]) -> tuple[str, ...]:
    """The columns of ratings, with notes on the others.

    Raises:
        DataError: some columns of numbers do not look like ratings, and others do.
    """
    file = table.file
    values = {name: _ratings((row[name] for _, row in table.rows), scale) for name in columns if name}
    numbers = {name: found for name, found in values.items() if found}
    indices = [name for name in numbers if _ROW_NUMBERS.fullmatch(name.lower().strip())]
    if "" in table.columns and any(row[""] for _, row in table.rows):
        notes.append(f"{file}: a column without a name ignored")
    if indices:
        notes.append(f"{file}: column {indices[0]!r} of row numbers ignored")
    texts = [name for name in values if name not in numbers]
    if texts:
        notes.append(f"{file}: {plural(len(texts), 'column')} without numbers ignored (first: {texts[0]})")
    candidates = [name for name in numbers if name not in indices]

    def beyond(name: str) -> bool:
        return max(numbers[name]) > scale

    fitting = [name for name in candidates if not _is_named_otherwise(name) and not beyond(name)]
    ratings = fitting or [name for name in candidates if not _is_named_otherwise(name)]
    odd = [name for name in candidates if _is_named_otherwise(name)]
    odd += [name for name in candidates if name not in (*ratings, *odd) and _are_whole(numbers[name])]
    if odd and ratings:
        found = f"{min(numbers[odd[0]]):g} to {max(numbers[odd[0]]):g}"
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        option = f"--targets {','.join(ratings)}" + (" --label-scale 100" if scale == 1 and not fitting else "")
        raise DataError(f"{file}:1: is column {odd[0]!r} ({found}){more} a rating? name those that are, as in {option}")
    if odd:
        notes.append(f"{file}: column {odd[0]!r} not taken as a rating (pass --targets {odd[0]} if it is one)")
    names = tuple(name for name in candidates if name not in odd)
    if names:
        notes.append(f"{file}: labels are {', '.join(names)} (all columns of ratings; --targets names others)")
    return names


def _ratings(cells: Iterable[str], scale: float) -> list[float]:
    """The numbers in a column if at least half of its filled cells are some; the others are then errors, not text."""
    filled = [cell for cell in cells if cell.lower() not in _MISSING_NUMBERS]
    numbers = [value for cell in filled if (value := _rating(cell, scale)) is not None]
    return numbers if 2 * len(numbers) >= len(filled) else []


def _is_named_otherwise(name: str) -> bool:
    return re.sub(r"[\W\d_]+", "", name.casefold()) in _NOT_RATINGS


def _are_whole(numbers: Sequence[float]) -> bool:
    return all(number.is_integer() for number in numbers)
