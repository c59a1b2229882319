"""Parts of the benchmark that can be tested on any machine."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.soak
def test_dry_run_of_the_gpu_benchmark_on_cpu() -> None:
    lines = run(str(BENCH / "gpu.py"), "--device", "cpu", "--tiny").splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["text", "audio", "vision", "all three"]
    assert all(float(line.split("|")[2]) > 0 for line in lines[4:])


SECTION = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from run import render
from section import Section, Table, at_least, at_most, load, save
targets = [at_least("x", 2, 3.0), at_most("y", 1, 2.0, "s", "light")]
save(Section("Sec", ["words", Table(("a", "b"), [("1", "2")])], targets), Path(sys.argv[2]))
print(render([load(Path(sys.argv[2]))], quick=False))
"""


def test_a_section_is_rendered_from_its_data_with_the_limit_of_missed_targets(tmp_path: Path) -> None:
    page = run("-c", SECTION, str(BENCH), str(tmp_path / "section.json"))
    assert "1 of 2 targets are met." in page
    assert "| x | ≥ 2 × | 3.00 × | met |" in page
    assert "| y | ≤ 1 s | 2 s | **not met**: light |" in page
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in page
