"""The page on the server: its table is that of the settings, and its commands run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mien.serving.settings import ServeSettings
from tests.serving.live import Served

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve.md"


def test_the_table_of_limits_has_every_limit_with_its_default() -> None:
    found = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE.read_text().partition("## Limits")[2], re.MULTILINE))
    expected = {
        name: "[]" if one.default == () else f"{one.default:,.15g}" for name, one in ServeSettings.model_fields.items()
    }
    assert found == expected


def test_the_commands_of_the_page_score_a_clip(server: Served, clips: list[Path], tmp_path: Path) -> None:
    if not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("curl and jq are not installed")
    shutil.copy(clips[0], tmp_path / "clip.mp4")
    (tmp_path / "served").symlink_to(server.data)
    score, tus = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]
    script = f'set -euo pipefail\n{score}\n{tus}\ncurl -sI "${{TUS[@]}}" $HERE$PLACE | grep -i upload-offset\n'
    done = subprocess.run(
        ["bash", "-c", script.replace("http://localhost:8321", f"http://localhost:{server.port}")],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"completed"' in done.stdout
    assert '"Joy","Awe"' in done.stdout
    offsets = re.findall(r"upload-offset: (\d+)", done.stdout, re.IGNORECASE)
    assert offsets == ["0", str(clips[0].stat().st_size)]


def test_the_web_process_loads_no_torch() -> None:
    """Its memory stays small, and it starts in a second."""
    said = "import sys, mien.serving.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
