"""Other people's clients, each in an environment of its own in the user's cache.

``python3 tests/serving/clients.py`` installs them, with nothing but the standard library.
"""

import os
import subprocess
import sys
from pathlib import Path

HUME, TUS, WEBHOOKS = ("hume==0.13.13", "hume==0.12.1"), "tuspy==1.1.0", "standardwebhooks==1.0.0"


def python_with(client: str) -> Path:
    """The interpreter of an environment with a client (``name==version``), which is installed if needed.

    Raises:
        RuntimeError: it is not installed, and cannot be.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mien-tests" / client.replace("==", "-")
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and python.exists():
        return python
    if os.environ.get("MIEN_NO_NETWORK"):
        raise RuntimeError(f"{client} is not installed, and MIEN_NO_NETWORK is set")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", client]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], install):
        try:
            subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=240)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            raise RuntimeError(f"{client} cannot be installed ({said[-1] if said else error})") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{client} cannot be installed ({error})") from error
    ready.touch()
    return python


if __name__ == "__main__":
    for wanted in (*HUME, TUS, WEBHOOKS):
        try:
            print(python_with(wanted))
        except RuntimeError as failed:
            print(f"{failed}; its test will be skipped", file=sys.stderr)
