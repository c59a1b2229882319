"""The pages in Chromium, by keyboard alone, with its false camera: a real server, a real worker.

A test fails when a page breaks its content security policy, or reports any error on the console.
"""

import csv
import hashlib
import io
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from mien.serving.web import pages, rendering
from tests.media.clips import make_clip, tone
from tests.serving.live import Served, served

pytestmark = pytest.mark.slow
CAMERA = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE = 60_000  # milliseconds, for machines with other things to do
LARGEST = 3_000_000


@dataclass
class Browser:
    """A browser that is signed in at a server."""

    playwright: Any
    chromium: Any
    served: Served
    state: Any = None
    faults: list[str] = field(default_factory=list)

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.served.port}/"

    def opened(self, path: str = "", port: int | None = None, **options: Any) -> Any:
        """A page, in a window of its own; ``port``: by way of another one."""
        context = self.chromium.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "storage_state": self.state} | options
        )
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda said: self.faults.append(f"{said.type}: {said.text}"))
        page.on("filechooser", lambda _: None)  # from now on, none opens a window of the system
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self.home.replace(str(self.served.port), str(port or self.served.port)) + path)
        if page.query_selector("#consent") and options.get("java_script_enabled", True):
            page.wait_for_selector("body[data-ready]")  # until then, the page is one without scripts
        return page


@pytest.fixture(scope="module")
def browser(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (apt install chromium)")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    limits = (f"file_bytes={LARGEST}",)
    with (
        served(model, tmp_path_factory.mktemp("pages") / "data", limits=limits) as one,
        sync_playwright() as playwright,
    ):
        one.ready(60)
        made = Browser(playwright, playwright.chromium.launch(executable_path=chromium, args=CAMERA), one)
        page = made.opened(f"?token={one.token}")
        made.state = page.context.storage_state()
        page.context.close()
        assert made.faults == []
        yield made
        made.chromium.close()


@pytest.fixture
def site(browser: Browser) -> Iterator[Browser]:
    """The browser; afterwards nothing may have complained, and the server is empty again."""
    yield browser
    for context in browser.chromium.contexts:
        context.close()
    for job in browser.served.send("GET", "/v1/jobs?limit=100").json["jobs"]:
        browser.served.send("DELETE", f"/v1/jobs/{job['id']}")
    faults, browser.faults = browser.faults, []
    assert faults == []


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two clips with pictures and a tone; the name of the first would be a danger to careless pages."""
    root = tmp_path_factory.mktemp("videos")
    return [
        make_clip(root / name, seconds=3.0, sound_rate=16_000, layout="mono", options={"g": "5"}, wave=tone)
        for name in ("<b>Anna & 1.mp4", "two.mp4")
    ]


@contextmanager
def cut_off(port: int, after: int) -> Iterator[int]:
    """A way to the server that breaks each connection on which more bytes are sent.

    Not just the first: on a busy machine Chromium was seen to repeat a broken request by itself, unseen by the page.
    """
    opened: list[socket.socket] = []

    def close(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def pass_on(source: socket.socket, sink: socket.socket, limit: int) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(65_536):
                sent += len(data)
                if sent > limit:
                    break
                sink.sendall(data)
        close(source, sink)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", port))
                opened.extend((near, far))
                for pair in ((near, far, after), (far, near, 10**12)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        close(listening, *opened)


def expect(what: Any) -> Any:
    from playwright.sync_api import expect as expected

    return expected(what)


def reach(page: Any, selector: str) -> None:
    """Press the tab key until an element has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"the tab key does not reach {selector}")


@contextmanager
def before_its_texts(page: Any) -> Iterator[None]:
    """A page that is loaded again, as on a slow connection: its scripts wait for its texts until the context ends."""
    held: list[Any] = []
    page.route("**/static/texts.*.json", lambda route: held.append(route))  # playwright marks its handlers
    with page.expect_request("**/static/texts.*.json"):
        page.reload()
    yield
    for route in held:
        route.continue_()


PERMISSION = """
window.waiting = [];
window.tracks = [];
const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
media.getUserMedia = async (wanted) => {
  await new Promise((permit) => waiting.push(permit));
  const stream = await ask(wanted);
  tracks.push(...stream.getTracks());
  return stream;
};
"""
"""The browser asks for permission, which is given by ``waiting.forEach((permit) => permit())``."""


