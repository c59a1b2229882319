"""The page of live scores in Chromium: a camera that plays a real clip where there is one, a real server, no mock."""

import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mien.model.model_folder import save_bundle
from mien.weights import Weights
from tests.inference.test_live import model_of
from tests.media.clips import SHARED
from tests.serving.live import served
from tests.serving.test_pages import (
    CAMERA,
    PATIENCE,
    Browser,
    before_its_texts,
    expect,
    opens_one_camera_and_none_without_consent,
    reach,
)

pytestmark = pytest.mark.slow
CLIP = SHARED / "speech_mpeg4.mp4"


def as_camera(clip: Path, folder: Path) -> list[str]:
    """Arguments by which Chromium's camera and microphone play a clip of a person who speaks."""
    with av.open(str(clip)) as read, av.open(str(folder / "camera.mjpeg"), "w") as written:
        stream = written.add_stream("mjpeg", rate=25, width=480, height=360, pix_fmt="yuvj420p")
        for number, frame in enumerate(read.decode(video=0)):
            if frame.time is not None and frame.time > 6:
                break
            frame = frame.reformat(480, 360, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    with av.open(str(clip)) as read, av.open(str(folder / "microphone.wav"), "w") as written:
        sound = written.add_stream("pcm_s16le", rate=48_000, layout="mono")
        resampler = av.AudioResampler("s16", "mono", 48_000)
        for frame in read.decode(audio=0):
            if frame.time is not None and frame.time > 6:
                break
            for part in resampler.resample(frame):
                written.mux(sound.encode(part))
        written.mux(sound.encode(None))
    return [f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}",
            f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}"]  # fmt: skip


