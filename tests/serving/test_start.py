"""What cannot work is said at the start, in one line: a model that no worker can load, a password that all can read."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.cli.options import set_overrides
from mien.config import read_local
from mien.serving import run, supervisor
from tests.serving.live import served

SHORT = ("--limit", "lease_seconds=1")


def test_a_model_that_no_worker_can_load_ends_the_server(model: Path, tmp_path: Path) -> None:
    """It says why on /readyz while it tries, and in its last line; neither has a folder of the machine."""
    broken = tmp_path / "hidden" / "broken"
    shutil.copytree(model / "model", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with served(broken, tmp_path / "data", *SHORT) as one:
        said, limit = "", time.monotonic() + 60
        while one.process.poll() is None:
            if not said.count("damaged"):
                try:
                    said = one.send("GET", "/readyz", key=None).json["detail"]
                except OSError:
                    continue
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert one.process.returncode == 1
    assert said.startswith("no worker has a model loaded; the last one that tried: broken/model.safetensors: damaged")
    last = (tmp_path / "data.log").read_text().splitlines()[-1]
    assert last.startswith(
        "mien: no worker could load the model, so the server ended: broken/model.safetensors: damaged"
    )
    assert not {"Traceback", str(tmp_path)} & {*last.split(), *said.split()}


WORKER = """
import os, sys
tries = sys.argv[1]
with open(tries, "a") as file:
    file.write("x")
if os.path.getsize(tries) == 1:
    os.write(0, b"ready\\n")
else:
    os.write(0, b"failed the disk is gone\\n")
sys.exit(1)
"""


@pytest.mark.parametrize("loaded", [True, False])
def test_a_server_whose_workers_once_had_the_model_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    """Its results can still be fetched, and what is wrong now may pass. Four workers, of which the first was ready."""
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.05)
    tries = tmp_path / "tries"
    tries.write_text("" if loaded else "x")
    made = supervisor.Supervisor(1, [], {}, patience_seconds=0.0)
    made._command = [sys.executable, "-c", WORKER, str(tries)]
    made.start()
    limit = time.monotonic() + 60
    while len(tries.read_text()) < (5 if loaded else 4):
        assert time.monotonic() < limit
        time.sleep(0.02)
    if not loaded:
        made._threads[0].join(20)
    assert made.gave_up is not loaded
    made.stop(20)
    assert made.trouble == "the disk is gone"


@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize("address", ["postgresql://mien:geheim@db/mien", "postgresql://db/mien?password=geheim"])
def test_a_password_among_the_arguments_is_refused(command: str, address: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mien.cli", command, "words-en", "--data", str(tmp_path), f"--database={address}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("mien: --database: other users of this machine can read a password")
    assert "MIEN_DATABASE" in done.stderr and "geheim" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_workers_share_the_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("mien.scale.cores", lambda: 6)
    assert [run.share_of_cores(workers) for workers in (0, 1, 2, 7)] == [6, 6, 3, 1]
    given = [*run._share(2), "--set", "compute.threads=5"]
    assert read_local(set_overrides(given[1::2])).compute.threads == 5
    assert read_local(set_overrides(given[1:2])).compute.threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert run._share(2) == []
