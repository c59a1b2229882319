"""The files in ``deploy/``: the container, compose, the systemd units, and the script that installs."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mien.cli import app
from tests.serving.live import Served

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
CONTAINER = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PINNED = re.compile(r"[^:@]+(:\d+\.\d+[\w.-]*)?(@sha256:[0-9a-f]{64})?")


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a recipe, with continued lines joined and comments removed."""
    plain = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE))
    split = (line.split(None, 1) for line in plain.splitlines() if line.strip())
    return [(one[0].upper(), one[1].strip()) for one in split]


def is_pinned(image: str) -> bool:
    return PINNED.fullmatch(image) is not None and (":" in image) and not image.endswith(":latest")


def complaints(text: str) -> list[str]:
    """What is wrong with a recipe of a container."""
    given = instructions(text)
    defaults = dict(value.split("=", 1) for name, value in given if name == "ARG" and "=" in value)
    images = [re.sub(r"\$\{(\w+)\}", lambda m: defaults.get(m[1], ""), value.split()[0])
              for name, value in given if name == "FROM"]  # fmt: skip
    last = given[max(n for n, (name, _) in enumerate(given) if name == "FROM") :]
    found = [f"not pinned: {image}" for image in images if not is_pinned(image)]
    users = [value for name, value in last if name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.append("runs as root")
    found += [f"ADD {value}" for name, value in given if name == "ADD"]
    if not any(name == "HEALTHCHECK" and value != "NONE" for name, value in last):
        found.append("no HEALTHCHECK")
    named = [value for name, value in given if name in ("ENV", "ARG")]
    found += [f"secret: {value}" for value in named if re.search(r"(?i)passw|secret|token|_key\b|MIEN_DATABASE", value)]
    for value in (value for name, value in given if name == "RUN"):
        if "apt-get install" in value and not (
            "--no-install-recommends" in value and "rm -rf /var/lib/apt/lists" in value
        ):
            found.append("apt-get leaves its lists, or installs what is only recommended")
        if re.search(r"\bsudo\b|chmod (-R )?777|curl .*\| *(ba)?sh|--trusted-host", value):
            found.append(f"unsafe: {value}")
    for name, value in given:
        if name in ("CMD", "ENTRYPOINT") and not value.startswith("["):
            found.append(f"{name} in a shell would not pass SIGTERM on")
    return found


def test_the_container_is_pinned_without_root_and_secrets_and_says_whether_it_is_healthy() -> None:
    assert complaints(CONTAINER) == []
    run = " ".join(value for name, value in instructions(CONTAINER) if name == "RUN")
    assert "deploy/install.sh" in run  # the script that is tested here
    for _, value in (one for one in instructions(CONTAINER) if one[0] == "COPY" and "--from" not in one[1]):
        assert all((ROOT / source).exists() for source in value.split()[:-1])
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*" and all((ROOT / line[1:]).exists() for line in ignored if line.startswith("!"))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("python:3.11.14-slim-bookworm", "python:latest", "not pinned"),
        ("python:3.11.14-slim-bookworm", "python", "not pinned"),
        ("USER 10001:10001\n", "", "runs as root"),
        ("USER 10001:10001", "USER root", "runs as root"),
        ("COPY src src", "ADD https://example.org/src.tar.gz /", "ADD "),
        ("HEALTHCHECK ", "LABEL health=", "no HEALTHCHECK"),
        ("ENV PATH", "ENV MIEN_DATABASE=postgresql://mien:secret@db/mien PATH", "secret: "),
        ("USER 10001:10001\n", "RUN apt-get install -y curl\nUSER 10001:10001\n", "apt-get "),
        ('CMD ["serve", "/model", "--data", "/data", "--host", "0.0.0.0"]', "CMD serve /model", "CMD in a shell"),
    ],
)
def test_a_careless_change_of_the_container_is_noticed(old: str, new: str, complaint: str) -> None:
    assert old in CONTAINER
    found = complaints(CONTAINER.replace(old, new))
    assert found and found[0].startswith(complaint)


