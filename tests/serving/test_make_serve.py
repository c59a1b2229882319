"""``make serve`` prints one address; it opens in a browser, where a clip that is dropped is scored."""

import re
import shlex
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from mien.model.model_folder import resolve_model_dir
from tests.media.clips import make_clip, tone
from tests.serving.live import QUICK

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "clips" / "speech_mpeg4.mp4"
DROP = """([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "video/mp4" }));
  const how = { dataTransfer: data, bubbles: true, cancelable: true }, zone = document.querySelector("#drop");
  for (const kind of ["dragenter", "dragover", "drop"]) zone.dispatchEvent(new DragEvent(kind, how));
}"""


def recipe(folder: Path) -> list[str]:
    """The command of ``make serve`` for a demo's folder, with this interpreter instead of that of ``.venv``."""
    said = subprocess.run(
        ["make", "--dry-run", "--assume-old", "setup", "serve", f"DEMO={folder}"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    [line] = [line for line in said.splitlines() if "mien serve" in line]
    program, *words = shlex.split(line)
    assert program == ".venv/bin/mien"
    return [sys.executable, "-m", "mien.cli", *words]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_printed_address_opens_and_a_dropped_clip_is_scored(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A real clip with a model that reads words, where there is one; else a tone."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (apt install chromium)")
    from playwright.sync_api import expect, sync_playwright

    if REAL.exists():
        request.getfixturevalue("small_weights")
        model, clip, targets = resolve_model_dir("words-en"), REAL, 6
    else:
        model, targets = request.getfixturevalue("model"), 2
        clip = make_clip(tmp_path / "clip.mp4", seconds=3, sound_rate=16_000, layout="mono", wave=tone)
    (tmp_path / "run").symlink_to(model)
    command = recipe(tmp_path)
    assert command[-3:] == [str(tmp_path / "run"), "--data", str(tmp_path / "served")]
    quick = [word for limit in QUICK for word in ("--limit", limit)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, "--port", "0", *quick], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S+", address), (tmp_path / "log").read_text()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium)
            page = browser.new_page(locale="en-GB")
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            assert "token" not in page.url
            page.evaluate(DROP, [b64encode(clip.read_bytes()).decode(), clip.name])
            expect(page.locator("#uploads .sent")).to_have_count(1, timeout=60_000)
            page.locator("#score").click()
            row = page.locator(".job")
            expect(row.locator(".badge")).to_have_text("Done", timeout=90_000)
            scores = row.locator(".sparks .score")
            expect(scores).to_have_count(targets)
            assert all(0 <= float(text) <= 1 for text in scores.all_inner_texts())
            browser.close()
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout.read() == ""  # nothing but the address
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert (tmp_path / "served").stat().st_mode & 0o077 == 0
