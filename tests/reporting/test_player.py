"""The player in a real browser, opened from a file without a network: video, curves, words and keys go together."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.config import read_settings
from mien.schema import Attention, Attribution, Prediction, Transcript, Window, Word
from mien.scores.document import write_document
from tests.media.clips import make_clip, tone
from tests.scores.scored import TARGETS, scored

pytestmark = pytest.mark.slow
AUDIT, CONTRAST = ((Path(__file__).parent / f"{name}.js").read_text() for name in ("audit", "contrast"))

WORDS = (Word("what", 0.4, 0.9, 0.9), Word("a", 1.0, 1.2, 0.4), Word("day", 3.0, 3.6, 0.8))


def window(start: float, joy: float) -> Window:
    scores = {"Joy": joy, "Empathic Pain": 1 - joy}
    return Window(start, start + 2, scores, {name: (s - 0.2, s + 0.2) for name, s in scores.items()}, ("audio",))


def clip(name: str, path: Path, start: float = 0.0) -> Prediction:
    """Four seconds in windows of two, one each second: borders lie at 1.5 and 2.5 s."""
    return Prediction(
        name, {"Joy": 0.4, "Empathic Pain": 0.6}, {"Joy": (0.2, 0.6), "Empathic Pain": (0.4, 0.8)}, ("text", "audio"),
        path=path, seconds=4.0, transcript=Transcript("what a day", "asr", WORDS), start=start,
        notes=("2 audio tracks: only track 1 is used",),
        windows=(window(0, 0.1), window(1, 0.5), window(2, 0.9)),
        why=Attribution(
            dict.fromkeys(TARGETS, 0.1),
            {"text": {"Joy": 0.4, "Empathic Pain": 0.0}, "audio": {"Joy": -0.1, "Empathic Pain": 0.5}},
            {"text": {"Joy": 0.35, "Empathic Pain": 0.0}, "audio": {"Joy": -0.15, "Empathic Pain": 0.5}},
            {"audio": Attention((0.5, 1.5, 2.5, 3.5), (0.1, 0.2, 0.3, 0.4))},
        ),
    )  # fmt: skip


@dataclass
class Sheet:
    """An open page, and what went wrong on it."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def number(self, code: str) -> float:
        return float(self.page.evaluate(code))

    def until(self, code: str) -> None:
        """Wait until it is true; the page's own policy forbids Playwright's way of waiting, which is ``eval``."""
        for _ in range(300):
            if self.page.evaluate(code):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {code}")

    @property
    def video_time(self) -> float:
        """The time of the video, after seeking."""
        self.until("!document.querySelector('video').seeking")
        return self.number("document.querySelector('video').currentTime")

    @property
    def moment(self) -> float:
        return float(self.page.locator(".moment").inner_text())

    def click_at(self, share: float) -> None:
        self.page.locator(".scrub").scroll_into_view_if_needed()
        box = self.page.locator(".scrub").bounding_box()
        self.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 3)

    def ready(self) -> None:
        self.until("document.querySelector('video').readyState >= 2")


@pytest.fixture
def sheet(browser: Any) -> Iterator[Any]:
    """Opens pages from files; a test fails when a page complained, or asked for anything that is no file."""
    opened: list[Sheet] = []

    def open_page(file: Path, **options: Any) -> Sheet:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True} | options)
        one = Sheet(context.new_page())
        one.page.on("console", lambda said: one.faults.append(said.text))
        one.page.on("pageerror", lambda error: one.faults.append(str(error)))
        one.page.on("requestfailed", lambda asked: one.faults.extend(_failed(asked)))
        one.page.on("request", lambda asked: one.faults.extend(_foreign(asked.url)))
        one.page.goto(file.as_uri())
        opened.append(one)
        return one

    yield open_page
    for one in opened:
        one.page.context.close()
        assert one.faults == []


def _failed(asked: Any) -> list[str]:
    """The browser aborts the request of a video that is left or sought in; that is not a failure."""
    return [] if asked.failure == "net::ERR_ABORTED" else [f"{asked.url}: {asked.failure}"]


def _foreign(url: str) -> list[str]:
    return [] if re.match("file:|blob:|data:", url) else [url]


