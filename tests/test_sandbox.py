"""What the kernel refuses, tried in separate processes: neither guard can be undone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mien import sandbox
from mien.config import ComputeSettings, MediaSettings
from mien.media.decoder import DecoderClient

pytestmark = pytest.mark.skipif(bool(sandbox.network_guard()), reason=sandbox.network_guard() or "guarded")

TRIES = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from mien import sandbox

def fate(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"

def of(family):
    return fate(lambda: socket.socket(family, socket.SOCK_DGRAM).close())

FAMILIES = {name: getattr(socket, name) for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_PACKET", "AF_NETLINK")}

def sockets():
    return {name: of(family) for name, family in FAMILIES.items()}

def ring():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 8, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
"""


def run_python(code: str, **environment: str) -> dict[str, object]:
    run = [sys.executable, "-c", TRIES + code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REFUSED = {"AF_INET": "EPERM", "AF_INET6": "EPERM", "AF_UNIX": "EPERM", "AF_PACKET": "EPERM", "AF_NETLINK": "done"}


def test_a_process_without_network_has_no_socket_in_any_thread_child_or_ring() -> None:
    """Also in a thread that ran before, in what it starts, through io_uring, and through the names of hosts."""
    found = run_python("""
go, late = threading.Event(), []
thread = threading.Thread(target=lambda: (go.wait(), late.append(sockets())))
thread.start()
before = sockets()
assert sandbox.deny_network()
assert sandbox.deny_network()
go.set(); thread.join()
child = subprocess.run([sys.executable, "-c", "import socket; socket.socket()"], capture_output=True, text=True)
pair = fate(lambda: [end.close() for end in socket.socketpair()])
name = fate(lambda: socket.getaddrinfo("example.org", 80))
print(json.dumps({"before": before, "here": sockets(), "thread": late[0], "child": child.stderr, "pair": pair,
                  "name": name, "ring": fate(ring), "hub": os.environ["HF_HUB_OFFLINE"]}))
""")
    assert found["before"] != REFUSED
    assert found["here"] == found["thread"] == REFUSED
    assert "PermissionError" in str(found["child"])
    assert (found["pair"], found["hub"]) == ("done", "1")
    assert found["name"] != "done"
    assert found["ring"] == "EPERM"


def test_a_process_that_is_not_ours_keeps_its_network_and_only_our_thread_has_none() -> None:
    found = run_python("""
import concurrent.futures
def inner():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # as native libraries start threads of theirs
        return sockets(), pool.submit(sockets).result()
with sandbox.offline() as call:
    ours, started = call(inner)
    same = call(threading.get_ident) == call(threading.get_ident) != threading.get_ident()
    fault = fate(lambda: call(os.stat, "/proc/nowhere"))
print(json.dumps({"ours": ours, "started": started, "host": sockets(), "same": same, "fault": fault,
                  "hub": os.environ.get("HF_HUB_OFFLINE"), "ort": os.environ["ORT_DISABLE_TELEMETRY"]}))
""")
    assert found["ours"] == found["started"] == REFUSED
    assert found["host"] != REFUSED
    assert (found["same"], found["fault"], found["hub"], found["ort"]) == (True, "ENOENT", None, "1")


def test_the_switch_takes_the_guard_away_and_is_reported() -> None:
    code = (
        "print(json.dumps([sandbox.deny_network(), sandbox.deny_files(), sandbox.network_guard(), of(socket.AF_INET)]))"
    )
    assert run_python(code, MIEN_SANDBOX="off") == [False, False, "MIEN_SANDBOX=off", "done"]


@pytest.mark.skipif(bool(sandbox.file_guard()), reason=sandbox.file_guard() or "guarded")
def test_a_process_without_files_works_on_what_is_open_and_on_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("all of it")
    found = run_python(f"""
os.chdir({str(tmp_path)!r})
open_file = open("open")
assert sandbox.deny_files()
print(json.dumps({{
    "held": open_file.read(), "open": fate(lambda: open("open")), "passwd": fate(lambda: open("/etc/passwd")),
    "make": fate(lambda: open("new", "w")), "folder": fate(lambda: os.mkdir("new")), "list": fate(os.listdir),
    "rename": fate(lambda: os.rename("open", "other")), "remove": fate(lambda: os.remove("open")),
    "run": fate(lambda: os.execv("/bin/true", ["true"])), "signal": fate(lambda: os.kill(os.getppid(), 0)),
}}))
""")
    held, signal = found.pop("held"), found.pop("signal")
    assert held == "all of it"
    assert set(found.values()) == {"EACCES"}
    assert signal in ("EPERM", "done")  # from Landlock's sixth version on
    assert (tmp_path / "open").exists()


@pytest.mark.skipif(bool(sandbox.file_guard()), reason=sandbox.file_guard() or "guarded")
def test_the_process_that_decodes_is_guarded_also_in_a_program_that_is_not_ours() -> None:
    decoder = DecoderClient(MediaSettings(), ComputeSettings())
    status = Path(f"/proc/{decoder.start().pid}/status")
    with pytest.raises(OSError):
        decoder.sha256(Path("/proc/nowhere"))
    assert decoder.sha256(Path(__file__))
    lines = dict(line.split(":\t") for line in status.read_text().splitlines() if line.startswith(("Seccomp", "NoNew")))
    assert (lines["Seccomp"], lines["NoNewPrivs"]) == ("2", "1")
    socket.socket().close()  # while this process has what it had
