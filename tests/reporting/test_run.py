"""The page of a run says what its files say, and what is missing from it."""

import hashlib
import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import DataError, ModelError
from mien.evaluation.evaluate import evaluate, evaluate_targets
from mien.evaluation.record import read_evaluation, splits_of, write_evaluation
from mien.evaluation.results import Coverage, Evaluation
from mien.model.model_folder import load_bundle
from mien.reporting.blocks import Facts, Figure, Notice, Page, Prose, Table, TableCell
from mien.reporting.evaluation_blocks import agreement, coverage, missing, result_table, robustness, subsets, worst
from mien.reporting.run import page, settings_table
from mien.reporting.rundata import Curves, read_run
from mien.reporting.training_blocks import curves
from tests.reporting.conftest import QUICK, Data

TARGETS = ("Joy", "Pain")
RATED = np.array([[1.0, 0.0], [3.0, np.nan], [2.0, 0.0], [np.nan, 0.5]])
PREDICTED = np.array([[0.0, 0.0], [1.0, 0.3], [2.0, 0.0], [9.0, 0.5]])


def by_hand() -> Evaluation:
    columns: dict[str, object] = {"clip": ["a", "b", "c", "d"], "participant": ["p", "p", "q", None],
                                  "absent": ["", "text: no speech; motion: no face in 40 frames",
                                             "motion: no face in 7 frames", ""]}  # fmt: skip
    for e, name in enumerate(TARGETS):
        columns |= {f"rated {name}": RATED[:, e], f"predicted {name}": PREDICTED[:, e]}
    targets, mean_r = evaluate_targets(TARGETS, PREDICTED, RATED, None, 200)
    return Evaluation(
        "test", 4, "clips", targets, mean_r, 2, 0.0, np.array([0.5]), {}, {}, (), None, pa.table(columns), ()
    )


def tables(made: Page) -> dict[str, Table]:
    found = [block.table if isinstance(block, Figure) else block for block in made.blocks]
    return {table.id: table for table in found if isinstance(table, Table)}


@pytest.fixture(scope="module")
def made(run: Path) -> Page:
    return page(read_run(run))


def test_results_by_hand() -> None:
    rows = {row[0]: row for row in result_table(by_hand()).rows}
    # Joy: 0, 1, 2 against 1, 3, 2: r = .5. Mean absolute error (1 + 2 + 0) / 3.
    assert rows["Joy"][1:4] == (3, None, pytest.approx(0.5))
    assert rows["Joy"][6] == pytest.approx(1.0)
    assert rows["Pain"][3] == pytest.approx(1.0)
    assert rows["mean"][3] == pytest.approx(0.75)


def test_the_largest_errors_come_first_with_the_missing_modalities() -> None:
    rows = worst(by_hand()).rows
    # Mean errors over what is rated: a (1 + 0) / 2, b 2 (Joy only), c 0, d 0 (Pain only).
    assert [row[0] for row in rows] == ["b", "a", "c", "d"]
    assert rows[0][2:] == (2.0, "Joy, too low", 1.0, 3.0, "text: no speech; motion: no face in 40 frames")
    assert rows[1][-1] == "none"


def test_reasons_that_differ_in_a_number_count_as_one() -> None:
    (table,) = missing(by_hand(), True)
    assert table.rows == [("motion", "no face in … frames", 2, 0.5, "b"), ("text", "no speech", 1, 0.25, "b")]
    assert missing(by_hand(), False) == []


def test_calibration_and_scatter_carry_their_numbers() -> None:
    scatter, calibration = agreement(by_hand())
    assert len(scatter.panels) == len(calibration.panels) == 2
    # Fewer than five clips for a bin: one bin. Joy over its three rated clips.
    assert calibration.table.rows[0][:5] == ("Joy", 1, 3, 1.0, 2.0)


def without_text() -> Evaluation:
    """Text is missing from every clip: no r with it alone, and removing it changes nothing."""
    nan = float("nan")
    subsets = {"text": nan, "audio": 0.2, "vision": 0.25, "text+audio": 0.2, "text+vision": 0.25, "audio+vision": 0.31}
    curves = {"text": np.array([0.31, 0.31]), "audio": np.array([0.31, 0.25]), "vision": np.array([0.31, nan])}
    return replace(by_hand(), subsets=subsets, missing=curves, shares=(0.0, 1.0))


