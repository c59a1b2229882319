"""Pages in a real browser without a network: no faults, sorting, theme, phone, paper, and what assistive tools need."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mien.reporting import run as run_page
from mien.reporting import study as study_page
from mien.reporting.blocks import Column, Page, Section, Table
from mien.reporting.render import write_page
from mien.reporting.rundata import read_run
from mien.spreadsheet import escaped_row

HERE = Path(__file__).parent
AUDIT, CONTRAST = ((HERE / f"{name}.js").read_text() for name in ("audit", "contrast"))


@dataclass
class Seen:
    """A page that is open, and what went wrong on it."""

    page: Any
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", params=["run", "study"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    made = run_page.page(read_run(folder)) if request.param == "run" else study_page.page(study_page.read_study(folder))
    out = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    write_page(made, out)
    return out


def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light", **more: Any) -> tuple[Any, Seen]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True, **more
    )
    page = context.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.faults.append(f"error: {error}"))
    page.on("requestfailed", lambda request: seen.faults.append(f"failed: {request.url}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else seen.faults.append(r.url))
    page.goto(file.as_uri())
    return context, seen


@pytest.fixture
def seen(browser: Any, file: Path) -> Iterator[Seen]:
    context, seen = opened(browser, file)
    yield seen
    context.close()
    assert seen.faults == []


def test_nothing_fails_and_what_assistive_tools_need_is_there(seen: Seen) -> None:
    assert seen.page.evaluate(AUDIT) == []


def test_the_policy_lets_nothing_out(seen: Seen) -> None:
    tried = "fetch('https://example.org/').then(() => 'out', () => 'kept in')"
    assert seen.page.evaluate(tried) == "kept in"
    assert any("Content Security Policy" in fault for fault in seen.faults)
    seen.faults.clear()  # that was the attempt


def test_tables_sort_by_number_both_ways_and_say_so(seen: Seen) -> None:
    name = seen.page.evaluate(
        "[...document.querySelectorAll('.table-block table[data-sortable]')].find((t) => t.querySelector('th.num')).id"
    )
    table = seen.page.locator(f"#{name}")
    header = table.locator("thead th.num").last
    place = table.locator("thead th").count() - 1

    def values() -> list[float]:
        cells = table.evaluate(
            "(t, n) => [...t.tBodies[0].rows].map((r) => r.cells[n].dataset.v ?? r.cells[n].textContent)", place
        )
        return [float(cell) for cell in cells if cell not in ("", "–")]

    before = values()
    header.locator("button").focus()
    seen.page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    seen.page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True)
    assert table.locator("[aria-sort]").count() == 1
    assert "descending" in seen.page.locator("#said").text_content()


def test_a_table_is_downloaded_as_csv_with_its_full_numbers(seen: Seen, tmp_path: Path) -> None:
    button = seen.page.locator("main > section > .table-block button.csv").first
    with seen.page.expect_download() as waiting:
        button.click()
    waiting.value.save_as(tmp_path / "t.csv")
    rows = list(csv.reader((tmp_path / "t.csv").read_text(encoding="utf-8-sig").splitlines()))
    name = button.get_attribute("data-table")
    shown = seen.page.locator(f"#{name}").evaluate("(t) => [t.rows.length, t.rows[0].cells.length]")
    assert [len(rows), len(rows[0])] == shown
    assert rows[0][0] == seen.page.locator(f"#{name} thead th").first.text_content().strip()


def test_a_downloaded_csv_has_no_formulas_and_its_numbers_as_they_are(browser: Any, tmp_path: Path) -> None:
    names = ("=1+1", "@sum", "-clip", "+x", "'=2", "\uff1d1", "'plain", "a,b", 'say "a"', "x\ry", "-0.5", "clip 1")
    table = Table("t", "t", [Column("clip"), Column("=cmd()", "+.3f")], [(name, -0.25) for name in names])
    write_page(Page("t", "t", [], [Section("s", "s", "", [table])]), tmp_path / "t.html")
    context, seen = opened(browser, tmp_path / "t.html")
    with seen.page.expect_download() as waiting:
        seen.page.locator("button.csv").click()
    waiting.value.save_as(tmp_path / "t.csv")
    context.close()
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["clip", "'=cmd()"]
    # a browser reads the line end within a cell of HTML as a new line
    assert [row[0].replace("\n", "\r") for row in rows[1:]] == escaped_row(names)
    assert {row[1] for row in rows[1:]} == {"-0.25"} and seen.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_turns_and_can_be_read(browser: Any, file: Path, scheme: str) -> None:
    other = {"light": "dark", "dark": "light"}[scheme]
    context, seen = opened(browser, file, scheme=scheme)
    root, button = seen.page.locator("html"), seen.page.locator("#theme")
    assert root.get_attribute("data-theme") == scheme
    assert seen.page.evaluate(CONTRAST) == []
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    first = seen.page.evaluate(ground)
    button.click()
    assert root.get_attribute("data-theme") == other
    assert button.get_attribute("aria-pressed") == str(other == "dark").lower()
    assert seen.page.evaluate(ground) != first
    for _ in range(20):  # a busy Chromium stores it late, as another of its processes does so
        seen.page.reload()
        if root.get_attribute("data-theme") == other:
            break
        seen.page.wait_for_timeout(100)
    assert root.get_attribute("data-theme") == other
    context.close()
    assert seen.faults == []


def test_on_a_phone_the_page_is_as_wide_as_the_phone(browser: Any, file: Path) -> None:
    context, seen = opened(browser, file, width=390, is_mobile=True, has_touch=True)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    seen.page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.page.evaluate(AUDIT) == []
    context.close()
    assert seen.faults == []


def test_on_paper_everything_is_open_and_black_on_white(seen: Seen) -> None:
    seen.page.locator("#theme").click()  # dark, which paper must not be
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert seen.page.locator("details:not([open])").count() == 0
    assert seen.page.locator(".contents").is_hidden()
    assert len(seen.page.pdf()) > 20_000


def test_without_script_the_page_is_whole(browser: Any, file: Path) -> None:
    context, seen = opened(browser, file, java_script_enabled=False)
    assert seen.page.locator("#theme").is_hidden()
    assert seen.page.locator("button.csv").first.is_hidden()
    assert seen.page.locator("figure svg").first.is_visible()
    seen.page.locator("details summary").first.click()
    context.close()
    assert seen.faults == []


def test_the_first_thing_a_keyboard_reaches_leads_past_the_contents(seen: Seen) -> None:
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.id") == "main"