@pytest.fixture(scope="module")
def browser(small_weights: dict[str, Weights], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (apt install chromium)")
    from playwright.sync_api import expect as expected
    from playwright.sync_api import sync_playwright

    expected.set_options(timeout=PATIENCE)
    root = tmp_path_factory.mktemp("page")
    save_bundle(model_of("audio", "vision").bundle, root / "model")
    arguments = [*CAMERA, *(as_camera(CLIP, root) if CLIP.exists() else ())]
    with (
        served(root / "model", root / "data", limits=("live_sessions=1",)) as one,
        sync_playwright() as playwright,
    ):
        one.ready()
        made = Browser(playwright, playwright.chromium.launch(executable_path=chromium, args=arguments), one)
        page = made.opened(f"?token={one.token}")
        made.state = page.context.storage_state()
        page.context.close()
        yield made
        made.chromium.close()


def test_from_consent_to_the_exact_scores_by_keyboard(browser: Browser) -> None:
    """With the violations of axe while scores come; on a phone, in the dark, at the end."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    home = browser.opened()
    reach(home, ".to-live a")
    home.keyboard.press("Enter")
    expect(home.locator("h1")).to_have_text("Live scores")
    home.context.close()

    page = browser.opened("live", bypass_csp=True)
    assert page.locator("#camera-on").is_disabled()
    reach(page, "#consent")
    page.keyboard.press("Space")
    reach(page, "#camera-on")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#recording")).to_be_visible()
    reach(page, "#label")
    page.keyboard.type("a <b>smile")
    page.keyboard.press("Enter")
    expect(page.locator("#done-marks li")).to_have_count(1)
    expect(page.locator("#levels .name")).to_have_text(["Joy", "Awe"])
    expect(page.locator("#levels .score").first).to_have_text(re.compile(r"^-?\d+\.\d$"))  # from -100 to 100
    expect(page.locator("#lag")).to_have_text(re.compile(r"^\d+–\d+ s, final, \d+\.\d s late$"))
    assert page.locator("#levels .line").first.get_attribute("d").startswith("M")
    if not CLIP.exists():
        expect(page.locator("#absent li")).to_have_text("No face in the picture")
    violations = axe.run(page).response["violations"]
    assert [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in violations] == []
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    violations = axe.run(page).response["violations"]
    assert [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in violations] == []
    reach(page, "#stop")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    job = page.url.rpartition("/")[2]
    expect(page.locator("#scores")).to_be_visible()
    assert page.locator(".done-marks li").inner_text().endswith("a <b>smile")
    made = browser.served.send("GET", f"/v1/jobs/{job}").json
    assert made["state"] == "completed" and re.fullmatch(r"live-[\d-]+\.webm", made["files"][0]["name"])
    assert np.isfinite(browser.served.send("GET", f"/v1/jobs/{job}/scores.json").json["clips"][0]["seconds"])
    page.context.close()
    assert browser.faults == []


def test_a_session_that_cannot_begin_says_so_in_german(browser: Browser) -> None:
    """Nothing of the page breaks its content security policy, which stands here."""
    page = browser.opened("live", locale="de-AT", permissions=["camera", "microphone"])
    page.route_web_socket("**/v1/live", lambda socket: socket.close())
    page.locator("#consent").check()
    page.locator("#camera-on").click()
    page.locator("#start").click()
    expect(page.locator("#camera-problem")).to_contain_text("Keine Live-Sitzung konnte gestartet werden")
    expect(page.locator("#start")).to_be_visible()
    page.locator("#camera-off").click()
    assert page.evaluate("document.querySelector('#preview').srcObject") is None
    assert browser.faults == []
    page.locator("#camera-on").click()
    page.context.clear_cookies()
    page.locator("#start").click()
    expect(page.locator("#camera-problem")).to_contain_text("nicht mehr angemeldet")
    page.context.close()
    assert all("status of 401" in fault for fault in browser.faults)
    browser.faults.clear()


def test_a_session_that_is_stopped_at_once_or_by_the_camera_ends_before_the_next_begins(browser: Browser) -> None:
    page = browser.opened("live", permissions=["camera", "microphone"])
    page.locator("#consent").check()
    page.locator("#camera-on").click()
    expect(page.locator("#start")).to_be_visible()
    page.evaluate("document.querySelector('#start').click(); document.querySelector('#stop').click()")  # a double click
    expect(page.locator("#start")).to_be_visible()
    page.locator("#start").click()
    expect(page.locator("#recording")).to_be_visible()
    expect(page.locator("#levels .name").first).to_be_visible()
    page.locator("#camera-off").click()
    visible = "(name) => !document.getElementById(name).hidden"
    on, ended = page.evaluate(f"['camera-on', 'ended'].map({visible})")
    assert on == ended  # it can be turned on again when the session has ended
    expect(page.locator("#ended")).to_be_visible()
    page.locator("#camera-on").click()
    page.locator("#start").click()
    expect(page.locator("#levels .name").first).to_be_visible()  # the next one runs
    assert page.locator("#stop").is_visible() and page.locator("#ended").is_hidden()
    page.locator("#stop").click()
    expect(page.locator("#ended")).to_be_visible()
    page.context.close()
    closed = "WebSocket is closed before the connection is established"
    assert [fault for fault in browser.faults if closed not in fault] == []
    browser.faults.clear()


def test_the_camera_is_opened_once_and_with_consent(browser: Browser) -> None:
    page = browser.opened("live", permissions=["camera", "microphone"])
    opens_one_camera_and_none_without_consent(page, "#start")
    page.context.close()
    assert browser.faults == []


def test_consent_that_is_given_before_the_texts_arrive_holds_and_a_new_page_asks_again(browser: Browser) -> None:
    page = browser.opened("live", permissions=["camera", "microphone"])
    with before_its_texts(page):
        page.locator("#consent").check()
        assert page.locator("#camera-on").is_disabled()
    page.locator("#camera-on").click()
    expect(page.locator("#start")).to_be_visible()
    page.locator("#consent").uncheck()  # taken back: the camera is off
    assert page.locator("#camera-on").is_disabled()
    assert page.evaluate("document.querySelector('#preview').srcObject") is None
    page.reload()
    assert not page.locator("#consent").is_checked()
    page.context.close()
    assert browser.faults == []


def test_the_page_needs_a_key_with_the_scope_and_shows_a_key_for_it_nothing_else(browser: Browser) -> None:
    for scope, heading in (("score", "Please sign in"), ("live", "Live scores")):
        made = browser.served.send("POST", "/v1/keys", {"name": "lab", "scopes": [scope]}).json
        page = browser.opened("", storage_state=None)
        page.locator("#key").fill(made["key"])
        page.locator("form.signin button").click()
        page.goto(browser.home + "live")
        expect(page.locator("h1")).to_have_text(heading)
        page.context.close()
        browser.served.send("DELETE", f"/v1/keys/{made['id']}")
    assert all("status of 401" in fault for fault in browser.faults)
    browser.faults.clear()
