"""Names of targets and clips command no terminal and no spreadsheet, whatever command shows them, and survive."""

import csv
import json
import os
import pty
import re
import select
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.csv
import pytest
import yaml

import mien.cli
import mien.cli.printing
import mien.cli.results
from mien import terminal
from tests.faults.jobs import sound_clip, started

JOY, FORMULA, TURNED = "[bold]\x1b]0;pwned\x07Joy", "=1+1", "Fe\u202ear\u2028[link=http://x]"
TARGETS = (JOY, FORMULA, TURNED)
CLIP, MINUS = "[red]\x1b[2J\x9b31m\u2066a", "-clip"
CLIPS = (CLIP, MINUS, *(f"clip {number}" for number in range(2, 8)))
SOURCE = Path(__file__).parents[2] / "src" / "mien"
SETTINGS = ("weights=tiny", "modalities=[text, audio]", "compute.precision=float32", "seeds=[0]", "stage1.embedding=8",
            "stage2.hidden=8", "stage1.epochs=2", "stage2.epochs=2")  # fmt: skip
STUDY = {
    "question": "Does it matter?",
    "seeds": 2,
    "settings": {"stage1.embedding": 8, "stage1.epochs": 1, "modalities": ["text", "audio"]},
    "axes": {"regime": {JOY: {"method": "ridge"}, FORMULA: {"method": "unimodal_mean"}}, "modalities": [["text"]]},
}

STYLES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[12]?[AK]|\r")
"""What rich itself sends to a terminal: colours, a cursor that is hidden, or goes back to the line of a bar."""

HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Corpus:
    """A table of clips with hostile names, and commands on it, each run in a pipe or in a terminal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir()
        rows = []
        for number, name in enumerate(CLIPS):
            sound_clip(root / "data" / f"{number}.mkv", 0.3, 1 + number / 7)
            rated = [(number * 37 + 11 * place) % 10 / 10 for place in range(3)]
            side = "valid" if number % 2 else "train"
            rows.append([name, f"{number}.mkv", side, f"@p{number}", CLIP, f"so number {number}", *rated])
        header = ["id", "path", "split", "participant", "group", "transcript", *TARGETS]
        self.write("data/clips.csv", header, rows)
        people = [[name, f"@p{number // 2}", ("before", FORMULA)[number % 2]] for number, name in enumerate(CLIPS)]
        self.write("people.csv", ["clip", "participant", "mood"], people)
        (root / "data" / "bad.mkv").write_bytes(b"not a video")
        (root / "study.yaml").write_text(yaml.safe_dump(STUDY))

    def write(self, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        with (self.root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    def read(self, name: str, delimiter: str = ",") -> list[list[str]]:
        with (self.root / name).open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file, delimiter=delimiter))

    def run(self, *words: str, in_terminal: bool = False, status: int = 0) -> str:
        """What a command shows on both streams."""
        said, found = (shown_in_terminal if in_terminal else shown_in_pipe)(self.root, words)
        assert found == status, said
        return said


def shown_in_pipe(room: Path, words: Sequence[str]) -> tuple[str, int]:
    """Run a command with its streams in a file."""
    process = started(at_work, room, words, str(room / "said"))
    process.join()
    return (room / "said").read_text(encoding="utf-8"), process.exitcode or 0


def shown_in_terminal(room: Path, words: Sequence[str]) -> tuple[str, int]:
    """Run a command in a terminal of its own."""
    ours, its = pty.openpty()
    process = started(at_work, room, words, os.ttyname(its))
    said = b""
    while process.is_alive() or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.05)[0]:
            said += os.read(ours, 65536)
    os.close(its)
    os.close(ours)
    process.join()
    return said.decode(), process.exitcode or 0


def at_work(room: Path, words: Sequence[str], shown: str) -> None:
    """The command line, in another process, as ``mien`` runs it; both streams go to ``shown``."""
    os.chdir(room)
    os.environ |= {"COLUMNS": "400", "TERM": "xterm"}
    handle = os.open(shown, os.O_RDWR | os.O_CREAT | (0 if shown.startswith("/dev") else os.O_TRUNC))
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    for room_of in (mien.cli.printing, mien.cli.results):  # made before the streams were what they are
        vars(room_of)["console"] = terminal.Printer()
    sys.argv = ["mien", *words]
    mien.cli.main()


TABLE = "data/clips.csv"
RESAMPLES = ("--resamples", "100")
COMMANDS: dict[str, tuple[int, list[str]]] = {
    "extract": (0, ["extract", TABLE, "--out", "store", "--workers", "0"]),
    "train": (0, ["train", TABLE, "-f", "store", "--out", "run"]),
    "evaluate": (0, ["evaluate", "run", TABLE, "-f", "store", *RESAMPLES, "--out", "evaluated.csv"]),
    "compare": (0, ["compare", "run", "run/stage1/text", TABLE, "-f", "store", *RESAMPLES]),
    "predict": (3, ["predict", "run", TABLE, "data/bad.mkv", "--why", "--out", "scores.json"]),
    "windows": (0, ["predict", "run", "data/0.mkv", "--windows", "0.2"]),
    "export": (0, ["export", "scores.json", "--out", "scores.csv"]),
    "eaf": (0, ["export", "scores.json", "--format", "eaf", "--out", "eaf"]),
    "summarize": (
        0,
        ["summarize", "scores.csv", "--by", "mood", "--about", "people.csv", *RESAMPLES, "--out", "s.csv"],
    ),
    "report": (0, ["report", "scores.json", "--out", "report.html"]),
    "report of a run": (0, ["report", "run", "--out", "run.html"]),
    "study": (0, ["study", "study.yaml", TABLE, "-f", "store", "--out", "study"]),
    "licences": (0, ["licences", "run"]),
    "licences as JSON": (0, ["licences", "run", "--json"]),
    "no such split": (1, ["evaluate", "run", TABLE, "-f", "store", "--split", CLIP]),
    "no such option": (2, ["extract", f"--{JOY}"]),
    "no such value": (2, ["extract", TABLE, "--out", "x", "--label-scale", JOY]),
    "no such file": (1, ["predict", "run", TURNED]),
    "no such command": (2, [JOY]),
    "help": (0, ["predict", "--help"]),
}
for _name in ("extract", "train"):
    COMMANDS[_name][1].extend(word for each in SETTINGS for word in ("--set", each))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def said(corpus: Corpus) -> dict[str, str]:
    """What each command shows in a pipe."""
    return {what: corpus.run(*words, status=status) for what, (status, words) in COMMANDS.items()}


def test_nothing_that_is_shown_in_a_pipe_is_a_command(said: dict[str, str]) -> None:
    for what, shown in said.items():
        assert not HARMFUL.search(shown), f"{what}: {shown!r}"
    for what in ("train", "evaluate", "compare", "predict", "windows", "summarize"):
        assert r"[bold]\x1b]0;pwned\x07Joy" in said[what], f"{what} does not show the name as it is"
    assert r"[red]\x1b[2J\x9b31m\u2066a" in said["predict"]


def test_nothing_that_is_shown_in_a_terminal_is_a_command(said: dict[str, str], corpus: Corpus) -> None:
    assert said
    for what, (status, words) in COMMANDS.items():
        if what.startswith("report"):  # one line, which is the same in a pipe
            continue
        shown = corpus.run(*words, in_terminal=True, status=status)
        assert not HARMFUL.search(STYLES.sub("", shown)), f"{what}: {shown!r}"


def test_names_survive_the_whole_way_and_a_spreadsheet_runs_none(said: dict[str, str], corpus: Corpus) -> None:
    read = json.loads((corpus.root / "scores.json").read_text())
    assert read["targets"] == list(TARGETS)
    assert [clip["clip"] for clip in read["clips"]] == [*CLIPS, "bad"]
    for table in ("scores.csv", "evaluated.csv", "s.csv"):
        cells = [cell for row in corpus.read(table) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-[^\d.]|-$", cell)], table
        assert any("=1+1" in cell for cell in cells), table
    assert "'=1+1" in corpus.read("scores.csv")[0]
    assert "'=1+1" in [cell for row in corpus.read("s.csv") for cell in row]
    numbers = pyarrow.csv.read_csv(corpus.root / "scores.csv").column("'=1+1")
    assert str(numbers.type) in ("double", "int64")  # int64 where every score is clipped
    assert "1 scored clip not in people.csv (first: bad)" in said["summarize"]  # every other id was matched
    assert "without scores" not in said["summarize"]


def test_raw_cells_are_as_they_are(said: dict[str, str], corpus: Corpus) -> None:
    assert said
    corpus.run("export", "scores.json", "--out", "raw.tsv", "--raw-cells")
    header, *rows = corpus.read("raw.tsv", "\t")
    assert FORMULA in header
    assert MINUS in [row[0] for row in rows]


def test_only_one_module_prints() -> None:
    """What goes around it would not be spelt out."""
    printing = re.compile(r"(?<![\w.])print\(|\becho\(|\bConsole\(|\bText\(|from_markup")
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if printing.search(line)
    }
    assert found == {"terminal.py"}
