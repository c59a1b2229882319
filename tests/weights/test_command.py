"""``mien weights``: what it prints, and how it leaves."""

from pathlib import Path

from typer.testing import CliRunner

from mien.cli.weights import app
from mien.weights import ENTRIES, locate

RUN = CliRunner()


def test_list_names_every_entry_with_its_licence_and_whether_it_is_here(cache: Path) -> None:
    locate("tiny-vision")
    printed = RUN.invoke(app, ["list"], env={"COLUMNS": "200"}).output
    assert all(name in printed for name in ENTRIES)
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert lines["tiny-vision"][1:3] == ["tiny", "yes"]
    assert lines["whisper-tiny.en"][1:5] == ["small", "no", "78.1", "MIT"]
    assert "CC-BY-NC-SA-4.0" in lines["wav2vec2-msp-dim"]
    assert "unknown whether fine-tuned" in printed


def test_fetch_and_verify_in_turn(cache: Path) -> None:
    fetched = RUN.invoke(app, ["fetch", "tiny-text"])
    assert fetched.exit_code == 0
    assert f"tiny-text: ready in {cache / 'tiny-text'}" in fetched.output
    assert RUN.invoke(app, ["verify"]).output.split() == ["whole", "tiny-text"]
    (cache / "tiny-text" / "vocab.txt").write_text("x")
    damaged = RUN.invoke(app, ["verify"])
    assert damaged.exit_code == 1
    assert "run `mien weights fetch tiny-text`" in damaged.output


def test_verify_of_an_empty_cache_says_what_to_do(cache: Path) -> None:
    assert "run `mien weights fetch small`" in RUN.invoke(app, ["verify"]).output


def test_an_unknown_name_is_wrong_use(cache: Path) -> None:
    for command in ("fetch", "verify"):
        refused = RUN.invoke(app, [command, "smal"])
        assert refused.exit_code == 2
        assert "'smal' is neither a set nor an" in refused.output
