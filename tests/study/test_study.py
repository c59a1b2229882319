"""A study trains its cells in any order and batch, can be resumed, and reports differences that intervals support."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from typer.testing import CliRunner

from mien.cli import app
from mien.config import Settings, TrainSettings
from mien.errors import SettingsError
from mien.metrics import Interval
from mien.reporting.study_files import write_study_files
from mien.scale import Cluster, Pool
from mien.schema import EMOTIONS, Manifest
from mien.storage.files import read_json
from mien.study import run_study
from mien.study.cells import CellBatch, StudyContext, plan_work
from mien.study.plan import Cell, Plan, read_study
from mien.study.report import limits
from mien.study.results import Difference, Results, compare_cells
from mien.study.reviewer_questions import review_questions
from mien.study.study import estimate
from mien.study.worker import Worker
from tests.training.planted import planted

STUDIES = Path(__file__).resolve().parents[2] / "studies"

SMALL = """
question: Does it matter?
settings:
  stage1.embedding: 16
  stage1.motion_embedding: 8
  stage1.epochs: 6
  stage1.motion_epochs: 6
  stage2.hidden: 16
  stage2.epochs: 4
seeds: 3
"""
REGIMES = """
axes:
  regime:
    adapted: {stage2.adaptation: encoder}
    joint: {stage2.adaptation: joint}
    ridge: {method: ridge}
    mean: {method: unimodal_mean}
  modalities: [[text, audio, vision, motion], [text], [motion]]
