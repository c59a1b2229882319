"""A model to serve, clips to score, a server for all tests that leave it as it is, and PostgreSQL."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mien
from mien.config import read_settings
from tests.media.clips import make_clip, tone
from tests.serving.live import Served, served

collect_ignore_glob = ["*_program.py"]
"""Programs for the clients of others, which run in environments of their own."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a model that hears and reads, on random backbones."""
    return make_model(tmp_path_factory.mktemp("model") / "first", 0)


def make_model(root: Path, seed: int = 0) -> Path:
    """Train on sixteen rated tones with words beside them, on random backbones."""
    (root / "text").mkdir(parents=True)
    rows = ["id,path,split,participant,Joy,Awe"]
    for number in range(16):
        make_clip(
            root / f"{number:02d}.mkv", codec=None, seconds=0.4, sound="pcm_s16le", sound_rate=16_000, layout="mono",
            wave=lambda t, pitch=1 + number / 8: tone(pitch * t),
        )  # fmt: skip
        (root / "text" / f"{number:02d}.txt").write_text("so happy " * (number // 4 + 1))
        split = "valid" if number % 4 == 0 else "train"
        rows.append(f"{number:02d},{number:02d}.mkv,{split},p{number % 8},{number / 16},{1 - number / 16}")
    (root / "clips.csv").write_text("\n".join(rows))
    settings = read_settings(
        overrides=["weights=tiny", "modalities=[text, audio]", f"seeds=[{seed}]", "stage1.epochs=1",
                   "stage2.epochs=1", "compute.precision=float32"]
    )  # fmt: skip
    mien.extract(root / "clips.csv", root / "features", settings, progress=False)
    mien.train(root / "clips.csv", root / "features", root / "run", settings, progress=False)
    return root / "run"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tones of a second, and a file that is no clip."""
    root = tmp_path_factory.mktemp("clips")
    made = [
        make_clip(root / f"tone {n}.mp4", seconds=1.0, sound_rate=16_000, layout="mono",
                  wave=lambda t, n=n: tone((1 + n / 4) * t))
        for n in range(3)
    ]  # fmt: skip
    (root / "broken.mp4").write_bytes(b"nothing that could be decoded")
    return [*made, root / "broken.mp4"]


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with one worker, for tests that leave it running."""
    data = tmp_path_factory.mktemp("served") / "data"
    with served(model, data, limits=("webhook_hosts=[127.0.0.1]",)) as one:
        one.ready()
        yield one


@dataclass(frozen=True)
class PostgreSQL:
    """A server of PostgreSQL that listens on a unix socket; it may be stopped at once and started again."""

    binaries: Path
    root: Path
    user: dict[str, str]

    @property
    def address(self) -> str:
        """``{}`` in it is the name of a database that exists."""
        return f"postgresql://mien@/{{}}?host={self.root}"

    def run(self, *words: str) -> None:
        command = [str(self.binaries / words[0]), *words[1:]]
        subprocess.run(command, check=True, capture_output=True, cwd=self.root, **self.user)

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.root} -c fsync=off -c max_connections=100"
        self.run("pg_ctl", "-D", str(self.root / "data"), "-l", str(self.root / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.root / "data"), "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """PostgreSQL of the system; without it, the tests are skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    binaries = found[-1].parent if found else Path(shutil.which("initdb") or "").parent
    if not (binaries / "pg_ctl").exists():
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    root = tmp_path_factory.mktemp("pg")
    user: dict[str, str] = {}
    if os.getuid() == 0:  # it refuses to run as root
        user = {"user": "nobody"}
        nobody = pwd.getpwnam("nobody")
        os.chown(root, nobody.pw_uid, nobody.pw_gid)
        for folder in root.parents[:3]:
            if folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o011)
    made = PostgreSQL(binaries, root, user)
    made.run("initdb", "-D", str(root / "data"), "-U", "mien", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """An empty database: ``None`` for SQLite, else an address."""
    if request.param == "sqlite":
        return None
    return new_database(request.getfixturevalue("postgresql").address, f"db{os.urandom(6).hex()}")


def new_database(address: str, name: str) -> str:
    import psycopg

    with psycopg.connect(address.format("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')  # type: ignore[arg-type]
    return address.format(name)