def test_what_a_missing_modality_leaves_undefined_comes_last_and_is_not_the_best(run: Path) -> None:
    encoders = replace(read_run(run), r={})
    (figure,) = subsets(without_text(), encoders)
    # vision was entered before text + vision
    assert [row[0] for row in figure.table.rows] == [
        "audio + vision", "vision", "text + vision", "audio", "text + audio", "text"
    ]  # fmt: skip
    assert figure.alt == (
        "Best with audio + vision (0.310). Single modalities: vision 0.250, audio 0.200, text undefined."
    )
    assert "nan" not in figure.panels[0] and "–" in figure.panels[0]
    undefined = replace(without_text(), subsets={"text": float("nan")})
    assert subsets(undefined, encoders)[0].alt == "Best with: undefined. Single modalities: text undefined."


def test_the_modality_that_matters_most_is_one_that_is_there_and_has_a_defined_change() -> None:
    (figure,) = robustness(without_text())
    assert figure.alt == (
        "Audio matters most: -0.060 when it is removed from every clip; text +0.000, vision undefined."
    )
    unchanged = {"text": np.array([0.3, 0.3]), "audio": np.array([0.3, float("nan")])}
    (figure,) = robustness(replace(without_text(), missing=unchanged))
    assert figure.alt == "When it is removed from every clip: text +0.000, audio undefined."
    nothing = {"text": np.full(2, float("nan"))}
    (figure,) = robustness(replace(without_text(), missing=nothing))
    assert figure.alt == "When it is removed from every clip: text undefined."


def test_curves_of_a_modality_that_no_validation_clip_has_are_undefined(run: Path) -> None:
    loss = np.ones((3, 2))
    made = {"text": Curves(np.full((3, 2), np.nan), loss), "audio": Curves(np.array([[0.1], [0.3], [0.2]]), loss)}
    figure = curves(replace(read_run(run), curves=made))[0]
    assert figure.alt == "Best mean r over seeds: text alone undefined; audio alone 0.300 in epoch 2."


def test_the_scatter_table_is_of_the_rated_clips_of_each_emotion() -> None:
    """Joy is predicted 0, 1, 2 where it is rated 1, 3, 2, and 9 in a clip without a rating of it."""
    rows = agreement(by_hand())[0].table.rows
    assert rows[0] == ("Joy", 1.0, pytest.approx(np.sqrt(2 / 3)), 2.0, pytest.approx(np.sqrt(2 / 3)), 3, None)
    assert rows[1][0::5] == ("Pain", 3)


def test_an_emotion_without_a_rating_has_dashes_and_no_clips() -> None:
    rated = np.where([True, False], RATED, np.nan)
    targets, mean_r = evaluate_targets(TARGETS, PREDICTED, rated, ["p", "p", "q", "q"], 200)
    table = by_hand().table.drop_columns(["rated Pain"]).append_column("rated Pain", pa.array(rated[:, 1]))
    nan = float("nan")
    held = Coverage(0.9, (1.0, nan), (0.5, nan))
    evaluation = replace(by_hand(), targets=targets, mean_r=mean_r, table=table, coverage=held)
    figures = [agreement(evaluation)[0], coverage(evaluation)[0]]
    for figure in figures:
        joy, pain = figure.table.rows
        shown = [column.text(value) for column, value in zip(figure.table.columns, pain, strict=True)]
        assert (joy[-2:], shown[-2:]) == ((3, 2), ["0", "0"])
        assert set(shown[1:-2]) - {"90%"} == {"–"}
    assert "for 0 of 1 emotions" in figures[0].alt