def test_the_health_check_is_true_for_a_server_that_runs_and_false_for_none(server: Served) -> None:
    [check] = [value for name, value in instructions(CONTAINER) if name == "HEALTHCHECK"]
    words = yaml.safe_load(check[check.index("[") :])
    assert words[:2] == ["python", "-c"]
    for port, healthy in ((server.port, True), (1, False)):
        code = words[2].replace("8321", str(port))
        assert (subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0) is healthy


def parses(words: Sequence[str]) -> dict[str, Any]:
    """Options of a ``mien`` command, which must exist."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group.commands[words[0]].make_context(words[0], list(words[1:])).params


def test_commands_of_containers_and_units_exist() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    [command] = [value for name, value in instructions(CONTAINER) if name == "CMD"]
    shown = [yaml.safe_load(command), services["web"]["command"], services["worker"]["command"]]
    shown += [shlex.split(read_unit(unit)["Service"]["ExecStart"])[1:] for unit in UNITS]
    options = [parses(words) for words in shown]
    assert [one.get("workers") for one in options] == [1, 0, None, 0, None]
    assert all(one["host"] == "0.0.0.0" for one in options if "host" in one)


def test_workers_and_the_database_have_no_way_out_and_nothing_is_written_to_an_image() -> None:
    made = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = made["services"]
    assert made["networks"]["inside"] == {"internal": True}
    for name in ("worker", "database"):
        assert services[name]["networks"] == ["inside"] and "ports" not in services[name]
    assert services["web"]["ports"] == ["127.0.0.1:8321:8321"]
    for service in services.values():
        assert service["read_only"] is True
        assert "no-new-privileges:true" in service["security_opt"]
        assert is_pinned(service["image"]) or service["build"]["dockerfile"] == "deploy/Containerfile"
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service)
        named = {volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith("$")}
        assert named <= set(made["volumes"])
        for name, value in service["environment"].items():
            assert "PASSWORD:?" in value or name in ("POSTGRES_USER", "POSTGRES_DB")


def read_unit(file: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(file.read_text(encoding="utf-8"))
    return unit


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_as_nobody_in_particular_and_workers_without_network(unit: Path) -> None:
    service = read_unit(unit)["Service"]
    assert (service["DynamicUser"], service["User"], service["StateDirectory"]) == ("yes", "mien", "mien")
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelTunables", "RestrictSUIDSGID"):
        assert service[name] == "yes"
    assert (service["ProtectSystem"], service["KillMode"]) == ("strict", "mixed")
    assert service.get("PrivateNetwork") == ("yes" if "worker" in unit.name else None)
    assert ("AF_INET" in service["RestrictAddressFamilies"].split()) is ("worker" not in unit.name)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    files = []
    for unit in UNITS:
        file = tmp_path / unit.name.replace("@.", "@1.")
        text = unit.read_text(encoding="utf-8").replace("/opt/mien/bin/mien", shutil.which("true") or "/bin/true")
        file.write_text(text, encoding="utf-8")
        files.append(file)
    checked = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    if "Failed to initialize manager" in checked.stderr:
        pytest.skip(f"systemd-analyze does not work here ({checked.stderr.strip()[:100]})")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_script_that_installs_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    script = str(DEPLOY / "install.sh")
    assert subprocess.run(["sh", "-n", script]).returncode == 0
    for words, status, said in (((), 2, "usage"), ((str(tmp_path / "new"), "gpu"), 2, "gpu: expected cpu, default")):
        done = subprocess.run(["sh", script, *words], capture_output=True, text=True)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.soak
def test_the_script_installs_a_server_that_starts(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["sh", DEPLOY / "install.sh", tmp_path / "mien", "default"], capture_output=True, text=True, env=environment
    )
    if re.search(r"Temporary failure|ConnectionError|No matching distribution|Connection refused", done.stderr):
        pytest.skip(f"packages cannot be fetched here ({done.stderr.strip().splitlines()[-1]})")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(tmp_path / "mien" / "bin" / "mien")
    words = ["-c", "import mien.serving.web.app, multipart, faster_whisper, ai_edge_litert, cv2; print(mien.__file__)"]
    shown = subprocess.run([tmp_path / "mien" / "bin" / "python", *words], capture_output=True, text=True,
                           env=environment, cwd=tmp_path)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(str(tmp_path / "mien"))  # not the source beside the script
