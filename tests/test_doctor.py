"""The doctor's checks are those of the package: what it recommends exists, and what is missing is found."""

import importlib.metadata
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien import doctor
from mien.cli import app
from mien.doctor import EXTRAS, Finding, examine

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]


def findings() -> dict[str, Finding]:
    return {finding.what: finding for finding in examine()}


@pytest.mark.parametrize("module", EXTRAS)
def test_each_optional_package_is_in_the_extra_that_is_recommended(module: str) -> None:
    package, extra, _ = EXTRAS[module]
    names = [re.split(r"[<>=\[]", requirement)[0] for requirement in PROJECT["optional-dependencies"][extra]]
    assert package in names


def test_every_extra_of_a_command_is_checked() -> None:
    recommended = {extra for _, extra, _ in EXTRAS.values()}
    assert recommended == set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}


def test_a_missing_package_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_litert" else find(name))
    found = {finding.what: finding for finding in doctor._extras()}
    assert found["ai-edge-litert"] == Finding(
        "ai-edge-litert", False, "not installed (face landmarks)", "pip install 'mien[faces]'"
    )


def test_a_cache_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    assert findings()["cache"].fine
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    found = findings()["cache"]
    assert not found.fine
    assert found.found == f"{tmp_path / 'cache'} cannot be written"


def test_the_command_lists_remedies_of_what_is_missing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Finding("one", True, "1.0", "install one"), Finding("two", False, "not installed", "install two")]
    monkeypatch.setattr(doctor, "examine", lambda: rows)
    done = CliRunner().invoke(app, ["doctor"])
    assert "install two" in done.output
    assert "install one" not in done.output
    assert "1 missing" in done.output


def test_packages_report_the_installed_version() -> None:
    assert findings()["torch"].found == importlib.metadata.version("torch")
