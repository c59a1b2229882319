"""One small trained run and one small study for all tests of reports, and a browser to look at them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.config import read_settings
from mien.evaluation.evaluate import evaluate
from mien.evaluation.record import write_evaluation
from mien.features.store import Store
from mien.model.model_folder import load_bundle
from mien.reporting.study_files import write_study_files
from mien.schema import Manifest
from mien.study import run_study
from mien.study.plan import read_study
from mien.training import train
from tests.training.planted import planted

QUICK = [
    *("seeds=[0,1]", "stage1.embedding=16", "stage1.motion_embedding=8", "stage2.hidden=16", "stage1.epochs=3"),
    *("stage1.motion_epochs=3", "stage2.epochs=3", "compute.precision=float32"),
]
STUDY = """
question: Does it <b>matter</b>?
settings:
  stage1.embedding: 16
  stage1.motion_embedding: 8
  stage1.epochs: 2
  stage1.motion_epochs: 2
  stage2.hidden: 16
  stage2.epochs: 3
seeds: 3
axes:
  regime:
    adapted: {stage2.adaptation: encoder}
    ridge: {method: ridge}
  modalities: [[text, audio, vision, motion], [text], [motion]]
"""

Data = tuple[Manifest, Store]


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return planted(tmp_path_factory.mktemp("reporting") / "store", train=80, valid=60)


@pytest.fixture(scope="package")
def bare(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without an evaluation."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(*data, read_settings(overrides=QUICK), folder)
    return folder


@pytest.fixture(scope="package")
def run(data: Data, bare: Path) -> Path:
    """The same, evaluated."""
    folder = bare.parent / "evaluated"
    shutil.copytree(bare, folder)
    write_evaluation(evaluate(load_bundle(folder), *data, resamples=500), folder, "planted clips")
    return folder


@pytest.fixture(scope="package")
def study(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    run_study(read_study(folder / "study.yaml"), data[0], data[1].root, folder / "out")
    write_study_files(folder / "out")
    return folder / "out"


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A browser without a network."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