def wait_for(page: Any, condition: Callable[[], bool]) -> None:
    """Wait until something holds; the page's policy forbids to do so within the page."""
    limit = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < limit
        page.wait_for_timeout(20)


def opens_one_camera_and_none_without_consent(page: Any, ready: str) -> None:
    """Double clicks open one camera; while permission is asked for, consent can be taken back."""

    def number(expression: str) -> int:
        return page.evaluate(f"{expression}.length")

    page.add_init_script(PERMISSION)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    live = "tracks.filter((track) => track.readyState === 'live')"
    permit = "waiting.splice(0).forEach((permit) => permit())"
    page.locator("#consent").check()
    page.locator("#camera-on").dblclick()
    wait_for(page, lambda: number("waiting") == 2)
    page.evaluate(permit)
    wait_for(page, lambda: number("tracks") == 4)  # a camera and a microphone, asked for twice
    expect(page.locator(ready)).to_be_visible()
    wait_for(page, lambda: number(live) == 2)
    page.locator("#camera-off").click()
    assert number(live) == 0
    page.locator("#camera-on").click()
    wait_for(page, lambda: number("waiting") == 1)
    page.locator("#consent").uncheck()
    page.evaluate(permit)
    wait_for(page, lambda: number("tracks") == 6)
    wait_for(page, lambda: number(live) == 0)
    assert page.locator(ready).is_hidden()


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.textContent.trim()")


def choose(page: Any, *files: Path) -> None:
    reach(page, "#chosen")
    with page.expect_file_chooser() as asked:
        page.keyboard.press("Enter")
    asked.value.set_files(files)


def score(page: Any, state: str = "Done") -> Any:
    """Press the button, wait for the end; the row of the job."""
    reach(page, "#score")
    page.keyboard.press("Enter")
    row = page.locator(".job").first
    expect(row.locator(".badge")).to_have_text(state)
    return row


def video_time(page: Any) -> float:
    for _ in range(300):
        if page.evaluate("(v => v.readyState >= 1 && !v.seeking)(document.querySelector('.player video'))"):
            return page.evaluate("document.querySelector('.player video').currentTime")
        page.wait_for_timeout(50)
    raise AssertionError("the video does not load")


def seeks(page: Any, seconds: float) -> None:
    """The slider over the curves moves the video, and the scores of the moment are shown."""
    expect(page.locator(".scrub")).to_be_visible()  # the page that was just opened
    reach(page, ".scrub")
    page.keyboard.press("Home")
    assert video_time(page) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # half a second each
    assert abs(video_time(page) - seconds) < 0.05
    assert float(page.locator(".moment").inner_text()) == seconds
    assert re.fullmatch(r"[−\d.]+", page.locator("[data-value='0']").inner_text())