def test_an_evaluation_is_read_back_as_it_was(run: Path, data: Data, tmp_path: Path) -> None:
    evaluation = evaluate(load_bundle(run), *data, resamples=300)
    write_evaluation(evaluation, tmp_path, "here")
    again, where = read_evaluation(tmp_path, "valid")
    assert where == "here"
    assert again.table.equals(evaluation.table)
    assert again.modalities == ("text", "audio", "vision", "motion") and again.basis == evaluation.basis
    assert (
        again.targets == evaluation.targets
        and again.mean_r == evaluation.mean_r
        and again.coverage == evaluation.coverage
    )
    assert again.subsets == evaluation.subsets and again.notes == evaluation.notes
    assert {name: r.tolist() for name, r in again.missing.items()} == {
        n: r.tolist() for n, r in evaluation.missing.items()
    }


def test_a_damaged_evaluation_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "evaluation", tmp_path / "evaluation")
    file = tmp_path / "evaluation" / "valid.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "version": 9}))
    with pytest.raises(DataError, match="version 9"):
        read_evaluation(tmp_path, "valid")
    file.write_text(json.dumps({name: value for name, value in record.items() if name != "seeds"}))
    with pytest.raises(DataError, match=r"damaged.*seeds"):
        read_evaluation(tmp_path, "valid")


def test_the_page_agrees_with_the_files_of_the_run(run: Path, made: Page) -> None:
    found = tables(made)
    results = json.loads((run / "results.json").read_text())
    ensemble = next(row for row in found["models"].rows if row[0] == "ensemble")
    assert ensemble[1:7] == pytest.approx(results["r"]["ensemble"][0])
    evaluation = json.loads((run / "evaluation" / "valid.json").read_text())
    assert found["results"].rows[-1][3] == evaluation["mean_r"]["value"]
    assert len(found["subsets-numbers"].rows) == 15
    assert [row[0] for row in found["missing-numbers"].rows] == ["text", "audio", "vision", "motion"]
    lines = (run / "stage2" / "epochs.jsonl").read_text().splitlines()
    fused = [row for row in found["curves-r-numbers"].rows if row[0] == "fused"]
    assert [row[2] for row in fused] == pytest.approx([np.mean(json.loads(line)["mean_r"]) for line in lines])
    counted = {m: sum(row[2] for row in found["absent"].rows if row[0] == m) for m in ("text", "motion")}
    for name, count in counted.items():
        assert f"{name}: missing from {count} of 60 clips" in " ".join(evaluation["notes"])


def test_every_figure_has_words_and_numbers_and_ids_are_unique(made: Page) -> None:
    figures = [block for block in made.blocks if isinstance(block, Figure)]
    assert len(figures) >= 8
    for figure in figures:
        assert figure.alt and figure.caption and figure.table.rows and figure.panels, figure.id
    ids = [*(section.id for section in made.sections), *(figure.id for figure in figures), *tables(made)]
    assert len(set(ids)) == len(ids)


def test_a_run_that_was_not_evaluated_says_which_command_adds_what(bare: Path) -> None:
    made = page(read_run(bare))
    (notice,) = [block for block in made.blocks if isinstance(block, Notice)]
    assert notice.command.startswith(f"mien evaluate {bare} DATA --features STORE")
    found = tables(made)
    assert "subsets-numbers" not in found and "absent" not in found and "calibration-numbers" in found
    ensemble = next(row for row in found["models"].rows if row[0] == "ensemble")
    assert found["results"].rows[-1][3] == pytest.approx(ensemble[7], abs=1e-6)


def test_settings_that_were_changed_are_shown_with_their_defaults(bare: Path) -> None:
    rows = {row[0]: row[1:] for row in settings_table(read_run(bare).identity["settings"]).rows}
    assert rows["stage2.hidden"] == ("16", "384")
    given = {line.split("=")[0] for line in QUICK if not line.startswith("compute")}
    assert set(rows) == given | {"backbone.text"}  # frozen: planted features have no layers


def test_an_unfinished_run_and_a_foreign_folder_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "run.json", tmp_path / "run.json")
    with pytest.raises(ModelError, match="unfinished run"):
        read_run(tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path.parent), "--out", str(tmp_path / "r.html")])
    assert isinstance(done.exception, DataError)
    assert "nothing to report on; expected a run folder" in str(done.exception)


