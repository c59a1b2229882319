"""Versions of the Python client ``hume``, each in an environment of its own in the user's cache.

``python3 tests/serving/hume_sdk.py`` installs them, with nothing but the standard library.
"""

import os
import subprocess
import sys
from pathlib import Path

VERSIONS = ("0.13.13", "0.12.1")


def python_with(version: str) -> Path:
    """The interpreter of an environment with a version, which is installed if needed.

    Raises:
        RuntimeError: it is not installed, and cannot be.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mien-tests" / f"hume-{version}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and python.exists():
        return python
    if os.environ.get("MIEN_NO_NETWORK"):
        raise RuntimeError(f"hume {version} is not installed, and MIEN_NO_NETWORK is set")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"hume=={version}"]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], install):
        try:
            subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=240)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            raise RuntimeError(f"hume {version} cannot be installed ({said[-1] if said else error})") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"hume {version} cannot be installed ({error})") from error
    ready.touch()
    return python


if __name__ == "__main__":
    for wanted in VERSIONS:
        try:
            print(python_with(wanted))
        except RuntimeError as failed:
            print(f"{failed}; its test will be skipped", file=sys.stderr)
