"""The damaged and hostile files of the media tests, uploaded: one never stops the others, and each has its reason."""

import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from mien.serving.names import file_name
from mien.weights import Weights
from tests.badmedia.mutations import Bad, table
from tests.badmedia.sources import make_sources
from tests.badmedia.test_badmedia import model_of_noise, small_settings
from tests.serving.live import Served, served

FATES = {"scored": {"completed"}, "refused": {"failed"}, "either": {"completed", "failed"}}
MOST = 100
"""Files of a job."""


@dataclass
class Suite:
    """The rows that are files, with their bytes, and what a server that must never be asked was asked."""

    rows: list[tuple[Bad, bytes]]
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    root, made = tmp_path_factory.mktemp("bad"), Suite([])

    class Witness(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.send_error(404)

    witness = ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    threading.Thread(target=witness.serve_forever, daemon=True).start()
    for bad in table(make_sources(root / ".whole"), root, f"http://127.0.0.1:{witness.server_port}"):
        path = root / bad.name
        bad.put(path)
        if path.is_file() and not path.is_symlink():
            made.rows.append((bad, path.read_bytes()))
    yield made
    witness.shutdown()
    witness.server_close()


def send(server: Served, bad: Bad, content: bytes) -> str | None:
    """Upload a file under its name; its id, or ``None`` for an empty one, which is refused at once."""
    answer = server.send("PUT", f"/v1/files?name={quote(os.fsencode(bad.name))}", content)
    if not content:
        assert answer.status == 422 and "empty" in answer.json["detail"]
        return None
    assert answer.status == 201, (bad.name, answer)
    return answer.json["id"]


def judge(server: Served, job: dict[str, Any], rows: Sequence[Bad]) -> int:
    """Each file of an ended job has the state it must have, and a reason that shows nothing of the server."""
    assert job["state"] == "completed"
    scored = {clip["path"]: clip for clip in server.send("GET", job["links"]["scores.json"]).json["clips"]}
    said = server.send("GET", job["links"]["scores.json"]).body.decode() + str(job["files"])
    for secret in (str(server.data), "/jobs/", f"{job['id']}-", str(Path.home()), "site-packages", "Traceback"):
        assert secret not in said, secret
    for file, bad in zip(job["files"], rows, strict=True):
        assert file["state"] in FATES[bad.must], (bad.name, file)
        assert (file["reason"] is not None) == (file["state"] == "failed")
        assert file["name"] in scored
        if file["reason"] is not None:
            assert file["name"][:100] in file["reason"], file
            assert file["reason"].isprintable() and len(file["reason"]) <= 600
            assert not re.search(r"(?<![\w:/])/(?:\w+/)+\w", file["reason"].replace(file["name"], "")), file
    return sum(file["state"] == "completed" for file in job["files"])


def test_one_job_of_bad_files_completes_with_a_reason_for_each(server: Served, suite: Suite) -> None:
    few = [(bad, content) for bad, content in suite.rows if bad.quick]
    assert len(few) >= 30
    ids = [send(server, bad, content) for bad, content in few]
    workers = server.workers()
    job = server.ended(server.job([name for name in ids if name is not None])["id"], 120)
    good = judge(server, job, [bad for (bad, _), name in zip(few, ids, strict=True) if name is not None])
    assert 5 <= good < len(job["files"])
    assert server.workers() == workers  # only decoders may be lost
    assert not suite.asked


@pytest.mark.soak
@pytest.mark.weights
@pytest.mark.timeout(3600)
def test_jobs_of_all_bad_files_complete(suite: Suite, small_weights: dict[str, Weights], tmp_path: Path) -> None:
    """With a model that looks and hears; also that the names become those of the client's files."""
    model = model_of_noise(tmp_path, small_settings())
    rows = [(bad, content) for bad, content in suite.rows if content]
    Random(1).shuffle(rows)  # no job is of one kind
    with served(model, tmp_path / "data") as one:
        one.ready()
        good = 0
        for first in range(0, len(rows), MOST):
            part = rows[first : first + MOST]
            ids = [send(one, bad, content) for bad, content in part]
            job = one.ended(one.job([name for name in ids if name is not None])["id"], 1800)
            assert [file["name"] for file in job["files"]] == [file_name(_as_sent(bad.name)) for bad, _ in part]
            good += judge(one, job, [bad for bad, _ in part])
        assert one.stop() == 0
    print(f"\n{len(rows)} bad files over HTTP: {good} scored, {len(rows) - good} refused with a reason")
    assert not suite.asked


def _as_sent(name: str) -> str:
    """A name whose bytes are not UTF-8 loses them on its way through an address."""
    return os.fsencode(name).decode("utf-8", "replace")
