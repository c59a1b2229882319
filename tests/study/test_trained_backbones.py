"""Cells of a study that train backbones: a run per seed, compared with the others on the same clips."""

from pathlib import Path

import numpy as np

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.study.cells import StudyContext, plan_work
from mien.study.plan import read_study
from mien.study.worker import Worker

STUDY = """
settings: {weights: tiny, modalities: [text], compute.engine: torch, compute.precision: float32, stage1.epochs: 3,
           stage2.epochs: 3, stage1.embedding: 8, stage2.hidden: 8, adapt.epochs: 1, adapt.lr: 1.0e-2}
seeds: 2
axes:
  regime:
    frozen: {backbone.text: frozen}
    full: {backbone.text: full}
    joint: {backbone.text: top_k, stage2.adaptation: joint}
"""
WORDS = "so happy sad love great oh no yes what this that you he she we they".split()


def test_a_cell_that_trains_backbones_has_a_model_of_each_seed(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        f"c{n},{' '.join(draw.choice(WORDS, 6))},{'train' if n < 40 else 'valid'},{draw.random():.3f}"
        for n in range(60)
    ]
    (tmp_path / "words.csv").write_text("\n".join(["id,transcript,split,Joy", *rows]) + "\n")
    (tmp_path / "study.yaml").write_text(STUDY)
    manifest = read_manifest(tmp_path / "words.csv", targets=["Joy"])
    list(extract(manifest, tmp_path / "store", read_settings(overrides=["weights=tiny", "modalities=[text]"])))
    plan, context = read_study(tmp_path / "study.yaml"), StudyContext(manifest, tmp_path / "store", tmp_path / "out")
    encoders, batches = plan_work(context, plan.cells)
    assert len(encoders) == 1 and len(batches) == 3
    worker = Worker(context)
    assert [worker.do(work) for work in [*encoders, *batches]] == [()] * 4
    scores = {cell.name: context.scores(cell) for cell in plan.cells}
    assert {name: made.shape for name, made in scores.items()} == dict.fromkeys(["frozen", "full", "joint"], (2, 20, 1))
    assert all(np.ptp(made - scores["frozen"]) > 1e-4 for name, made in scores.items() if name != "frozen")
    assert not np.array_equal(*scores["full"]) and not np.array_equal(*scores["joint"])  # each seed has its backbone
    again = Worker(context)
    cell = next(cell for cell in plan.cells if cell.name == "full")
    (context.folder(cell) / "scores.npy").unlink()
    again.do(batches[1])  # from the runs that are there
    assert np.array_equal(context.scores(cell), scores["full"])
