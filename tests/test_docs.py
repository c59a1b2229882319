"""Docs cannot rot: what they name exists, what exists is named, and what they link to is there."""

import ast
import re
from pathlib import Path

import pytest

import mien
from mien.config import read_settings
from tests.test_cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
WHOLE = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"mien {command}" in README


@pytest.mark.parametrize("name", mien.__all__)
def test_every_public_name_is_in_the_docs(name: str) -> None:
    assert re.search(rf"\bmien\.{name}\b|\b{name}\b", WHOLE)


def test_commands_in_the_docs_exist() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", WHOLE, re.DOTALL))
    for command in re.findall(r"^\s*mien ([a-z-]+)", blocks, re.MULTILINE):
        assert command in COMMANDS, f"the docs name mien {command}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_docs_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_files_and_functions_of_the_reading_order_exist() -> None:
    reading = (ROOT / "READING.md").read_text(encoding="utf-8")
    for file in set(re.findall(r"`([a-z_0-9/]+\.py)`", reading)):
        found = [ROOT / "src" / "mien" / file, *(ROOT / "src" / "mien").glob(f"**/{file}")]
        assert any(path.is_file() for path in found), f"READING.md names {file}"
    for file, functions in re.findall(r"^\| \d+ \| `([^`]+)` \| ((?:`[A-Za-z_.]+`(?:, )?)+) \|", reading, re.MULTILINE):
        names = _defined(ROOT / "src" / "mien" / file)
        for function in re.findall(r"`([A-Za-z_.]+)`", functions):
            assert function in names, f"READING.md names {function} in {file}"


def _defined(file: Path) -> set[str]:
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("recipes/*.yaml")), ids=lambda recipe: recipe.name)
def test_recipes_are_settings(recipe: Path) -> None:
    read_settings(recipe)


def test_the_python_example_of_the_readme_is_python() -> None:
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    for snippet in snippets:
        called = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Attribute)]
        for node in called:
            if isinstance(node.value, ast.Name) and node.value.id == "mien":
                assert node.attr in mien.__all__
