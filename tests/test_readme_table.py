"""bench/readme.py writes the results of runs and changes nothing else in the README."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "bench" / "readme.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(model: Path, ends: list[float | None]) -> None:
    """A model folder with the parts of the record that the script reads."""
    model.mkdir(parents=True)
    scores = [{"target": "Joy", "r": [0.9, 0.8, 0.95]}, {"target": "mean", "r": ends}]
    data = {"train": 8072, "valid": 4588, "participants": [300, 170]}
    (model / "provenance.json").write_text(json.dumps({"results": {"scores": scores}, "data": data}))
    (model / "config.json").write_text(json.dumps({"models": [{}, {}]}))


def test_the_table_holds_the_mean_r_of_each_part_with_its_interval(bench: ModuleType, tmp_path: Path) -> None:
    record(tmp_path / "run" / "stage1" / "text" / "model", [0.4123, 0.39, 0.43])
    record(tmp_path / "run" / "stage1" / "motion" / "model", [None, None, None])
    record(tmp_path / "run" / "model", [0.5, -0.01, 1.0])
    best = {name: {"mean": {"r": 0.25}} for name in ("text", "audio", "vision", "motion", "text+audio+vision+motion")}
    (tmp_path / "ceiling.json").write_text(json.dumps({"valid": best}))
    table = bench.results(tmp_path / "run", tmp_path / "run", tmp_path / "ceiling.json")
    cells = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:4] for line in table.splitlines() if "|" in line}
    assert cells["text"] == [".412 [.390, .430]", ".412 [.390, .430]", ".250"]
    assert cells["all four"] == [".500 [-.010, 1.000]", ".500 [-.010, 1.000]", ".250"]
    assert cells["motion"][0] == "undefined [undefined, undefined]"
    assert cells["audio"][:2] == ["", ""]
    assert "8,072 training clips of 300 people, 4,588 validation clips of 170 people, 2 seeds" in table


def test_only_the_part_between_the_markers_is_replaced(bench: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    once = bench.between(readme, "| new |")
    assert bench.between(once, "| new |") == once
    assert once.count(bench.BEGIN) == once.count(bench.END) == 1
    before, after = readme.split(bench.BEGIN)[0], readme.split(bench.END)[1]
    assert once == f"{before}{bench.BEGIN}\n| new |\n{bench.END}{after}"


def test_a_readme_without_markers_is_refused(bench: ModuleType) -> None:
    with pytest.raises(SystemExit, match="two markers"):
        bench.between("nothing here", "table")