def report(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos in one folder, pages in another: an H.264 one with a name that needs quoting, a VP9 one, none, a part."""
    root = tmp_path_factory.mktemp("home")
    (root / "videos").mkdir()
    (root / "pages").mkdir()
    first = make_clip(root / "videos" / "anna #1, 50%.mp4", seconds=4.0, size=(320, 240), options={"g": "12"})
    second = make_clip(root / "videos" / "two.webm", seconds=8.0, fps=10, codec="libvpx-vp9", sound=None,
                       options={"deadline": "realtime", "cpu-used": "8"})  # fmt: skip
    clips = [clip("anna", first), clip("gone", root / "videos" / "gone.mp4"), clip("part", second, start=3.0)]
    write_document(scored(*clips), root / "scores.json")
    write_document(scored(clips[0]), root / "one.json")
    assert "1 clip without video" in report(root / "scores.json", "--out", root / "pages" / "all.html")
    report(root / "one.json", "--out", root / "pages" / "one.html")
    return root


def test_a_click_in_the_curves_seeks_and_shows_the_scores_of_that_moment(home: Path, sheet: Any) -> None:
    """At 3 of 4 seconds, the third window (2-4 s) speaks: Joy 0.9, Empathic Pain 0.1."""
    one = sheet(home / "pages" / "one.html")
    one.ready()
    one.click_at(0.75)
    assert one.video_time == pytest.approx(3.0, abs=0.02)
    assert one.moment == pytest.approx(3.0, abs=0.02)
    assert one.page.locator("[data-value]").all_inner_texts() == ["0.90", "0.10"]
    assert one.page.locator("[data-whole]").all_inner_texts()[:2] == ["0.40", "0.60"]
    assert one.page.locator(".stretch").inner_text() == "window 2.0–4.0 s"
    assert one.page.locator("[data-here]").all_inner_texts() == ["missing", "available"]


def test_a_drag_follows_the_hand(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "one.html")
    one.ready()
    box = one.page.locator(".scrub").bounding_box()
    one.page.mouse.move(box["x"] + 10, box["y"] + 60)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 90, steps=4)
    one.page.mouse.up()
    assert one.video_time == pytest.approx(2.0, abs=0.02)


def test_words_light_up_when_they_are_said_and_lead_to_their_moment(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "one.html")
    one.ready()
    lit = one.page.locator(".word[aria-current]")
    one.click_at(0.6 / 4)
    assert lit.all_inner_texts() == ["what"]
    one.click_at(2 / 4)
    assert lit.count() == 0
    one.page.locator(".word", has_text="day").click()
    assert lit.all_inner_texts() == ["day"]
    assert one.video_time == pytest.approx(3.0, abs=0.02)
    assert one.page.locator(".word.doubtful").all_inner_texts() == ["a"]
    assert one.page.locator(".doubt").inner_text() == "Dotted underline: doubtful words, 1 of 3."
    assert one.page.locator(".file-notes").inner_text() == "Notes: 2 audio tracks: only track 1 is used."


def test_words_are_one_stop_of_the_tab_key_and_arrows_walk_them(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "one.html")
    one.ready()
    assert one.page.locator(".word[tabindex='0']").count() == 1
    one.page.locator(".word").first.focus()
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("Enter")
    assert one.page.evaluate("document.activeElement.textContent") == "a"
    assert one.video_time == pytest.approx(1.0, abs=0.02)


def test_the_keyboard_seeks_and_the_slider_says_what_is_there(home: Path, sheet: Any) -> None:
    """Arrows go half a second, pages from window to window (their middles: 0.75, 2 and 3.25 s), home and end."""
    one = sheet(home / "pages" / "one.html")
    one.ready()
    slider = one.page.get_by_role("slider", name="Time in the clip")
    slider.focus()
    for key, moment in (("ArrowRight", 0.5), ("ArrowUp", 1.0), ("ArrowLeft", 0.5), ("PageDown", 0.75), ("PageUp", 2.0),
                        ("PageUp", 3.25), ("End", 4.0), ("Home", 0.0)):  # fmt: skip
        one.page.keyboard.press(key)
        assert one.moment == pytest.approx(moment, abs=0.06), key
        assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(moment, abs=0.06), key
    assert slider.get_attribute("aria-valuemax") == "4.0"
    assert slider.get_attribute("aria-valuetext") == "0.0 seconds: Joy 0.10, Empathic Pain 0.90"


def test_while_the_video_plays_the_playhead_goes_with_it(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "one.html")
    one.ready()
    one.page.get_by_role("slider", name="Time in the clip").focus()
    one.page.keyboard.press(" ")
    one.until("Number(document.querySelector('.moment').textContent) > 0.6")
    left = one.number("parseFloat(getComputedStyle(document.querySelector('[data-player]')).getPropertyValue('--now'))")
    assert left >= 100 * 0.6 / 4
    one.page.keyboard.press(" ")
    assert one.page.evaluate("document.querySelector('video').paused")
    assert one.moment == pytest.approx(one.video_time, abs=0.15)


def test_a_clip_is_chosen_from_the_table_and_the_list(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "all.html")
    one.ready()
    one.page.locator("#scores tbody th a", has_text="part").click()
    assert one.page.locator(".title").inner_text() == "part"
    one.ready()
    assert one.video_time == pytest.approx(3.0, abs=0.11)
    one.page.locator(".choose select").select_option("anna")
    assert one.page.locator(".title").inner_text() == "anna"
    one.page.get_by_role("button", name="Next clip").click()
    assert one.page.locator(".title").inner_text() == "gone"


def test_a_part_of_a_video_begins_where_it_begins_and_stops_where_it_ends(home: Path, sheet: Any) -> None:
    """The clip is 3-7 s of a video of 8 s: its moment 3.5 is second 6.5 of the video."""
    one = sheet(home / "pages" / "all.html")
    one.page.locator(".choose select").select_option("part")
    one.ready()
    one.click_at(3.5 / 4)
    assert one.video_time == pytest.approx(6.5, abs=0.02)
    one.page.locator(".scrub").press(" ")
    one.until("document.querySelector('video').paused && document.querySelector('video').currentTime > 6.9")
    assert one.video_time < 7.6
    assert one.moment == 4.0


def test_without_a_video_the_curves_work_alone(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "all.html")
    one.page.locator(".choose select").select_option("gone")
    assert one.page.locator(".no-video").inner_text() == "Its video was not found."
    assert not one.page.locator("video").is_visible()
    one.click_at(0.75)
    assert one.moment == pytest.approx(3.0, abs=0.02)
    assert one.page.locator(".word[aria-current]").all_inner_texts() == ["day"]


def test_contributions_are_written_with_their_sign(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "one.html")
    assert one.page.locator("[data-contribution] .amount").all_inner_texts() == ["+0.40", "−0.10", "0.00", "+0.50"]
    assert one.page.locator("[data-contribution] .without").all_inner_texts() == [
        "(+0.35)",
        "(−0.15)",
        "(0.00)",
        "(+0.50)",
    ]
    widths = one.page.locator("[data-contribution] .bar").evaluate_all(
        "bars => bars.map(bar => parseFloat(bar.style.width))"
    )
    assert widths == [40, 10, 0, 50]


def test_the_table_sorts_by_its_headings_and_links_still_lead_to_their_clip(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "all.html")
    names = one.page.locator("#scores tbody th")
    heading = one.page.locator("#scores thead th").first
    for order, expected in (("ascending", ["anna", "gone", "part"]), ("descending", ["part", "gone", "anna"])):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == order
        assert names.all_inner_texts() == expected
    names.first.get_by_role("link").click()
    assert one.page.locator(".title").inner_text() == "part"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "all"])
def test_assistive_tools_find_what_they_need_and_it_can_be_read(home: Path, sheet: Any, name: str, scheme: str) -> None:
    one = sheet(home / "pages" / f"{name}.html", color_scheme=scheme)
    one.ready()
    one.click_at(0.75)
    assert one.page.evaluate(AUDIT) == []
    assert one.page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("name", ["one", "all"])
def test_a_phone_scrolls_only_down(home: Path, sheet: Any, name: str) -> None:
    one = sheet(home / "pages" / f"{name}.html", viewport={"width": 390, "height": 800})
    assert one.number("document.documentElement.scrollWidth") == 390
    assert one.page.locator(".scrub").bounding_box()["width"] > 120


def test_films_that_are_embedded_play_from_the_page_alone(home: Path, sheet: Any, tmp_path: Path) -> None:
    report(home / "scores.json", "--out", home / "pages" / "embedded.html", "--embed")
    shutil.copy(home / "pages" / "embedded.html", tmp_path / "alone.html")
    one = sheet(tmp_path / "alone.html")
    one.ready()
    assert one.page.evaluate("document.querySelector('video').src.slice(0, 5)") == "blob:"
    one.click_at(0.5)
    assert one.video_time == pytest.approx(2.0, abs=0.02)
    one.page.locator(".scrub").press(" ")
    one.until("document.querySelector('video').currentTime > 2.3")
    one.page.locator(".choose select").select_option("part")
    one.ready()
    assert one.video_time == pytest.approx(3.0, abs=0.11)


def test_a_converted_video_plays_and_seeks(sheet: Any, tmp_path: Path) -> None:
    """An AVI file that no browser plays; the note names the option that converts it."""
    old = make_clip(tmp_path / "old.avi", seconds=4.0, size=(321, 241), codec="mpeg4", sound="mp3")
    write_document(scored(clip("old", old)), tmp_path / "s.json")
    assert "mien report SCORES.json --convert FOLDER" in report(tmp_path / "s.json", "--out", tmp_path / "s.html")
    said = report(tmp_path / "s.json", "--out", tmp_path / "s.html", "--convert", tmp_path / "converted", "--embed")
    assert "--convert" not in said
    one = sheet(tmp_path / "s.html")
    one.ready()
    one.click_at(0.75)
    assert one.video_time == pytest.approx(3.0, abs=0.02)
    size = one.page.evaluate(
        "[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]"
    )
    assert size == [322, 242]


def test_a_video_that_was_moved_is_said_and_the_curves_go_on(home: Path, sheet: Any, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    shutil.copy(home / "pages" / "one.html", tmp_path / "away" / "one.html")
    one = sheet(tmp_path / "away" / "one.html")
    one.page.wait_for_selector(".no-video:not([hidden])")
    said = one.page.locator(".no-video").inner_text()
    assert said == "This browser cannot open anna #1, 50%.mp4. The page looks for it at ../videos/anna #1, 50%.mp4."
    one.click_at(0.75)
    assert one.moment == pytest.approx(3.0, abs=0.02)
    assert [fault for fault in one.faults if "ERR_FILE_NOT_FOUND" not in fault] == []
    one.faults.clear()


def test_without_scripts_the_tables_and_curves_are_there(home: Path, sheet: Any) -> None:
    one = sheet(home / "pages" / "all.html", java_script_enabled=False)
    assert one.page.locator("noscript p").is_visible()
    assert one.page.locator("#scores tbody tr").count() == 3
    assert one.page.locator(".spark").count() == 3


def test_who_wants_less_motion_gets_less(home: Path, sheet: Any) -> None:
    """The playhead goes at the browser's own pace, about four times a second, and not with every frame."""
    one = sheet(home / "pages" / "one.html", reduced_motion="reduce")
    one.ready()
    one.page.evaluate(
        "window.moves = 0; new MutationObserver(() => window.moves++)"
        ".observe(document.querySelector('[data-player]'), { attributes: true, attributeFilter: ['style'] })"
    )
    one.page.locator(".scrub").press(" ")
    one.until("Number(document.querySelector('.moment').textContent) > 1.5")
    assert one.number("window.moves") < 15


def test_clips_that_a_model_scored_are_reported_with_their_videos(sheet: Any, tmp_path: Path) -> None:
    """From videos to the page by the public calls: a model on random weights, windows, and contributions."""
    settings = read_settings(overrides=["weights=tiny", "modalities=[text, audio]", "seeds=[0]", "stage1.epochs=1",
                                        "stage2.epochs=1", "compute.precision=float32"])  # fmt: skip
    rows = ["path,split,Joy,Awe"]
    (tmp_path / "text").mkdir()
    for number in range(8):
        make_clip(tmp_path / f"{number}.mp4", seconds=2.0, still=True, wave=lambda t, n=number: tone((1 + n) * t))
        (tmp_path / "text" / f"{number}.txt").write_text("so happy " * (number + 1))
        rows.append(f"{number}.mp4,{'valid' if number % 2 else 'train'},{number / 8},{1 - number / 8}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    mien.extract(tmp_path / "clips.csv", tmp_path / "features", settings, progress=False)
    mien.train(tmp_path / "clips.csv", tmp_path / "features", tmp_path / "run", settings, progress=False)
    words = [tmp_path / "run", tmp_path / "clips.csv", "--windows", "1s", "--why", "-q", "--out", tmp_path / "s.json"]
    assert CliRunner().invoke(app, ["predict", *map(str, words)]).exit_code == 0
    report(tmp_path / "s.json", "--out", tmp_path / "s.html")
    one = sheet(tmp_path / "s.html")
    one.ready()
    assert "its scores mean nothing" in one.page.locator(".notice").first.inner_text()
    assert one.page.locator("select option").count() == 8
    one.click_at(0.5)
    assert one.video_time == pytest.approx(1.0, abs=0.02)
    assert one.page.locator(".words").inner_text().strip() == "so happy"
    assert one.page.locator("[data-strip='1'] .attention").get_attribute("d")
