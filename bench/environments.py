"""Environments that only benchmarks need: with MediaPipe, and with an earlier version of mien.

mien itself does without MediaPipe, whose wheel brings another build of OpenCV. So it is installed into an environment
of its own, ``build/bench/mediapipe``, which sees everything else that is installed here.
"""

import io
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from material import SCRATCH

MEDIAPIPE = ("mediapipe==1.2.2", "opencv-contrib-python==5.0.0.93", "sounddevice==0.5.6")
ROOT = Path(__file__).parents[1]


def mediapipe_python() -> str:
    """The Python of the environment with MediaPipe, which is made at first use (pip needs its index)."""
    folder = SCRATCH / "mediapipe"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        here = [path for path in sys.path[1:] if path and not path.startswith(sys.base_prefix + "/lib")]
        (packages / "zz_here.pth").write_text("\n".join(here) + "\n", encoding="utf-8")  # after its own packages
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *MEDIAPIPE], check=True)
        (folder / "ready").touch()
    return str(python)


def source_of(commit: str) -> Path:
    """The folder ``src`` of an earlier commit, to be put on ``PYTHONPATH``."""
    folder = SCRATCH / f"mien-{commit[:12]}"
    if not folder.exists():
        archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
    return folder / "src"
