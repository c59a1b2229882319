"""From the command line to the results: real processes, and the same scores as ``mien predict``."""

import asyncio
import csv
import io
import json
import random
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

import mien
from mien.schema import Clip, Manifest
from mien.scores.exports import write_scores
from mien.serving.web.results import OpenFileResponse
from tests.media.clips import make_clip, tone
from tests.serving.live import Served, served


@pytest.fixture(scope="module")
def done(server: Served, clips: list[Path]) -> dict[str, Any]:
    """A job of all clips with windows and contributions, which has ended."""
    files = [server.put(clip) for clip in clips]
    job = server.job(files, windows=0.5, why=True, transcript={files[0]: "so proud"})
    assert job["state"] == "queued"
    return server.ended(job["id"])


def get(server: Served, job: dict[str, Any], name: str) -> bytes:
    answer = server.send("GET", job["links"][name])
    assert answer.status == 200, answer
    return answer.body


def test_a_job_completes_with_its_failed_clips_counted(done: dict[str, Any]) -> None:
    assert done["state"] == "completed"
    assert done["progress"] == {"done": 4, "failed": 1, "total": 4, "file": None, "stage": None}
    assert [file["name"] for file in done["files"]] == ["tone 0.mp4", "tone 1.mp4", "tone 2.mp4", "broken.mp4"]
    *good, bad = done["files"]
    assert all(file["state"] == "completed" and file["reason"] is None for file in good)
    assert bad["state"] == "failed"
    assert bad["reason"].startswith("broken.mp4: ")


def test_scores_are_those_of_mien_predict(server: Served, done: dict[str, Any], clips: list[Path], model: Path) -> None:
    found = json.loads(get(server, done, "scores.json"))
    with mien.load(model) as loaded:
        manifest = Manifest(clips[0].parent, (), tuple(
            Clip(clip.stem, clip, transcript="so proud" if n == 0 else None) for n, clip in enumerate(clips)
        ))  # fmt: skip
        made = loaded.predictions(manifest, windows=0.5, why=True)
        written = clips[0].parent / "expected.json"
        write_scores(loaded.document(made, windows=0.5), written)
    expected = json.loads(written.read_text())
    for clip in expected["clips"]:
        clip["path"] = Path(clip["path"]).name
        clip["error"] = clip["error"] and clip["error"].replace(str(clips[0].parent) + "/", "")
    assert found["clips"] == expected["clips"]
    del found["provenance"]["created"], expected["provenance"]["created"]
    assert found == expected


def test_every_format_of_the_results(server: Served, done: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(get(server, done, "scores.csv").decode())))
    assert [row["clip"] for row in rows] == ["tone 0", "tone 1", "tone 2", "broken"]
    assert float(rows[0]["Joy"])
    long = list(csv.DictReader(io.StringIO(get(server, done, "long.csv").decode())))
    assert len(long) >= 3 * 2
    windows = list(csv.DictReader(io.StringIO(get(server, done, "windows.csv").decode())))
    assert {row["clip"] for row in windows} == {"tone 0", "tone 1", "tone 2"}
    get(server, done, "words.csv")
    assert get(server, done, "why.csv")
    assert json.loads(get(server, done, "hume.json"))
    assert b"<html" in get(server, done, "report.html")
    for name in ("eaf", "TextGrid"):
        with zipfile.ZipFile(io.BytesIO(get(server, done, name))) as archive:
            assert {Path(one).stem for one in archive.namelist()} == {"tone_0", "tone_1", "tone_2"}
    with zipfile.ZipFile(io.BytesIO(get(server, done, "all.zip"))) as archive:
        assert {"scores.json", "scores.csv", "report.html", "hume.json"} <= set(archive.namelist())


def test_media_are_served_in_ranges(server: Served, done: dict[str, Any], clips: list[Path]) -> None:
    base = done["links"]["self"]
    part = server.send("GET", f"{base}/media/0", Range="bytes=4-7")
    assert (part.status, part.body) == (206, clips[0].read_bytes()[4:8])
    assert server.send("GET", f"{base}/media/4").status == 404