"""


def study(folder: Path, axes: str, more: str = "") -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(SMALL + axes + more)
    return read_study(folder / "study.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    root = tmp_path_factory.mktemp("data") / "store"
    manifest, _ = planted(root, train=200, valid=120)
    return manifest, root


@pytest.fixture(scope="module")
def done(data: tuple[Manifest, Path], tmp_path_factory: pytest.TempPathFactory):
    manifest, store = data
    out = tmp_path_factory.mktemp("study")
    plan = study(out / "file", REGIMES)
    results, failed, _ = run_study(plan, manifest, store, out)
    return plan, StudyContext(manifest, store, out), results, failed, write_study_files(out)


def cell_of(plan: Plan, *labels: str) -> Cell:
    return next(cell for cell in plan.cells if cell.name == " · ".join(labels))


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_study_of_the_repository_is_read(file: Path) -> None:
    plan = read_study(file)
    assert len({cell.labels for cell in plan.cells}) == len(plan.cells)
    few = 3 if file.stem == "regimes" else 5  # a run per seed, where others train all seeds at once
    assert all(len(cell.settings.seeds) >= few for cell in plan.cells)


def test_the_two_stage_study_has_three_regimes_and_a_baseline_on_all_subsets() -> None:
    plan = read_study(STUDIES / "two_stage.yaml")
    assert len(plan.cells) == 4 * 15 + 1  # and the reference without modality dropout
    assert plan.reference.name == "adapted · text+audio+vision+motion"
    assert {cell.method for cell in plan.cells} == {"train", "ridge"}


def test_a_star_changes_one_axis_at_a_time(tmp_path: Path) -> None:
    axes = "axes: {stage2.hidden: [16, 8], stage2.missing: [zero, token], stage2.modality_dropout: [0.3, 0.0, 0.5]}"
    plan = study(tmp_path, axes, "\ngrid: star\nreference: {stage2.modality_dropout: '0.0'}")
    assert [cell.name for cell in plan.cells] == [
        "16 · zero · 0.0", "8 · zero · 0.0", "16 · token · 0.0", "16 · zero · 0.3", "16 · zero · 0.5",
    ]  # fmt: skip
    assert plan.cells[2].settings.stage2.missing == "token"


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("axes: {stage2.hiden: [1]}", "hiden: no such setting; did you mean 'hidden'"),
        ("axes: {regime: {a: {method: magic}}}", "method 'magic': expected one of train, ridge"),
        ("axes: {regime: joint}", "axes.regime: expected a list of values"),
        ("axes: {stage2.hidden: [8]}\nreference: {stage2.hidden: '9'}", "no such label; labels are 8"),
        ("axis: 3", "axes: Field required|axis: Extra inputs"),
    ],
)
def test_a_mistake_in_the_file_is_reported(tmp_path: Path, axes: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        study(tmp_path, axes)


def test_cells_that_differ_only_in_rates_are_trained_together(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    plan = study(tmp_path / "file", "axes: {stage2.modality_dropout: [0.3, 0.0, 0.1], stage2.missing: [zero, token]}")
    encodings, batches = plan_work(StudyContext(manifest, store, tmp_path), plan.cells)
    assert sorted(work.modality for work in encodings) == ["audio", "motion", "text", "vision"]
    assert [len(batch.cells) for batch in batches] == [3, 3]
    estimated = estimate(plan, manifest, store, tmp_path)
    assert (estimated.cells, estimated.done, estimated.trainings, sum(estimated.models)) == (6, 0, 6, 4 * 3 + 2 * 9)


def test_a_cell_has_the_same_scores_alone_and_in_a_batch(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    plan = study(tmp_path / "file", "axes: {stage2.modality_dropout: [0.3, 0.0]}")
    together, apart = (StudyContext(manifest, store, tmp_path / name) for name in ("together", "apart"))
    (batch,) = plan_work(together, plan.cells)[1]
    Worker(together).do(batch)
    for cell in plan.cells:
        Worker(apart).do(CellBatch((cell,)))
        np.testing.assert_allclose(together.scores(cell), apart.scores(cell), atol=1e-5)
    assert not np.allclose(together.scores(plan.cells[0]), together.scores(plan.cells[1]), atol=1e-3)


def test_finished_cells_are_reused_and_a_larger_study_adds_to_them(done, data: tuple[Manifest, Path]) -> None:
    plan, context, *_ = done
    assert plan_work(context, plan.cells) == ([], [])
    more = study(context.out / "more", REGIMES.replace("[motion]]", "[motion], [audio]]"))
    encodings, batches = plan_work(context, more.cells)
    assert encodings == []
    assert {cell.name for batch in batches for cell in batch.cells} == {
        f"{regime} · audio" for regime in ("adapted", "joint", "ridge", "mean")
    }


def test_a_failed_cell_is_reported_and_the_others_are_trained(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    axes = "axes: {case: {fine: {}, broken: {stage2.head: recurrent}, fine too: {stage2.adaptation: frozen}}}"
    plan = study(tmp_path / "file", axes)
    results, failed, report = run_study(plan, manifest, store, tmp_path)
    assert [reason.split(":")[0] for reason in failed] == ["broken"]
    assert "set stage2.adaptation to joint" in write_study_files(report.parent).read_text()
    assert [bool(outcome.failed) for outcome in results.outcomes] == [False, True, False]
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["failed"][:13] for row in rows if row["failed"]] == ["SettingsError"]


@pytest.mark.parametrize(
    "workers", [1, pytest.param(Cluster(workers=1), marks=pytest.mark.soak)], ids=["here", "on Ray"]
)
def test_processes_give_the_same_scores(workers: Pool, done, data: tuple[Manifest, Path], tmp_path: Path) -> None:
    plan, context, *_ = done
    manifest, store = data
    few = replace(plan, cells=plan.cells[:3], reference=plan.cells[0])
    run_study(few, manifest, store, tmp_path, workers=workers)
    for cell in few.cells:
        np.testing.assert_allclose(
            StudyContext(manifest, store, tmp_path).scores(cell), context.scores(cell), atol=1e-5
        )


def test_the_table_has_a_row_per_cell_seed_and_emotion(done) -> None:
    plan, context, results, _, _ = done
    table = pq.read_table(context.out / "results.parquet")
    trained, once = 9, 3  # adapted, joint and mean have a row per seed, ridge has no chance in it
    assert len(table) == (trained * 3 + once) * (len(EMOTIONS) + 1)
    rows = [
        row for row in table.to_pylist() if row["regime"] == "joint" and row["emotion"] == "mean" and row["seed"] == 1
    ]
    assert {row["modalities"] for row in rows} == {"text+audio+vision+motion", "text", "motion"}
    joint = results.outcome(cell_of(plan, "joint", "text"))
    assert next(row["r"] for row in rows if row["modalities"] == "text") == pytest.approx(joint.mean_r[1])


def test_differences_are_paired_by_seed_and_by_clip(done) -> None:
    plan, _, results, _, _ = done
    cell = cell_of(plan, "adapted", "motion")
    difference = next(d for d in results.against_reference if d.cell.labels == cell.labels)
    mine, home = (results.outcome(c).mean_r for c in (cell, plan.reference))
    test = stats.ttest_rel(mine, home)
    assert difference.p_seeds == pytest.approx(test.pvalue)
    assert difference.seeds.low == pytest.approx(test.confidence_interval().low)
    assert difference.clips.value < 0  # motion carries a fifth of what text does
    assert difference.q_clips < 0.05
    twin = next(d for d in results.steps["regime"] if d.cell.labels == cell_of(plan, "ridge", "motion").labels)
    assert twin.other.labels == cell.labels


@pytest.mark.parametrize(
    ("q_seeds", "q_clips", "seeds", "clips", "verdict"),
    [
        (0.01, 0.01, 0.02, 0.03, "better"),
        (0.01, 0.01, -0.02, -0.03, "worse"),
        (0.20, 0.01, 0.02, 0.03, "open"),
        (0.01, 0.20, 0.02, 0.03, "open"),
        (0.01, 0.01, 0.02, -0.03, "open"),
        (float("nan"), 0.01, 0.02, 0.03, "open"),
    ],
)
def test_a_verdict_needs_seeds_and_clips_to_agree(
    q_seeds: float, q_clips: float, seeds: float, clips: float, verdict: str
) -> None:
    cell = Cell((("a", "1"),), Settings())
    by_seeds, by_clips = (Interval(value, value - 0.01, value + 0.01) for value in (seeds, clips))
    difference = Difference(cell, cell, by_seeds, by_clips, q_seeds, q_clips, np.zeros(6), q_seeds, q_clips)
    assert difference.verdict == verdict


def test_each_axis_is_a_question_with_its_own_false_discovery_rate(done) -> None:
    """Plain differences between modalities must not make those between regimes easier to pass."""
    _, _, results, _, _ = done
    rows = {(d.cell.labels, d.other.labels): d for row in results.steps.values() for d in row}
    for axis in ("regime", "modalities"):
        family = [d for d in rows.values() if d.question == (axis,)]
        assert len(family) == {"regime": 3 * 3, "modalities": 2 * 4}[axis]
        corrected = stats.false_discovery_control([d.p_clips for d in family])
        np.testing.assert_allclose([d.q_clips for d in family], corrected)
    for d in results.against_reference:
        assert d.q_clips >= d.p_clips
        if len(d.question) == 1:  # the same pair has one q, wherever it is shown
            assert d.q_clips == rows[d.cell.labels, d.other.labels].q_clips


def test_a_study_of_few_people_has_no_interval_and_no_p_over_clips_and_says_why(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    manifest, store = data
    clips = tuple(replace(clip, participant=f"p{n % 5}") for n, clip in enumerate(manifest.clips))
    plan = study(tmp_path / "file", "axes: {modalities: [[text, motion], [text]]}")
    results, *_ = run_study(plan, replace(manifest, clips=clips), store, tmp_path)
    (d,) = results.against_reference
    assert np.isnan([d.p_clips, d.clips.low, d.q, results.outcomes[0].ensemble.low]).all()
    assert d.verdict == "open" and np.isfinite(d.p_seeds)
    record = read_json(tmp_path / "study.json")
    assert "No interval and no p over clips: they need 6 participants with rated clips." in record["about"]
    (table, *_) = record["tables"]
    row = dict(zip(table["header"], table["rows"][0], strict=True))
    assert (row["clips"], row["participants"]) == ("120", "5")
    assert "200 clips of 5 participants and evaluated on 120 of 5 participants" in record["about"][0]
    text = write_study_files(tmp_path).read_text()
    assert "nan" not in text and "None" not in text


def test_an_uninformative_modality_gives_an_inconclusive_difference(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=300, valid=300, missing=0.0)
    rng = np.random.default_rng(5)
    shuffled = [clip.labels for clip in manifest.clips]
    rng.shuffle(shuffled)
    clips = tuple(replace(clip, labels=labels) for clip, labels in zip(manifest.clips, shuffled, strict=True))
    plan = study(tmp_path / "file", "axes: {modalities: [[text, motion], [text]]}")
    results, *_ = run_study(plan, replace(manifest, clips=clips), store.root, tmp_path)
    assert abs(results.outcomes[0].ensemble.value) < 0.2
    assert [d.verdict for d in results.against_reference] == ["open"]


def test_the_report_has_the_findings_in_text_tables_and_charts(done) -> None:
    plan, context, _, failed, report = done
    assert failed == ()
    text = report.read_text()
    for expected in (
        "# Does it matter?",
        "## Findings",
        "## Limits",
        "3 seeds each",
        "participants",
    ):
        assert expected in text
    for chart in ("forest.svg", "subsets.svg", "missing.svg"):
        assert f"({chart})" in text
        assert (context.out / chart).read_text().startswith("<?xml")
    with (context.out / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(plan.cells)
    assert rows[0]["verdict"] == "reference"
    assert (context.out / "cells.tex").read_text().count(r" \\") == len(plan.cells) + 1


def test_only_trained_cells_are_said_to_be_optimistic(done, data: tuple[Manifest, Path]) -> None:
    """Ridge chooses nothing on the validation clips; an inner split lets no cell choose there."""
    plan, context, results, *_ = done

    def texts(results: Results) -> list[str]:
        split = context.split(plan.reference.settings)
        return [limits(results)[0], review_questions(results, split, "")[-1].answer]

    for text in texts(results):
        assert "slightly optimistic" in text and "alike" not in text
        assert "differences from ridge favour the trained cells; set train.select=inner" in text
    trained = tuple(cell for cell in plan.cells if cell.method != "ridge")
    for text in texts(replace(results, plan=replace(plan, cells=trained))):
        assert "slightly optimistic" in text and "ridge" not in text
    inner = plan.reference.settings.model_copy(update={"train": TrainSettings(select="inner")})
    for text in texts(replace(results, plan=replace(plan, reference=replace(plan.reference, settings=inner)))):
        assert "optimistic" not in text and "ridge" not in text


def test_equal_results_give_an_equal_report(done) -> None:
    plan, context, *_ = done
    before = {file.name: file.read_bytes() for file in context.out.iterdir() if file.is_file()}
    run_study(plan, context.manifest, context.features, context.out)
    write_study_files(context.out)
    after = {file.name: file.read_bytes() for file in context.out.iterdir() if file.is_file()}
    assert {name for name in before if before[name] != after[name]} <= {"results.parquet"}


def test_cells_on_different_splits_are_not_paired_over_clips(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    plan = study(tmp_path / "file", "axes: {split: {official: {}, redrawn: {split.kind: ratio}}}", "\n")
    context = StudyContext(manifest, store, tmp_path)
    for batch in plan_work(context, plan.cells)[1]:
        Worker(context).do(batch)
    (difference,) = compare_cells(plan, context, 200).against_reference
    assert np.isnan(difference.p_clips)
    assert difference.verdict == "open"


def test_the_command_plans_and_runs(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    study(tmp_path, "axes: {stage2.adaptation: [encoder, frozen]}")
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "split", "participant", *EMOTIONS])
        writer.writerows([c.id, c.path.name, c.split, c.participant, *(c.labels or ())] for c in manifest.clips)
    words = [
        "study",
        str(tmp_path / "study.yaml"),
        str(tmp_path / "clips.csv"),
        "-f",
        str(store),
        "-o",
        str(tmp_path / "o"),
    ]
    planned = CliRunner().invoke(app, [*words, "--plan"])
    assert planned.exit_code == 0, planned.output
    assert "2 cells along stage2.adaptation; 0 done, 6 trainings to do" in planned.output
    assert not (tmp_path / "o").exists()
    ran = CliRunner().invoke(app, [*words, "-q"])
    assert ran.exit_code == 0, ran.output
    assert "report:" in ran.output
    assert (tmp_path / "o" / "report.md").is_file()


def test_settings_decide_the_key(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    context = StudyContext(data[0], data[1], tmp_path)
    cell = Cell((("a", "1"),), Settings())
    assert context.folder(cell) == context.folder(replace(cell, labels=(("b", "2"),)))
    stage2 = Settings().stage2.model_copy(update={"hidden": 7})
    assert context.folder(cell) != context.folder(replace(cell, settings=Settings(stage2=stage2)))
    assert context.folder(cell) != context.folder(replace(cell, method="ridge"))