def test_evaluate_leaves_its_result_for_the_report(bare: Path, data: Data, tmp_path: Path) -> None:
    """The command, from a table of clips as a user types it, and the report of its result."""
    folder, table = tmp_path / "run", tmp_path / "clips.csv"
    shutil.copytree(bare, folder)
    manifest, store = data
    rows = [
        f"{c.id},{c.path.name},{c.split},{c.participant},{','.join(map(str, c.labels or ()))}" for c in manifest.clips
    ]
    table.write_text("\n".join([f"id,path,split,participant,{','.join(manifest.targets)}", *rows]))
    said = CliRunner().invoke(app, ["evaluate", str(folder), str(table), "-f", str(store.root), "--resamples", "100"])
    assert said.exit_code == 0 and "evaluation/valid.json: written" in said.output
    done = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "r.html"), "--title", "A & B"])
    assert done.exit_code == 0 and "report of a run, 7 sections" in done.output
    text = (tmp_path / "r.html").read_text()
    assert "<h1>A &amp; B</h1>" in text and "All 15 subsets" in text and "http" not in text.replace("http-equiv", "")


def test_cells_of_an_interval_sort_by_their_lower_end() -> None:
    cell = result_table(by_hand()).rows[0][4]
    assert isinstance(cell, TableCell) and (cell.value is None or isinstance(cell.value, float))


def first_block(made: Page) -> tuple[dict[str, str], str]:
    facts, basis = made.head[:2]
    assert isinstance(facts, Facts) and isinstance(basis, Prose)
    return dict(facts.facts), basis.points[0]


def test_the_first_block_says_how_many_people_and_clips_of_what_the_figure_rests_on(made: Page, bare: Path) -> None:
    for shown in (made, page(read_run(bare))):
        facts, basis = first_block(shown)
        people = int(facts["participants in them"])
        assert facts["clips evaluated, valid"] == "60" and 1 < people < 60
        assert basis == (
            f"Split valid: 60 rated clips of {people} participants, all of which chose the best epoch; Admiration, "
            "Amusement, Determination, Empathic Pain, Excitement, Joy; from text, audio, vision, motion, "
            "where available"
        )


def test_unknown_people_are_said_to_be_unknown() -> None:
    assert by_hand().basis == (
        "split test: 4 rated clips, participants known of 3 only; clips treated as independent; Joy, Pain"
    )


@pytest.fixture
def evaluated_twice(bare: Path, data: Data, tmp_path: Path) -> Path:
    """A run that was evaluated on its validation clips, then on its training clips."""
    folder = tmp_path / "run"
    shutil.copytree(bare, folder)
    for split in ("valid", "train"):
        write_evaluation(evaluate(load_bundle(folder), *data, split=split, resamples=100, subsets=False), folder, "x")
    return folder


def test_the_split_that_was_evaluated_last_is_shown_unless_another_is_named(evaluated_twice: Path, data: Data) -> None:
    run = read_run(evaluated_twice)
    assert splits_of(evaluated_twice) == ["train", "valid"]
    assert first_block(page(run))[0]["clips evaluated, train"] == "80"
    assert first_block(page(run, split="valid"))[0]["clips evaluated, valid"] == "60"
    write_evaluation(read_evaluation(evaluated_twice, "valid")[0], evaluated_twice, "x")
    assert first_block(page(run))[0]["clips evaluated, valid"] == "60"


def test_a_split_that_was_never_evaluated_is_refused_with_what_to_do(evaluated_twice: Path, bare: Path) -> None:
    with pytest.raises(
        DataError, match=r"not evaluated on split 'test' \(evaluated on: train, valid\); evaluate it with: mien eval"
    ):
        page(read_run(evaluated_twice), split="test")
    with pytest.raises(DataError, match=r"not evaluated on split 'test' \(evaluated on: none\)"):
        page(read_run(bare), split="test")


def test_evaluations_from_before_they_were_numbered_are_shown_valid_first(evaluated_twice: Path) -> None:
    for file in (evaluated_twice / "evaluation").glob("*.json"):
        record = json.loads(file.read_text())
        del record["number"], record["modalities"]
        file.write_text(json.dumps(record))
    facts, basis = first_block(page(read_run(evaluated_twice)))
    assert "clips evaluated, valid" in facts and "from text" not in basis


