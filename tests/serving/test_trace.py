"""The server at the level of system calls: its connections, the programs that it starts, and the files that it writes.

Everything that it starts is traced: the web process, a worker, what scores a live session, and their decoders.
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.model.model_folder import save_bundle
from mien.storage.files import cache_folder
from tests.inference.test_live import model_of
from tests.media.clips import make_clip
from tests.serving.live import served
from tests.serving.test_live import START, opened, read, send, slices
from tests.serving.test_webhooks import Receiver
from tests.test_privacy import CALLS, MADE, STARTED, WRITTEN

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

SOCKET = re.compile(r"\bsocket\(AF_INET6?(?!.* = -1)")  # also one whose result strace wrote on a line of its own
CONNECTED = re.compile(
    r"\bconnect\(\d+, \{sa_family=(AF_\w+), (?:sin_port=htons\((\d+)\), sin_addr=inet_addr\(\"([^\"]+)\"\))?"
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_server_connects_to_nothing_but_a_webhook_and_writes_nothing_but_its_data(
    clips: list[Path], tmp_path: Path, receiver: Receiver
) -> None:
    home, temporary, log = tmp_path / "home", tmp_path / "tmp", tmp_path / "strace.log"
    home.mkdir()
    save_bundle(model_of("audio").bundle, tmp_path / "model")
    temporary.mkdir()
    strace = ("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-s", "200", "-e", CALLS, "-e", "signal=none")
    clean = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    clean["MIEN_CACHE"] = str(cache_folder())
    tones = make_clip(tmp_path / "tones.mka", codec=None, seconds=3.0, sound="libopus", sound_rate=48_000)
    limits = ("webhook_hosts=[127.0.0.1]",)
    with served(tmp_path / "model", tmp_path / "data", limits=limits, before=(*strace, "-o", str(log)), **clean) as one:
        one.ready()
        job = one.job([one.put(clip) for clip in clips], windows=0.5, webhook=f"http://127.0.0.1:{receiver.port}/done")
        done = one.ended(job["id"])
        assert done["state"] == "completed"
        assert one.send("GET", done["links"]["all.zip"]).status == 200
        with opened(one) as socket:
            send(socket, START)
            first = read(socket, "ready")
            assert first[-1] == {"type": "ready"}, first
            send(socket, *slices(tones.read_bytes()), {"type": "stop"})
            assert read(socket)[-1]["windows"] == 2
        limit = time.monotonic() + 20
        while not receiver.got:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert one.stop() == 0
    time.sleep(0.5)  # the tracer ends after what it traces
    lines = log.read_text(errors="replace").splitlines()
    connected = {found.groups() for line in lines if (found := CONNECTED.search(line))}
    assert connected == {("AF_INET", str(receiver.port), "127.0.0.1")}
    assert len([line for line in lines if SOCKET.search(line)]) == 2  # to listen, and the webhook's
    written = {tmp_path / found[1] for line in lines for kind in (WRITTEN, MADE) if (found := kind.search(line))}
    ours = (tmp_path / "data", temporary, cache_folder(), Path("/dev"), Path("/proc"))
    ours += (Path("/var/cache/fontconfig"),)  # by fc-list, as root, where the system's fonts are new
    assert [path for path in written if not any(path.is_relative_to(place) for place in ours)] == []
    assert list(home.rglob("*")) == []
    started = [found[1] for line in lines if (found := STARTED.search(line))]
    assert len(started) >= 4  # a worker, a live session, and their decoders
    assert {Path(name).name.rstrip("0123456789.") for name in started} <= {"python", "fc-list"}
