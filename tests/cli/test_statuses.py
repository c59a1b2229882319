"""The status says what became of the clips: 0 all, 3 some, 1 none."""

from pathlib import Path

import pytest

from tests.faults.jobs import EXTRACTION, command, sound_clip


@pytest.mark.parametrize(("good", "bad", "status"), [(1, 0, 0), (1, 1, 3), (0, 2, 1)])
def test_extract_says_by_its_status_whether_clips_failed(good: int, bad: int, status: int, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(good):
        sound_clip(tmp_path / "clips" / f"{number}.mkv", 0.3, 1.0)
    for number in range(bad):
        (tmp_path / "clips" / f"bad{number}.mp4").write_bytes(b"not a video")
    settings = [word for each in EXTRACTION for word in ("--set", each)]
    for _ in range(2):  # those that are made already change nothing
        found, said, _ = command(
            "extract", tmp_path / "clips", "--out", tmp_path / "store", "-q", *settings, said=tmp_path / "said"
        )
        assert found == status
        assert f"{bad} failed" in said
