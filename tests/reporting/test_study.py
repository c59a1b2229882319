"""The page of a study has the content of its folder, with the numbers of its charts."""

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.errors import DataError
from mien.reporting.blocks import Figure, Notice, Page, Prose
from mien.reporting.render import render
from mien.reporting.study import failed_cells, page, read_study
from mien.reporting.study_files import worded
from mien.spreadsheet import escaped


@pytest.fixture(scope="module")
def made(study: Path) -> Page:
    return page(read_study(study))


def test_charts_have_the_numbers_of_the_tables(study: Path, made: Page) -> None:
    figures = {block.id: block for block in made.blocks if isinstance(block, Figure)}
    assert set(figures) == {"forest", "subsets", "missing"}
    rows = list(csv.DictReader((study / "cells.csv").read_text(encoding="utf-8").splitlines()))
    by_name = {row["modalities"]: row for row in rows if row["regime"] == "adapted"}
    for name, value, *_ in figures["subsets"].table.rows:
        assert by_name[name.replace(" + ", "+")]["mean over seeds"].startswith(escaped(f"{value:.4f}"))
    ridge = next(row for row in rows if row["regime"] == "ridge" and row["modalities"] == "text+audio+vision+motion")
    effect = next(row for row in figures["forest"].table.rows if row[0] == "ridge")
    assert ridge["− reference, clips"].startswith(escaped(f"{effect[1]:+.4f}"))
    assert effect[-1] == ridge["verdict"]


def test_every_chart_says_how_many_clips_people_and_seeds_it_is_of(study: Path, made: Page) -> None:
    """Older studies did not store it, and are still drawn."""
    record = read_study(study)
    header, (row, *_) = record["tables"][0]["header"], record["tables"][0]["rows"]
    clips, people = (row[header.index(name)] for name in ("clips", "participants"))
    wanted = f" {clips} validation clips of {people} participants, 3 seeds."
    figures = [block for block in made.blocks if isinstance(block, Figure)]
    assert len(figures) == 3 and all(figure.caption.endswith(wanted) for figure in figures)
    old = [{**p, "numbers": {k: v for k, v in p["numbers"].items() if k != "n"}} for p in record["pictures"]]
    captions = [b.caption for b in page({**record, "pictures": old}).blocks if isinstance(b, Figure)]
    assert captions == [figure.caption.removesuffix(wanted) for figure in figures]


def test_modalities_without_a_mean_r_come_last_and_are_not_the_best(study: Path) -> None:
    record = read_study(study)
    (drawn,) = [p for p in record["pictures"] if p["file"] == "subsets.svg"]
    names = drawn["numbers"]["names"]
    rows = [{"modalities": [names[0]], "r": [None] * 3}, {"modalities": [names[1]], "r": [0.2, 0.1, 0.3]}]
    chart = {**drawn, "numbers": {**drawn["numbers"], "rows": rows}}
    figures = [b for b in page({**record, "pictures": [chart]}).blocks if isinstance(b, Figure)]
    assert figures[0].alt == f"Best with {names[1]} (0.200). Alone: {names[1]} 0.200, {names[0]} undefined."
    assert [row[0] for row in figures[0].table.rows] == [names[1], names[0]]


def test_a_change_that_is_undefined_in_some_cells_is_that_of_the_others(study: Path) -> None:
    record = read_study(study)
    (drawn,) = [p for p in record["pictures"] if p["file"] == "missing.svg"]
    ends = [("a", "text", [0.3, None]), ("b", "text", [0.3, 0.1]), ("a", "audio", [None, None])]
    rows = [{"cell": cell, "modality": name, "r": r} for cell, name, r in ends]
    chart = {**drawn, "numbers": {**drawn["numbers"], "shares": [0, 1], "rows": rows}}
    figures = [b for b in page({**record, "pictures": [chart]}).blocks if isinstance(b, Figure)]
    assert figures[0].alt.endswith("over 2 cells: text -0.200 to -0.200; audio undefined.")


def test_the_statements_the_answers_and_the_limits_are_there(study: Path, made: Page) -> None:
    record = json.loads((study / "study.json").read_text())
    points = [point for block in made.blocks if isinstance(block, Prose) for point in block.points]
    assert points == [*record["said"], *record["open"], *record["limits"]]
    text = render(made)
    for answer in record["referee"]:
        assert answer["question"] in text.replace("&#39;", "'")
    assert "Does it &lt;b&gt;matter&lt;/b&gt;?" in text and "<b>matter" not in text


def test_numbers_in_text_are_sorted_as_numbers(made: Page) -> None:
    tables = next(section for section in made.sections if section.id == "tables").blocks
    cells = tables[0]
    place = [column.name for column in cells.columns].index("mean over seeds")
    for row in cells.rows:
        assert float(row[place].text.split(" ")[0]) == row[place].value


def test_a_failed_cell_is_shown_with_its_reason(study: Path) -> None:
    record = read_study(study)
    table = record["tables"][0]
    place = table["header"].index("r ± seeds")
    row = [*table["rows"][1][:place], "failed", "the loss is not finite", *[""] * (len(table["header"]) - place - 2)]
    broken = {**record, "tables": [{**table, "rows": [table["rows"][0], row]}, *record["tables"][1:]]}
    assert failed_cells(broken) == [(" · ".join(row[:place]), "the loss is not finite")]
    (notice,) = [block for block in page(broken).head if isinstance(block, Notice)]
    assert notice.text.endswith("failed: the loss is not finite") and notice.level == "warning"
    assert render(page(broken))


def test_a_study_without_numbers_of_charts_says_how_to_get_them(study: Path) -> None:
    record = read_study(study)
    old = {**record, "pictures": [{"file": p["file"], "caption": p["caption"]} for p in record["pictures"]]}
    (notice,) = [block for block in page(old).blocks if isinstance(block, Notice)]
    assert "mien study" in notice.command


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "not a study of mien"), ('{"format": "mien-study", "version": 7}', "version 7"),
     ('{"format": "mien-study", "version": 1, "title": ""}', "damaged .no about"), ("{", "not valid JSON")],
)  # fmt: skip
def test_a_foreign_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_study(tmp_path)


def test_charts_are_files_of_their_own_with_the_names_and_colours_of_the_page(study: Path) -> None:
    """Three panels of the page as three files: whole XML, no variable of the page left, the verdicts in words."""
    for name in ("forest", "subsets", "missing"):
        text = (study / f"{name}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(ids) == len(set(ids))
    record = read_study(study)
    forest = next(chart["numbers"]["rows"] for chart in record["pictures"] if chart["file"] == "forest.svg")
    words = "".join(ElementTree.parse(study / "forest.svg").getroot().itertext())
    assert all(row["name"] in words for row in forest)
    assert {"inconclusive" for row in forest if row["verdict"] == "open"} <= set(words.split())


def test_inconclusive_differences_are_stored_as_open_and_shown_as_inconclusive() -> None:
    table = {"name": "cells", "header": ["head", "verdict"], "rows": [["open", "open"], ["a", "better"]]}
    assert worded(table) == [["open", "inconclusive"], ["a", "better"]]
