"""A submission has the challenge's header, order, rows and range, and a wrong one is refused with its line."""

from dataclasses import replace
from pathlib import Path

import pytest

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.errors import DataError
from mien.evaluation.submission import check_submission, write_submission
from mien.features.store import Store
from mien.model.bundle import Bundle
from mien.model.model_folder import load_bundle
from mien.schema import EMOTIONS, Manifest
from mien.training import train
from tests.training.planted import planted

HEADER = ",".join(["Filename", *EMOTIONS])
QUICK = ["seeds=[0]", "stage1.embedding=8", "stage1.motion_embedding=4", "stage2.hidden=8", "stage1.epochs=1",
         "stage1.motion_epochs=1", "stage2.epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Manifest, Store]:
    """The challenge's folder with two test clips, one of which has no features; and a trained model."""
    root = tmp_path_factory.mktemp("challenge")
    made, store = planted(root / "store", train=20, valid=10)
    for split in ("train", "valid"):
        rows = [f"{c.id},{','.join(map(str, c.labels or ()))}" for c in made.clips if c.split == split]
        (root / f"{split}_split.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    zeros = ",0.0" * 6
    (root / "test_split.csv").write_text(f"{HEADER}\n99999{zeros}\n00021{zeros}\n".replace("00021", "10021"))
    manifest = read_manifest(root)
    train(manifest, store, read_settings(overrides=QUICK), root / "run")
    return load_bundle(root / "run"), manifest, store


def test_valid_clips_make_a_submission_that_checks(challenge: tuple[Bundle, Manifest, Store], tmp_path: Path) -> None:
    bundle, manifest, store = challenge
    write_submission(bundle, manifest, store, tmp_path / "p.csv", "valid", fill="mean")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert [line[:5] for line in lines[1:]] == [f"{i:05d}" for i in range(20, 30)]
    assert check_submission(tmp_path / "p.csv", manifest, "valid") == 10


def test_clips_without_features_need_a_word_on_what_they_get(
    challenge: tuple[Bundle, Manifest, Store], tmp_path: Path
) -> None:
    bundle, manifest, store = challenge
    with pytest.raises(DataError, match="no features of 2 of 2 clips, first 10021"):
        write_submission(bundle, manifest, store, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    (note, *_) = write_submission(bundle, manifest, store, tmp_path / "p.csv", fill="0.25")
    assert note.endswith("filled with 0.25")
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == "10021" + ",0.250000" * 6
    for fill in ("much", "2"):
        with pytest.raises(DataError, match="expected mean, or a number"):
            write_submission(bundle, manifest, store, tmp_path / "q.csv", fill=fill)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: header is 'missing'"),
        ("Filename,Joy\n", ":1: header is 'Filename,Joy'"),
        (f"{HEADER}\n99999{',0' * 6}\n10021{',0' * 6}\n", ":2: clip '99999', expected '10021'"),
        (f"{HEADER}\n10021{',0' * 5}\n", ":2: 6 values, expected 7"),
        (f"{HEADER}\n10021{',0' * 5},1.5\n", ":2: Joy = '1.5'"),
        (f"{HEADER}\n10021{',0' * 5},nan\n", ":2: Joy = 'nan'"),
        (f"{HEADER}\n10021{',0' * 5},much\n", ":2: Joy = 'much'"),
        (f"{HEADER}\n10021{',0' * 6}\n", "1 row, but the test split has 2 clips"),
    ],
)
def test_a_wrong_submission_is_refused_with_its_line(
    challenge: tuple[Bundle, Manifest, Store], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        check_submission(tmp_path / "p.csv", challenge[1])
    assert message in str(refused.value)


def test_a_submission_that_does_not_pass_leaves_the_file_that_was_there(
    challenge: tuple[Bundle, Manifest, Store], tmp_path: Path
) -> None:
    bundle, manifest, store = challenge
    before = "my best submission\n"
    (tmp_path / "p.csv").write_text(before)
    other = replace(bundle, targets=tuple(reversed(bundle.targets)))
    with pytest.raises(DataError, match=r"p\.csv:1: header is"):
        write_submission(other, manifest, store, tmp_path / "p.csv", "valid", fill="mean")
    with pytest.raises(DataError, match="no clip of split"):
        write_submission(bundle, manifest, store, tmp_path / "p.csv", "vaild")
    assert (tmp_path / "p.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