def test_two_clips_by_keyboard_from_the_file_to_the_table_and_away(site: Browser, videos: list[Path]) -> None:
    page = site.opened()
    expect(page.locator("#empty")).to_be_visible()
    page.evaluate(
        "window.states = []; new MutationObserver(() => { const badge = document.querySelector('.job .badge');"
        "if (badge) states.push(badge.textContent); }).observe(document.querySelector('#jobs'), { childList: true,"
        "subtree: true })"
    )
    choose(page, *videos)
    expect(page.locator("#uploads .sent")).to_have_count(2)
    assert page.locator("#score").inner_text() == "Score 2 clips"
    row = score(page)
    seen = page.evaluate("states")
    assert seen[0] in ("Waiting", "Being scored") and seen[-1] == "Done"
    expect(row.locator(".sparks svg path[class^=series]")).to_have_count(4)  # two clips, two emotions
    assert "<b>Anna & 1" in row.inner_text()

    reach(page, ".job h3 a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    job = page.url.rpartition("/")[2]
    seeks(page, 1.0)
    reach(page, ".downloads a[href$='/scores.csv']")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    table = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    assert [line["clip"] for line in csv.DictReader(io.StringIO(table))] == ["<b>Anna & 1", "two"]

    for answer in ("Escape", "Enter"):  # both keep: the first button is the harmless one
        page.locator("#delete").focus()
        page.keyboard.press("Enter")
        assert focused(page) == "Keep"
        page.keyboard.press(answer)
        expect(page.locator("#confirm")).to_be_hidden()
    assert site.served.send("GET", f"/v1/jobs/{job}").status == 200
    assert focused(page) == "Delete"
    page.keyboard.press("Enter")
    reach(page, "#confirm .danger")
    page.keyboard.press("Enter")
    page.wait_for_url(site.home)
    expect(page.locator("#empty")).to_be_visible()
    assert site.served.send("GET", f"/v1/jobs/{job}").status == 404


def test_a_recording_of_the_camera_becomes_a_job_after_consent(site: Browser) -> None:
    page = site.opened()
    assert page.locator("#camera-on").is_disabled()
    reach(page, "#consent")
    page.keyboard.press("Space")
    reach(page, "#camera-on")
    page.keyboard.press("Enter")
    expect(page.locator("#record")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#elapsed")).to_contain_text("0:02")
    page.keyboard.press("Enter")  # the focus is on Stop
    expect(page.locator("#use")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#uploads .sent")).to_have_count(1)
    assert page.evaluate("document.querySelector('#preview').srcObject") is None  # the camera is off
    assert focused(page) == "Score 1 clip"
    page.keyboard.press("Enter")
    row = page.locator(".job")
    expect(row.locator(".badge")).to_have_text("Done")
    assert re.fullmatch(r"camera-[\d-]+\.webm", row.locator("h3").inner_text())
    row.locator("h3 a").click()
    seeks(page, 1.0)


def test_the_camera_is_opened_once_and_with_consent(site: Browser) -> None:
    opens_one_camera_and_none_without_consent(site.opened(), "#record")


def test_texts_that_do_not_arrive_are_asked_for_again(site: Browser) -> None:
    page, asked = site.opened(), []

    def fail(route: Any) -> None:
        asked.append(route)
        route.abort() if len(asked) == 1 else route.continue_()

    page.route("**/static/texts.*.json", fail)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#empty")).to_be_visible()
    assert len(asked) == 2
    site.faults[:] = [fault for fault in site.faults if "ERR_FAILED" not in fault]


def test_a_file_that_is_chosen_before_the_texts_arrive_is_sent(site: Browser, videos: list[Path]) -> None:
    page = site.opened()
    with before_its_texts(page):
        page.locator("#chosen").set_input_files(videos[1])
        assert page.locator("#uploads li").count() == 0
    expect(page.locator("#uploads .sent")).to_have_count(1)
    page.locator("#score").click()
    expect(page.locator(".job .badge")).to_have_text("Done")


def test_an_upload_that_is_cut_goes_on_where_it_was(site: Browser, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(range(256)) * 10_000)
    with cut_off(site.served.port, after=900_000) as port:
        page = site.opened(port=port)
        offsets: list[int] = []
        page.on("request", lambda sent: offsets.extend(
            [int(sent.headers["upload-offset"])] if sent.method == "PATCH" else []))  # fmt: skip
        page.evaluate(
            "window.states = []; const list = document.querySelector('#uploads');"
            "new MutationObserver(() => states.push(list.textContent))"
            ".observe(list, { childList: true, characterData: true, subtree: true })"
        )
        choose(page, large)
        expect(page.locator("#uploads .sent")).to_have_count(1)
        assert any("Connection lost" in state for state in page.evaluate("states"))
        assert len(offsets) > 1 and offsets[0] == 0 and offsets == sorted(offsets) and offsets[1] > 100_000
        page.locator("#score").click()  # it is no clip, but all of it has arrived
        expect(page.locator(".job .badge")).to_have_text("Failed")
        page.context.close()  # while the way is there: its events may still be open
    job = site.served.send("GET", "/v1/jobs").json["jobs"][0]
    assert job["files"][0]["sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()
    assert all(
        re.search("409|423|ERR_", fault) for fault in site.faults
    )  # Chromium may first send all of it again itself
    site.faults.clear()


def test_where_requests_come_too_fast_the_page_waits_and_claims_no_lost_connection(
    site: Browser, clips: list[Path]
) -> None:
    page, refused = site.opened(), set()

    def refuse_once(route: Any) -> None:
        call = route.request.method, route.request.url.partition("/v1/")[2].partition("/")[0]
        if call in refused or call[0] in ("GET", "DELETE"):
            return route.continue_()
        refused.add(call)
        detail = json.dumps({"status": 429, "detail": "too many requests of this key"})
        route.fulfill(status=429, headers={"Retry-After": "1"}, body=detail)

    page.route("**/v1/**", refuse_once)
    page.evaluate(
        "window.states = new Set(); const list = document.querySelector('#uploads');"
        "new MutationObserver(() => list.querySelectorAll('.state').forEach((one) => states.add(one.textContent)))"
        ".observe(list, { childList: true, characterData: true, subtree: true })"
    )
    page.locator("#chosen").set_input_files(clips[0])
    page.locator("#score").click()
    expect(page.locator(".job")).to_have_count(1)
    assert refused == {("POST", "uploads"), ("PATCH", "uploads"), ("HEAD", "uploads"), ("POST", "jobs")}
    states = page.evaluate("[...states]")
    assert not [state for state in states if not re.fullmatch(r"Waiting|Sending \d+ %|Sent", state)], states
    site.faults[:] = [fault for fault in site.faults if "status of 429" not in fault]


def test_a_file_twice_and_an_answer_that_is_lost_make_one_job_of_two_clips(site: Browser, clips: list[Path]) -> None:
    page, answers = site.opened(), []
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route) if route.request.method == "PATCH" else route.continue_()

    def lose(route: Any) -> None:
        if route.request.method != "POST" or answers:
            return route.continue_()
        answers.append(route.fetch().status)
        route.abort()

    page.route("**/v1/uploads/*", hold)
    page.route("**/v1/jobs", lose)
    for count in (1, 2):  # the second while the first is being sent
        page.locator("#chosen").set_input_files(clips[0])
        wait_for(page, lambda count=count: len(held) == count)
    for route in held:
        route.continue_()
    expect(page.locator("#uploads .sent")).to_have_count(2)
    page.locator("#score").click()
    expect(page.locator("#send-problem")).to_have_text("The connection is lost. Please try again.")
    page.locator("#score").click()
    expect(page.locator("#uploads li")).to_have_count(0)
    assert page.locator("#send-problem").is_hidden()
    assert answers == [202]
    [job] = site.served.send("GET", "/v1/jobs").json["jobs"]
    assert len(job["files"]) == 2
    assert [row.get_attribute("id") for row in page.locator(".job").all()] == [job["id"]]
    site.faults[:] = [fault for fault in site.faults if "ERR_FAILED" not in fault]


def test_a_folder_and_a_file_that_is_gone_are_said_to_be_unreadable(site: Browser, tmp_path: Path) -> None:
    page, gone, folder = site.opened(), tmp_path / "gone.mp4", tmp_path / "my clips"
    gone.write_bytes(b"soon moved away")
    folder.mkdir()
    announced: list[Any] = []
    page.route("**/v1/uploads", lambda route: announced.append(route))
    page.locator("#chosen").set_input_files(gone)
    wait_for(page, lambda: bool(announced))
    gone.unlink()
    announced[0].continue_()
    unreadable = "cannot be read: it is a folder, or was moved or changed after it was chosen."
    expect(page.locator("#uploads .failed .state")).to_have_text([f"gone.mp4 {unreadable}"])
    box, devtools = page.locator("#drop").bounding_box(), page.context.new_cdp_session(page)
    dropped = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 50, "y": box["y"] + 50}
        devtools.send("Input.dispatchDragEvent", {"type": kind, **place, "data": dropped})
    expect(page.locator("#uploads .failed .state")).to_have_text([f"gone.mp4 {unreadable}", f"my clips {unreadable}"])
    page.locator("#score").click()  # waits for nothing
    expect(page.locator("#send-problem")).to_have_text(rendering.say("en", "none_left"))
    assert len(announced) == 1  # a folder is not even announced
    site.faults[:] = [fault for fault in site.faults if "ERR_" not in fault]


def test_older_jobs_are_found_after_the_last_one_shown_was_deleted(site: Browser) -> None:
    served = site.served
    made = [served.job([served.put_bytes(b"no clip", "a.mp4")])["id"] for _ in range(23)][::-1]
    page = site.opened()
    expect(page.locator(".job")).to_have_count(20)
    for job in made[18:20]:
        served.send("DELETE", f"/v1/jobs/{job}")
    assert served.send("GET", f"/v1/jobs?before={made[19]}").status == 404  # not an empty list, which would be the end
    page.locator("#older").click()
    expect(page.locator(".job")).to_have_count(21)
    assert [row.get_attribute("id") for row in page.locator(".job").all()] == made[:18] + made[20:]
    site.faults[:] = [fault for fault in site.faults if "status of 404" not in fault]


def test_an_open_job_of_a_browser_that_is_signed_out_says_so(site: Browser, videos: list[Path]) -> None:
    [worker] = site.served.workers()
    worker.suspend()
    try:
        page = site.opened(f"jobs/{site.served.job([site.served.put(videos[1])])['id']}")
        page.route("**/events", lambda route: route.abort())
        page.reload()
        page.context.clear_cookies()
        expect(page.locator("#offline")).to_have_text(rendering.say("en", "error_signin"))
    finally:
        worker.resume()
    assert all(re.search("status of 401|ERR_FAILED", fault) for fault in site.faults)
    site.faults.clear()


def test_what_goes_wrong_is_said_in_the_servers_words(site: Browser, tmp_path: Path) -> None:
    names = {"notes.txt": b"no clip", "huge.mp4": b"0" * (LARGEST + 1), "broken.mp4": b"nothing to decode"}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    page, problem = site.opened(), "#send-problem"
    reach(page, "#score")
    page.keyboard.press("Enter")
    assert page.locator(problem).inner_text() == "Choose at least one file."
    for name, text in (("notes.txt", "is not a video or audio file"), ("huge.mp4", "is larger than 0.003 GB")):
        page.locator("#chosen").set_input_files(tmp_path / name)
        assert text in page.locator(problem).inner_text()
    page.locator("#chosen").set_input_files(tmp_path / "broken.mp4")
    expect(page.locator("#uploads .sent")).to_have_count(1)
    assert page.locator(problem).is_hidden()
    row = score(page, "Failed")
    assert "none could be scored (first: broken.mp4: " in row.inner_text()

    page.locator("#chosen").set_input_files(tmp_path / "broken.mp4")
    expect(page.locator("#uploads .sent")).to_have_count(1)
    for file in (site.served.data / "uploads").glob("*.part"):
        file.unlink()  # behind the back of the page
    reach(page, "#score")
    page.keyboard.press("Enter")
    expect(page.locator(problem)).to_contain_text("or another job uses it already")
    site.faults[:] = [fault for fault in site.faults if "status of 422" not in fault]


def test_nothing_stands_in_the_way_of_assistive_tools(site: Browser, videos: list[Path]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    served = site.served
    job = served.job([served.put(videos[1]), served.put(videos[1], "three.mp4")], windows=1.0, why=True)["id"]
    served.ended(job)
    for path, scheme, width in (
        ("", "light", 1280),
        (f"jobs/{job}", "dark", 1280),
        (f"jobs/{job}", "light", 390),
        ("", "dark", 390),
    ):
        page = site.opened(path, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
        expect(page.locator(".sparks, .player").first).to_be_visible()
        if path == "" and width == 390:
            page.locator("[data-does=delete]").click()  # the dialogue
        found = axe.run(page).response["violations"]
        assert [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in found] == [], (
            path,
            scheme,
            width,
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.context.close()


def test_without_a_secure_page_the_camera_says_why(site: Browser) -> None:
    page = site.opened()
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.reload()
    expect(page.locator("#camera-problem")).to_contain_text("only on secure pages (https)")
    assert page.locator("#camera-on").is_hidden()


def test_without_javascript_a_form_still_sends_clips_and_shows_their_scores(site: Browser, videos: list[Path]) -> None:
    page = site.opened(java_script_enabled=False)
    page.locator("#chosen").set_input_files(videos)
    page.locator("[name=windows]").select_option("1")
    page.locator("#score").click()
    page.wait_for_url("**/jobs/*")
    page.locator("#scores").wait_for()  # the page of an open job reloads itself
    assert page.locator("#scores tbody th").all_inner_texts() == ["<b>Anna & 1", "two"]
    assert page.locator("#delete").is_hidden()
    page.locator(".downloads a[href$='/windows.csv']").wait_for()
    page.locator(".back a").click()
    assert page.locator("noscript .name").inner_text() == "<b>Anna & 1.mp4, two.mp4"
    page.locator("#score").click()
    assert "empty" in page.locator(".notice").inner_text()
    site.faults[:] = [fault for fault in site.faults if "status of 400" not in fault]


def test_the_page_speaks_german_and_remembers_the_choice(site: Browser) -> None:
    page = site.opened(locale="de-AT")
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator("h1").inner_text() == "Clips auswerten"
    expect(page.locator("#empty")).to_contain_text("Noch nichts")
    page.locator(".settings a").click()
    page.reload()
    assert page.locator("h1").inner_text() == "Score clips"


def test_the_stage_at_hand_is_said_in_german_and_the_servers_own_words_are_marked_as_english(
    site: Browser, videos: list[Path], clips: list[Path], tmp_path: Path
) -> None:
    """So a screen reader pronounces both. The worker is stopped while it works, so that the stage stays."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    [worker] = site.served.workers()
    old = make_clip(tmp_path / "old.mp4", codec="mpeg4")
    files = [old, *videos, clips[3], videos[1], videos[1]]

    def submit() -> str:
        return site.served.job([site.served.put(file, f"{n}.mp4") for n, file in enumerate(files)], windows=1.0)["id"]

    try:
        open_job, stage = stopped_at_a_stage(site.served, worker, submit)
        text = f"von 6 Clips: {rendering.say('de', f'stage_{stage}')}"
        for path, place in (("", ".job .progress"), (f"jobs/{open_job}", "#progress-text")):
            page = site.opened(path, locale="de")
            expect(page.locator(place)).to_contain_text(text)
        expect(page.locator("#files .badge.running")).to_have_text("Wird ausgewertet")
    finally:
        worker.resume()
    failed = site.served.job([site.served.put(clips[3])])["id"]
    for job in (open_job, failed):
        site.served.ended(job)
    reason = site.served.send("GET", f"/v1/jobs/{failed}").json["reason"]
    for path, place in (("", ".job .problem"), (f"jobs/{failed}", "#job-problem")):
        page = site.opened(path, locale="de", bypass_csp=True)
        expect(page.locator(f"{place}[lang=en]")).to_have_text(reason)
        assert [one["id"] for one in axe.run(page).response["violations"]] == []
    assert page.locator("main section").count() == 0  # nothing was scored, so there are no tables and no downloads
    page.goto(f"{site.home}jobs/{open_job}")
    expect(page.locator(".no-video")).to_have_text("This browser shows no pictures of 0.mp4; it plays the sound.")
    (site.served.data / "gone").write_bytes(b"0" * 2000)
    page.goto(site.home)
    expect(page.locator(".job .clips > .soft")).to_have_text("und 2 weitere")  # of the five that were scored
    page.locator("#chosen").set_input_files(site.served.data / "gone")
    expect(page.locator("#uploads .sent")).to_have_count(1)
    for file in (site.served.data / "uploads").glob("*.part"):
        file.unlink()
    page.locator("#score").click()
    expect(page.locator("#send-problem[lang=en]")).to_contain_text("or another job uses it already")
    site.faults[:] = [fault for fault in site.faults if "status of 422" not in fault]


def stopped_at_a_stage(served: Served, worker: psutil.Process, submit: Callable[[], str]) -> tuple[str, str]:
    """Suspend the worker while it works on a clip; the job and its stage. Where a job ended unseen, another is sent."""
    limit, job = time.monotonic() + 120, submit()
    while time.monotonic() < limit:
        made = served.send("GET", f"/v1/jobs/{job}").json
        if made["progress"]["stage"]:
            worker.suspend()
            if stage := served.send("GET", f"/v1/jobs/{job}").json["progress"]["stage"]:
                return job, stage
            worker.resume()
        elif made["state"] == "completed":
            served.send("DELETE", f"/v1/jobs/{job}")
            job = submit()
    raise AssertionError("no stage was seen")


def test_nothing_is_shown_without_the_cookie_and_the_address_works_once(browser: Browser) -> None:
    served = browser.served
    for path in ("/", "/jobs/job-000000000000000000000000", f"/?token={served.token}", "/?token=%C3%A9"):
        answer = served.send("GET", path, key=None)
        assert answer.status == 401 and b"Please sign in" in answer.body and b'id="send"' not in answer.body
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
            "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        )
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
    assert served.send("GET", "/jobs/job-0/summary", key=None).status == 401
    assert served.send("GET", "/jobs/job-0").status == 404


def test_a_key_signs_a_browser_in_until_it_is_deleted(site: Browser) -> None:
    made = site.served.send("POST", "/v1/keys", {"name": "lab", "scopes": ["score"]}).json
    page = site.opened(storage_state=None)
    for key, heading in (("mien-" + "0" * 64, "Please sign in"), (made["key"], "Score clips")):
        reach(page, "#key")
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text(heading)
    site.served.send("DELETE", f"/v1/keys/{made['id']}")
    page.reload()
    assert page.locator("h1").inner_text() == "Please sign in"
    assert all("status of 401" in fault for fault in site.faults)
    site.faults.clear()


def test_servers_of_one_host_have_cookies_of_their_own_and_a_proxy_changes_nothing(browser: Browser) -> None:
    """The port of the address is one that somebody else chooses; the cookie has that on which the server listens."""
    form = {"key": None, "Content_Type": "application/x-www-form-urlencoded", "Host": "localhost:1"}
    answer = browser.served.send("POST", "/signin", f"key={browser.served.key}".encode(), **form)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith(f"mien-{browser.served.port}=")
    for sent, status in ((f"mien-1=other; {cookie}", 200), (cookie.replace("=", "1=", 1), 401)):
        assert browser.served.send("GET", "/v1/jobs", key=None, Cookie=sent).status == status


def test_the_language_can_be_changed_after_a_wrong_key(browser: Browser) -> None:
    form = {"key": None, "Content_Type": "application/x-www-form-urlencoded"}
    answer = browser.served.send("POST", "/signin", b"key=wrong", **form)
    assert answer.status == 401
    assert b'href="/language/de?back=/"' in answer.body  # not /signin, which only takes forms


@pytest.mark.parametrize("back", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:0"])
def test_choosing_a_language_leads_nowhere_else(browser: Browser, back: str) -> None:
    answer = browser.served.send("GET", f"/language/de?back={back}", key=None)
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_nothing_but_the_pages_files_is_served_and_they_are_cached(browser: Browser) -> None:
    first = browser.served.send("GET", "/static/home.js", key=None)
    assert first.headers["content-type"].startswith("text/javascript")
    again = browser.served.send("GET", "/static/home.js", key=None, If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    for name in ("../pages.py", "%2e%2e/pages.py", "page.html", "..%2fapp.py"):
        assert browser.served.send("GET", f"/static/{name}", key=None).status in (404, 401)


def test_every_text_is_in_every_language_with_the_same_values() -> None:
    maps = {language: rendering.texts(language) for language in rendering.LANGUAGES}
    first = maps["en"]
    for texts in maps.values():
        assert list(texts) == list(first)
        for key, text in texts.items():
            assert isinstance(text, list) == isinstance(first[key], list), key
            assert _values(text) == _values(first[key]), key


def test_every_text_is_used_and_every_one_used_exists() -> None:
    files = [*(rendering.HERE / "static").glob("*.js"), *(rendering.HERE / "templates").glob("*.html")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    used = set(re.findall(r"""\bt\(["'](\w+)["']""", code))
    texts = rendering.texts("en")
    assert {key for key in used if not key.endswith("_")} <= set(texts)
    unused = [key for key in texts if key not in used and not re.search(rf"""["'`]{re.escape(key)}["'`]""", code)]
    composed = re.compile("(state|stage|download|about)_|(cancel|delete)_of$")
    assert [key for key in unused if not composed.match(key)] == []
    assert {name for name in pages.DOWNLOADS if f"download_{name}" in texts and f"about_{name}" in texts} == set(
        pages.DOWNLOADS
    )


def test_scripts_and_templates_hold_nothing_inline_and_ask_nobody_else() -> None:
    """So the policy needs no exception, and the page works without another site."""
    for file in [*(rendering.HERE / "static").glob("*.*s"), *(rendering.HERE / "templates").glob("*.html")]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"""\sstyle=|\son\w+="|innerHTML|insertAdjacentHTML|\beval\(|new Function""", text), file
        assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}, file
    assert json.dumps(sorted(rendering.assets()))


def _values(text: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", json.dumps(text)))