def test_the_command_takes_a_split_of_a_run_and_of_nothing_else(evaluated_twice: Path, tmp_path: Path) -> None:
    def said(*words: object) -> str:
        done = CliRunner().invoke(app, ["report", *map(str, words), "--out", str(tmp_path / "r.html")])
        return done.output if done.exit_code == 0 else f"{done.exit_code}: {done.output} {done.exception}"

    assert "report of a run" in said(evaluated_twice, "--split", "valid")
    assert "Split valid: 60 rated clips" in (tmp_path / "r.html").read_text()
    assert "not evaluated on split" in said(evaluated_twice, "--split", "elsewhere")
    assert said(tmp_path, "--split", "valid").startswith("2: ")


def test_a_run_on_synthetic_people_has_the_banner_once_and_others_have_none(run: Path, bare: Path) -> None:
    """Whether it was evaluated or not; the evaluation's own note is not repeated."""
    for folder in (run, bare):
        plain = read_run(folder)
        assert not any("synthetic" in str(block) for block in page(plain).head)
        data = {**plain.provenance["data"], "synthetic": True}
        made = page(replace(plain, provenance={**plain.provenance, "data": data}))
        texts = [block.text for block in made.head if isinstance(block, Notice) and block.level == "warning"]
        assert texts == [
            "The model was trained on synthetic people: for trying out, its scores say nothing about real ones."
        ]


def test_that_the_best_epoch_makes_r_optimistic_is_said_once_where_r_is(
    made: Page, bare: Path, evaluated_twice: Path
) -> None:
    def said(shown: Page) -> int:
        points = [point for block in shown.head if isinstance(block, Prose) for point in block.points]
        notices = [block.text for block in shown.head if isinstance(block, Notice)]
        return sum("slightly optimistic" in text for text in (*points, *notices))

    assert said(made) == said(page(read_run(bare))) == 1
    assert said(page(read_run(evaluated_twice))) == 0  # training clips: worse than optimistic


def test_clips_that_the_model_was_trained_on_are_flagged(made: Page, evaluated_twice: Path) -> None:
    """All 80 clips of split train; none of split valid."""
    assert "of these, trained on" not in first_block(made)[0]
    shown = page(read_run(evaluated_twice))
    assert first_block(shown)[0]["of these, trained on"] == "80"
    warnings = [block.text for block in shown.head if isinstance(block, Notice) and block.level == "warning"]
    assert any("was trained on 80 of these 80 clips" in text for text in warnings)


def test_coverage_on_the_clips_that_calibrated_the_intervals_is_said_to_be_no_test(made: Page, run: Path) -> None:
    def caption(shown: Page) -> str:
        return next(block.caption for block in shown.blocks if isinstance(block, Figure) and block.id == "coverage")

    assert caption(made).endswith(
        "The widths of the intervals were set on these clips so that they hold the target; coverage of them is no test."
    )
    evaluation, data = read_evaluation(run, "valid")
    assert evaluation.coverage is not None
    fresh = replace(evaluation, coverage=replace(evaluation.coverage, calibration_clips=0))
    assert caption(page(read_run(run), computed=(fresh, data))).endswith("Dashed: the target.")


def test_every_table_of_figures_has_the_number_of_clips_and_people(made: Page, run: Path) -> None:
    """All 60 validation clips are rated; the planted corpus names everybody."""
    people = len(set(read_evaluation(run, "valid")[0].table["participant"].to_pylist()))
    found = tables(made)
    names = ("models", "scatter-numbers", "coverage-numbers", "subsets-numbers", "alone-numbers", "missing-numbers")
    for name in names:
        assert [column.name for column in found[name].columns][-2:] == ["clips", "people"]
        assert {tuple(row[-2:]) for row in found[name].rows} == {(60, people)}, name


def test_the_record_names_the_version_and_the_hash_of_the_model(run: Path, made: Page) -> None:
    facts = dict(next(block for block in made.sections[-1].blocks if isinstance(block, Facts)).facts)
    assert (
        facts["SHA-256 of the model"] == hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()
    )
    assert facts["mien"] == version("mien")
