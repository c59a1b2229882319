"""Make serve.jpg, a picture of the page of ``mien serve``: drawn people are scored by a model of drawn people.

make demo
.venv/bin/python docs/screenshot.py demo/run demo/corpus/test_data/raw
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("serve.jpg")
SIZE, QUALITY, MOST_BYTES = {"width": 1280, "height": 1440}, 72, 150_000
SECONDS = 900.0


class Server:
    """``mien serve`` of a model, with a data folder that goes with it."""

    def __init__(self, model: str, folder: Path) -> None:
        command = [sys.executable, "-m", "mien.cli", "serve", model, "--data", str(folder / "data"), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.page = self.process.stdout.readline().strip()
        self.address = re.sub(r"\?.*", "", self.page)
        self.key = (folder / "data" / "key").read_text().strip()

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """What the server answers."""
        head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        with urlopen(Request(self.address + path, body, head, method=method)) as answer:
            return json.load(answer)

    def score(self, *clips: Path) -> None:
        """Have clips scored as one job."""
        files = [self.ask("PUT", f"v1/files?name={quote(clip.name)}", clip.read_bytes())["id"] for clip in clips]
        job = self.ask("POST", "v1/jobs", json.dumps({"files": files, "windows": 4, "hop": 1}).encode())
        deadline = time.monotonic() + SECONDS
        while job["state"] in ("queued", "running"):
            job = self.ask("GET", f"v1/jobs/{job['id']}?wait=10")
            assert time.monotonic() < deadline, job
        assert job["state"] == "completed", job


def main(model: str, folder: str) -> None:
    """Score three clips in two jobs, and take the picture."""
    clips = sorted(Path(folder).glob("*.mp4"))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        server = Server(model, Path(place))
        try:
            server.score(*clips[1:3])
            server.score(clips[0])
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, locale="en-GB", color_scheme="light")
            page.goto(server.page)
            page.wait_for_selector(".sparks >> nth=2")
            page.screenshot(path=PICTURE, type="jpeg", quality=QUALITY)
        finally:
            server.process.terminate()
            server.process.wait()
    assert PICTURE.stat().st_size <= MOST_BYTES, PICTURE.stat().st_size


if __name__ == "__main__":
    main(*sys.argv[1:])
