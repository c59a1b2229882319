"""Whatever is sent to the interface, it answers as its description says, and never with a fault of the server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.live import Served

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance," \
         "response_schema_conformance,ignored_auth"  # fmt: skip


def fuzzed(server: Served, clips: list[Path], folder: Path, *options: str) -> str:
    """Run schemathesis on a server; what it reports."""
    job = server.ended(server.job([server.put(clips[0], "a.mp4")])["id"])["id"]
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/v1/openapi.json",
        "-H", f"Authorization: Bearer {server.key}", "--checks", CHECKS, "--request-timeout", "30", "--seed", "1",
        "--continue-on-failure", "--warnings", "off", *options,
    ]  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    known = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.serving.fuzz_hooks", "FUZZ_JOB": job}
    known["PYTHONPATH"] = os.pathsep.join([str(root), known.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=known)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


def test_no_request_is_a_fault_of_the_server(server: Served, clips: list[Path], tmp_path: Path) -> None:
    said = fuzzed(server, clips, tmp_path, "--phases", "fuzzing", "-n", "6")
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) >= 27  # operations
    found = re.search(r"(\d+) generated", said)
    assert found is not None
    assert int(found[1]) > 80


@pytest.mark.soak
def test_no_sequence_of_requests_is_a_fault_of_the_server(server: Served, clips: list[Path], tmp_path: Path) -> None:
    said = fuzzed(server, clips, tmp_path, "--phases", "coverage,fuzzing,stateful", "-n", "200")
    print(said[said.index("API Operations:", said.index("SUMMARY")) :])
