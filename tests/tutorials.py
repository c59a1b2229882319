"""Run the code blocks of a tutorial in order.

A line with a single ``mien`` command runs in this process, which saves starting Python each time; everything else is
run by ``sh``. A block below a line ``*Not run by the tests: why.*`` is not run; its commands must still parse.

    python -m tests.tutorials PAGE                    in the working folder of the tutorial
    python -m tests.tutorials PAGE --without-mien     only the blocks without a mien command
    python -m tests.tutorials PAGE --only-mien        only those with one
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
_BLOCK = re.compile(
    r"(?:^\*Not run by the tests: (?P<why>[^*]+)\*\n\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``sh`` or ``python``; ``why`` it is not run, or empty; ``place`` is its page and line."""

    language: str
    text: str
    why: str
    place: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are shell or Python, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], textwrap.dedent(found["text"]), (found["why"] or "").strip(),
              f"{page.name}:{text[: found.start('text')].count(chr(10))}")
        for found in _BLOCK.finditer(text)
        if found["language"] in ("sh", "python")
    ]  # fmt: skip


def commands_of(block: Block) -> list[list[str]]:
    """The ``mien`` commands in a shell block as words, without ``mien`` and leading variable assignments."""
    words = [shlex.split(line, comments=True) for line in _lines(block.text)]
    plain = [[w for n, w in enumerate(line) if n or "=" not in w] for line in words]
    return [line[1:] for line in plain if line[:1] == ["mien"]]


def run_block(block: Block) -> None:
    """Run a block in the working directory.

    Raises:
        AssertionError: it failed; the message contains its output.
    """
    if block.language == "python":
        exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})
    elif "<<" in block.text:
        _sh(block.text, block.place)
    else:
        for line in _lines(block.text):
            _mien(line, block.place) if _is_one_command(line) else _sh(line, block.place)


def run_python(page: Path) -> None:
    """Run the Python blocks of a page in order in one namespace, in the working directory.

    The text after ``# →`` must equal the printed lines of the block.

    Raises:
        AssertionError: something else was printed.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language == "python" and not block.why:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(block.text, block.place, "exec"), names)
            expected = re.findall(r"# → (.*)", block.text)
            assert not expected or printed.getvalue().splitlines() == expected, f"{block.place}: {printed.getvalue()}"


def _lines(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def _is_one_command(line: str) -> bool:
    return line.startswith("mien ") and not re.search(r"[|<>&;$]", line)


def _mien(line: str, place: str) -> None:
    from typer.testing import CliRunner

    from mien.cli import app

    done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert done.exit_code == 0, f"{place}: {line}\n{done.output}\n{done.exception!r}"


def _sh(text: str, place: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.returncode == 0, f"{place}: {text}\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    left_out = {"--without-mien": True, "--only-mien": False}.get(sys.argv[-1])
    for one in blocks_of(PAGES / f"{sys.argv[1]}.md"):
        if not one.why and bool(commands_of(one)) is not left_out:
            run_block(one)