def test_a_job_without_windows_says_that_it_has_none(server: Served, clips: list[Path]) -> None:
    job = server.ended(server.job([server.put(clips[1], "a.mp4")])["id"])
    assert job["state"] == "completed"
    answer = server.send("GET", job["links"]["self"] + "/windows.csv")
    assert answer.status in (200, 409)
    assert server.send("GET", job["links"]["self"] + "/all.zip").status == 200


def test_a_job_of_which_no_clip_can_be_scored_fails(server: Served, clips: list[Path]) -> None:
    job = server.ended(server.job([server.put(clips[3])])["id"])
    assert job["state"] == "failed"
    assert job["reason"].startswith("1 clip, none could be scored (first: broken.mp4: ")
    assert str(server.data) not in json.dumps(job)


TUS = {"Tus_Resumable": "1.0.0"}


def test_an_upload_by_tus_goes_on_where_it_was_cut(server: Served, clips: list[Path]) -> None:
    content = clips[2].read_bytes()
    name = b64encode(b"../../tone.mp4").decode()
    made = server.send(
        "POST", "/v1/uploads", **TUS, Upload_Length=str(len(content)), Upload_Metadata=f"filename {name}"
    )
    assert made.status == 201
    place, total = made.headers["location"], 0
    for size in (1, 1000, len(content)):
        part = content[total : total + size]
        headers = {**TUS, "Upload_Offset": str(total), "Content_Type": "application/offset+octet-stream"}
        assert server.send("PATCH", place, part, **headers).status == 204
        total += len(part)
        found = server.send("HEAD", place, **TUS)
        assert found.headers["upload-offset"] == str(total)
    assert server.send("PATCH", place, b"x", **headers).status == 403
    job = server.ended(server.job([place.rpartition("/")[2]])["id"])
    assert job["state"] == "completed"
    assert job["files"][0]["name"] == "tone.mp4"
    assert job["files"][0]["bytes"] == len(content)


def test_events_of_a_job_come_in_order_and_resume(server: Served, done: dict[str, Any]) -> None:
    answer = server.send("GET", done["links"]["events"])
    events = [part.splitlines() for part in answer.body.decode().split("\n\n") if "event: " in part]
    kinds = [next(line[7:] for line in lines if line.startswith("event: ")) for lines in events]
    assert [kind for kind in kinds if kind != "progress"] == [
        "state", "state", "clip", "clip", "clip", "clip", "state", "done"
    ]  # fmt: skip
    last_clip = len(kinds) - 1 - kinds[::-1].index("clip")
    number = events[last_clip][0].removeprefix("id: ")
    rest = server.send("GET", done["links"]["events"], Last_Event_ID=number).body.decode()
    assert [line for line in rest.splitlines() if line.startswith("event: ")] == ["event: state", "event: done"]


def test_progress_names_the_file_and_what_is_done_with_it(server: Served, tmp_path: Path) -> None:
    """Two minutes in 1,180 windows take a few tenths of a second; what is shorter need not be seen."""
    clip = make_clip(tmp_path / "long.mkv", codec=None, seconds=120, sound="pcm_s16le", sound_rate=16_000,
                     layout="mono", wave=tone)  # fmt: skip
    job = server.job([server.put(clip), server.put(clip, "b.mkv")], windows=2.0, hop=0.1, why=True)
    seen, limit = [], time.monotonic() + 60
    while (found := server.send("GET", job["links"]["self"]).json)["state"] in ("queued", "running"):
        assert time.monotonic() < limit
        listed = server.send("GET", "/v1/jobs?state=running").json["jobs"]
        if found["progress"]["stage"] is not None:
            seen.append(found["progress"])
            (at_hand,) = [file for file in found["files"] if file["stage"] is not None]
            assert (at_hand["id"], at_hand["stage"]) == (found["progress"]["file"], found["progress"]["stage"])
            assert at_hand["state"] == "queued"
        assert all(one["progress"].keys() == found["progress"].keys() for one in listed)
    assert {one["stage"] for one in seen} & {"decoding", "speech", "audio", "scores"}
    assert {one["file"] for one in seen} <= {file["id"] for file in found["files"]}
    assert not [file for file in found["files"] if file["stage"] is not None]
    said = server.send("GET", job["links"]["events"]).body.decode()
    stages = [json.loads(part.splitlines()[2][6:]) for part in said.split("\n\n") if "event: progress" in part]
    assert {one["n"] for one in stages} <= {0, 1}
    assert {one["stage"] for one in stages} <= {"decoding", "speech", "text", "audio", "scores"}
    assert len(stages) >= len({(one["file"], one["stage"]) for one in seen})


