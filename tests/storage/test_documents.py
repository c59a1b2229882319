"""JSON documents: undefined numbers are null; a file of another format or version is refused with what to do."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.errors import DataError, StoreError
from mien.storage.documents import check_document, or_nan, plain

FILE = Path("study.json")


def test_numbers_that_are_not_finite_are_null_at_any_depth() -> None:
    value = {
        "array": np.array([[0.5, np.nan], [np.inf, -1]], np.float32),
        "flags": np.array([True, False]),
        "scalars": (np.float32(0.25), np.int64(3), np.float64("nan"), float("-inf")),
        "rest": [None, "nan", 7, {"deep": float("nan")}],
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "array": [[0.5, None], [None, -1]],
        "flags": [True, False],
        "scalars": [0.25, 3, None, None],
        "rest": [None, "nan", 7, {"deep": None}],
    }


def test_null_is_read_back_as_nan() -> None:
    assert [or_nan(value) for value in plain([0.5, 2])] == [0.5, 2.0]
    assert np.isnan(or_nan(plain(np.nan)))


@pytest.mark.parametrize(
    ("head", "message"),
    [([], r"study\.json: not a study of mien; make it again$"),
     ({"format": "other", "version": 2}, r"study\.json: not a study of mien; make it again$"),
     ({"format": "mien-study", "version": 1}, "study version 1, but this mien reads version 2; make it again$"),
     ({"format": "mien-study", "version": 3}, "study version 3, but this mien reads version 2; a newer mien reads it$"),
     ({"format": "mien-study"}, "study version None, but this mien reads version 2; make it again$")],
)  # fmt: skip
def test_another_format_or_version_is_refused_with_what_to_do(head: object, message: str) -> None:
    for error in (DataError, StoreError):
        with pytest.raises(error, match=message):
            check_document(FILE, head, "mien-study", 2, noun="study", remedy="make it again", error=error)


def test_a_document_of_this_version_is_returned() -> None:
    head = {"format": "mien-study", "version": 2, "title": "Which?"}
    assert check_document(FILE, head, "mien-study", 2, noun="study", remedy="") is head
    with pytest.raises(DataError, match="not an evaluation of mien"):
        check_document(FILE, head, "mien-evaluation", 1, noun="evaluation", remedy="")
