"""The recipe of the starter ``words-en``, on made files in the layout of the corpora, with a small random backbone."""

import csv
import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.data.corpora.goemotions import LABELS
from mien.model.model_folder import load_bundle

RECIPE = Path(__file__).parents[2] / "recipes" / "words_en"
JOYFUL, PLAIN = ("so happy today!!", "what a joy :)", "I'm glad, really glad"), ("the bus is late", "it's 5 pm", "No.")


def corpora(folder: Path) -> Path:
    """Joy can be read from the words; the rest is chance."""
    draw = random.Random(0)
    places = {name: folder / name for name in ("goemotions", "brighter", "empathic_reactions")}
    for place in places.values():
        place.mkdir(parents=True)

    def text(joy: bool) -> str:
        return f"{draw.choice(JOYFUL if joy else PLAIN)} {draw.randrange(10**6)}"

    for name, count in (("train", 300), ("dev", 100)):
        with (places["goemotions"] / f"{name}.tsv").open("w", encoding="utf-8") as file:
            for n in range(count):
                joy = draw.random() < 0.4
                labels = {LABELS.index("Joy")} if joy else {draw.randrange(len(LABELS) - 1)}
                file.write(f"{text(joy)}\t{','.join(map(str, labels))}\t{name}{n}\n")
        with (places["brighter"] / f"eng_b_{name}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "text", "anger", "fear", "joy", "sadness", "surprise"])
            for n in range(count // 2):
                joy = draw.random() < 0.4
                rows.writerow([f"{name}{n}", text(joy), 0, draw.randrange(4), 3 if joy else 0, draw.randrange(4), 0])
    with (places["empathic_reactions"] / "messages.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["message_id", "response_id", "article_id", "empathy", "distress", "essay"])
        for n in range(300):
            sad = draw.random() < 0.5
            rows.writerow(
                [n, n // 5, n % 60, 6 if sad else 2, 5 if sad else 1, ("how sad. " if sad else "fine. ") * 9 + str(n)]
            )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the recipe, run as its README says."""
    folder = tmp_path_factory.mktemp("words")
    corpora(folder / "data")
    run(folder, "out")
    return folder


def run(folder: Path, out: str) -> None:
    command = [
        sys.executable, RECIPE / "train.py", folder / "data", "--out", folder / out, "--any-bytes",
        *("--set", "weights=tiny", "--set", "adapt.epochs=6"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_recipe_makes_a_model_that_scores_texts_and_says_what_it_is(made: Path) -> None:
    bundle = load_bundle(made / "out" / "words-en")
    assert bundle.targets == ("Admiration", "Amusement", "Excitement", "Joy", "Joy (graded)", "Empathic Pain")
    assert "Determination" not in bundle.targets
    table = made / "texts.csv"
    table.write_text("id,transcript\njoyful,so happy today!! glad\nplain,the bus is late\nsilent,\n", encoding="utf-8")
    scored = mien.load(made / "out" / "words-en").predict(table).to_pylist()
    by = {row["clip"]: row for row in scored}
    assert by["joyful"]["Joy"] > by["plain"]["Joy"] + 0.2
    assert by["silent"]["Joy"] is None or np.isnan(by["silent"]["Joy"])
    assert "words alone" in (made / "out" / "words-en" / "README.md").read_text(encoding="utf-8")


@pytest.mark.soak
def test_another_run_gives_the_same_model(made: Path) -> None:
    run(made, "again")
    for name in ("text.adapted.safetensors", "words-en/model.safetensors"):
        assert (made / "again" / name).read_bytes() == (made / "out" / name).read_bytes()


def test_the_report_is_of_texts_that_trained_nothing(made: Path) -> None:
    report = json.loads((made / "out" / "report.json").read_text())
    rows = {row["rating"]: row for row in report["targets"]}
    assert rows["goemotions Joy"]["texts"] == 100 and rows["brighter Joy"]["texts"] == 50
    assert rows["goemotions Joy"]["r"][0] > 0.8 and rows["goemotions Joy"]["auc"] > 0.9
    assert rows["goemotions Joy"]["r as spoken"] > 0.75
    assert abs(rows["goemotions Admiration"]["r"][0]) < 0.4
    printed = subprocess.run(
        [sys.executable, RECIPE / "report.py", made / "out"], capture_output=True, text=True, check=True
    ).stdout
    assert "| Joy | goemotions Joy | 100 |" in printed


def test_other_bytes_than_those_of_the_shipped_model_are_refused(made: Path) -> None:
    command = [sys.executable, RECIPE / "train.py", made / "data", "--out", made / "other"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "not the bytes that words-en was trained on" in done.stderr


def test_texts_of_the_report_do_not_train() -> None:
    sys.path.insert(0, str(RECIPE))
    try:
        spec = importlib.util.find_spec("corpora")
        assert spec is not None
        from corpora import read_texts
    finally:
        sys.path.remove(str(RECIPE))
    data = Path(__file__).parents[3] / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the corpora are not here")
    texts = read_texts(data)
    kept = {
        " ".join((texts.clips[n].transcript or "").casefold().split()) for n in texts.places("report", "goemotions")
    }
    assert not kept & {" ".join((texts.clips[n].transcript or "").casefold().split()) for n in texts.places("fit")}
    articles = [{texts.clips[n].participant for n in texts.places(part, "empathic-reactions")}
                for part in ("fit", "calibrate", "report")]  # fmt: skip
    assert not articles[0] & articles[1] and not articles[0] & articles[2] and not articles[1] & articles[2]