def test_an_idempotency_key_gives_one_job(server: Served, clips: list[Path]) -> None:
    file = server.put(clips[0], "a.mp4")
    first, again = (server.send("POST", "/v1/jobs", {"files": [file]}, Idempotency_Key="k1") for _ in range(2))
    assert first.status == again.status == 202
    assert first.json["id"] == again.json["id"]
    other = server.send("POST", "/v1/jobs", {"files": [file], "why": True}, Idempotency_Key="k1")
    assert (other.status, other.headers["content-type"]) == (422, "application/problem+json")


def test_a_deleted_job_leaves_nothing(server: Served, clips: list[Path]) -> None:
    job = server.job([server.put(clips[0], "a.mp4") for _ in range(3)])
    assert server.send("DELETE", job["links"]["self"]).status == 204
    assert server.send("GET", job["links"]["self"]).status == 404
    later = server.ended(server.job([server.put(clips[0], "a.mp4")])["id"])  # the worker goes on
    assert later["state"] == "completed"
    assert not list(server.data.rglob(f"*{job['id']}*"))


def test_the_page_gets_a_cookie_for_its_token_once(server: Served) -> None:
    first = server.send("GET", f"/?token={server.token}", key=None)
    assert first.status == 303
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert server.send("GET", f"/?token={server.token}", key=None).status == 401
    assert server.send("GET", "/v1/jobs", key=None, Cookie=cookie.partition(";")[0]).status == 200
    assert server.send("GET", "/v1/jobs", key=None).status == 401


def test_sigterm_ends_with_success(model: Path, tmp_path: Path) -> None:
    """Also that an OpenTelemetry collector in the environment gets nothing: its exporter would be missing."""
    with served(
        model, tmp_path / "data", FASTAPI_OTEL_AUTO_CONFIGURE="true", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"
    ) as one:
        one.ready()
        assert one.stop() == 0
    assert (tmp_path / "data" / "serve.db").stat().st_mode & 0o077 == 0


def test_a_model_that_ships_with_mien_is_served_by_its_name(tmp_path: Path) -> None:
    with served(Path("words-en"), tmp_path / "data", "--workers", "0") as one:
        assert one.process.poll() is None
    command = [sys.executable, "-m", "mien.cli", "serve", "words-fr", "--data", str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ships with mien: words-en" in done.stderr


@pytest.mark.parametrize("sent", ["", "bytes=100000-199999"])
def test_a_file_that_is_deleted_while_it_is_sent_is_sent_whole(tmp_path: Path, sent: str) -> None:
    file = tmp_path / "a.mp4"
    content = random.Random(0).randbytes(300_000)
    file.write_bytes(content)
    answer = OpenFileResponse(file, "video/mp4", {})
    file.unlink()
    got: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        got.append(message)

    async def receive() -> Any:
        await asyncio.sleep(60)

    scope = {"type": "http", "method": "GET", "headers": [(b"range", sent.encode())] if sent else []}
    asyncio.run(answer({**scope, "asgi": {"spec_version": "2.3"}}, receive, send))
    assert got[0]["status"] == (206 if sent else 200)
    body = b"".join(message["body"] for message in got[1:])
    assert body == (content[100_000:200_000] if sent else content)
    with pytest.raises(FileNotFoundError):
        OpenFileResponse(file, "video/mp4", {})
