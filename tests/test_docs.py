"""The documentation matches the code: names exist, commands are documented, links resolve, examples run."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from markdown.extensions.toc import slugify

import mien
from mien.cli import app
from mien.config import Settings, read_settings
from mien.model.legal_notice import NOTICE
from mien.scores.exports import FORMATS
from mien.study.plan import read_study
from tests.tutorials import Block, blocks_of, commands_of, run_python

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
TABLES = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
WHOLE = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def _generated() -> ModuleType:
    """``docs/generated.py``, which generates the reference."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = _generated()
COMMANDS = dict(GENERATED.commands())


@pytest.mark.parametrize("command", typer.main.get_command(app).commands)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"mien {command}" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_a_group_is_in_the_docs(command: str) -> None:
    assert f"mien {command}" in WHOLE


@pytest.mark.parametrize("name", mien.__all__)
def test_every_public_name_is_in_the_library_page_and_has_a_docstring(name: str) -> None:
    assert re.search(rf"\bmien\.{name}\b", LIBRARY)
    assert name == "EMOTIONS" or getattr(mien, name).__doc__


def test_the_table_of_export_formats_matches_the_code() -> None:
    """Every format is in the docs, and in the help of the commands that write it."""
    expected = GENERATED.formats_table()
    assert expected in TABLES, f"docs/tables.md must contain this table:\n{expected}"
    for command in ("export", "predict"):
        options = re.split(r"\s--format\s", COMMANDS[command])[1]
        assert all(re.search(rf"\b{name}\b", options) for name in FORMATS), command


SHELL = [block for page in PAGES for block in blocks_of(page) if block.language == "sh"]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_every_command_in_the_docs_parses(block: Block) -> None:
    """Including those that are not run: command and options exist, and nothing is missing."""
    command = typer.main.get_command(app)
    for words in commands_of(block):
        one, rest = command, words
        while isinstance(one, typer.core.TyperGroup) and rest:
            assert rest[0] in one.commands, f"{block.place}: no command mien {' '.join(words)}"
            one, rest = one.commands[rest[0]], rest[1:]
        try:
            one.make_context(words[0], rest)
        except typer.BadParameter as error:  # a file or folder that does not exist here
            assert error.message.endswith("does not exist."), f"{block.place}: {error.message}"


OPTIONS = {option for words in COMMANDS.values() for option in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", words)}
"""All options in the help of all commands."""

FOREIGN = {"--no-binary", "--modality"}
"""An option of pip, and one that a decision rejects."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_in_the_text_of_a_page_exists(page: Path) -> None:
    """Options in blocks of shell are parsed with their command; these are the ones in sentences and tables."""
    if page.name == "CHANGELOG.md":  # names options of older versions
        return
    named = re.findall(r"`[^`\n]*`", _prose(page))
    options = {option for code in named for option in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code)}
    assert options <= OPTIONS | FOREIGN


EXPLAINED = [
    page for page in sorted(ROOT.glob("docs/explanation/*.md")) if any(b.language == "python" for b in blocks_of(page))
]


@pytest.mark.parametrize("page", EXPLAINED, ids=lambda page: page.stem)
def test_examples_run_and_print_the_stated_output(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """test_tutorials.py runs those that need a corpus or a model."""
    monkeypatch.chdir(tmp_path)
    run_python(page)


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", WHOLE, re.DOTALL))
def test_yaml_in_the_docs_is_a_study_or_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    file = tmp_path / "studies" / "shown.yaml"
    file.write_text(text, encoding="utf-8")
    read_study(file) if "axes" in yaml.safe_load(text) else read_settings(file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", _prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name}: {path.name} has no heading #{anchor}"


def _prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings that are the same on the site and on GitHub."""
    titles = [re.sub(r"[`*]", "", title) for title in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)]
    ours = {slugify(title, "-") for title in titles}
    return ours & {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_setting_is_in_the_reference_with_a_description() -> None:
    rows = {name: meaning for name, _, _, meaning in GENERATED.settings()}
    assert set(rows) == set(_names(Settings().model_dump()))
    assert all(rows.values()), [name for name, meaning in rows.items() if not meaning]
    page = GENERATED.settings_page()
    assert all(f"| `{name}` |" in page for name in rows)


def _names(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += _names(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found


def test_settings_named_in_the_docs_exist() -> None:
    sections = "media|faces|speech|compute|split|train|stage[12]"
    named = re.findall(rf"`((?:{sections})\.[a-z_.]+)(?:[=:][^`]*)?`", WHOLE)
    files = re.compile(r"\.(py|json|yaml)$")
    known = {*_names(Settings().model_dump()), "stage1.loss", "stage2.loss"}
    assert {name for name in named if not files.search(name)} <= known


def test_the_site_builds_strictly_and_loads_nothing_from_other_servers(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "commands.html", "settings.html", "python.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//", text), page.name


def test_the_page_on_law_contains_the_legal_notice() -> None:
    law = " ".join((ROOT / "docs" / "explanation" / "law.md").read_text(encoding="utf-8").split())
    assert all(fact in law for fact in NOTICE)


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


def test_source_files_named_in_the_docs_exist() -> None:
    places = [ROOT, ROOT / "src" / "mien", ROOT / "docs"]
    for page in PAGES:
        for name in re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|yaml))`", page.read_text(encoding="utf-8")):
            assert any((place / name).is_file() for place in places), f"{page.name} names {name}"


def test_nothing_is_pickled() -> None:
    """No pickle, no torch.load, no shell strings."""
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (pickle|dill|joblib)\b", text, re.MULTILINE), file
        assert "torch.load(" not in text and "shell=True" not in text and "allow_pickle=True" not in text, file
