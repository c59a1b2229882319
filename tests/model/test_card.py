"""What goes out with a model is true, whole, and readable by machines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from mien.config import Settings
from mien.evaluation.subgroups import by_group
from mien.evaluation.validation import results_record
from mien.metrics import bootstrap_mean
from mien.model.card import card, front_matter
from mien.model.legal_notice import NOTICE
from mien.model.licences import Licences, licences_of
from mien.schema import Clip
from mien.weights import ENTRIES, SETS

TARGETS = ("Joy", "Pain | numb")


def config(weights: str = "small", **made: str) -> dict[str, Any]:
    entries = SETS[weights]
    ways = {name: f"{entries[name]} float32 v1" for name in ("text", "audio", "vision")}
    return {
        "kind": "multimodal",
        "targets": [*TARGETS],
        "widths": {"text": 4, "audio": 4, "vision": 4, "motion": 58},
        "models": [{}, {}],
        "feature_provenance": {**ways, "motion": "face-landmarker float32 v1", **made},
        "random_weights": weights == "tiny",
        "settings": Settings(weights=weights).model_dump(mode="json"),  # type: ignore[arg-type]
    }


def clips(count: int, group: bool = True) -> list[Clip]:
    return [
        Clip(f"{n}", Path(f"{n}.mp4"), participant=f"p{n // 2}", group="ab"[n % 4 // 2] if group else None)
        for n in range(count)
    ]


def provenance(group: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rated = rng.random((40, 2)).astype(np.float32)
    scores = (rated + 0.1 * rng.normal(size=(3, 40, 2))).astype(np.float32)
    rated[0, 0] = np.nan
    results = results_record(scores, rated, clips(40, group), TARGETS, {"fused": np.full((3, 2), 0.9)})
    data = {"name": "mine.csv", "train": 80, "valid": 40, "participants": (40, 20), "participants_on_both_sides": 1,
            "split_fingerprint": "s"}  # fmt: skip
    return {"results": results, "data": data, "split": "ratio", "data_fingerprint": "d", "features_fingerprint": "f"}


def test_the_head_is_what_model_hubs_read() -> None:
    text = card(config(), provenance(), licences_of(config()))
    read = ModelCard(text).data
    assert read.license == "other"
    assert read.library_name == "mien"
    assert read.eval_results is not None
    found = {result.metric_name: result.metric_value for result in read.eval_results}
    assert set(found) == {"Pearson's r, Joy", "Pearson's r, Pain | numb", "Pearson's r, mean"}
    assert found["Pearson's r, Joy"] > 0.9
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"][0]["dataset"]["name"] == "mine.csv"


def test_the_card_says_what_must_be_known() -> None:
    text = card(config(), provenance(), licences_of(config()))
    for heading in ("Intended use", "Not for", "Data", "Results", "Results by group", "Licences", "Limits", "Law"):
        assert f"## {heading}\n" in text
    assert all(fact in text for fact in NOTICE)
    assert "80 training clips, 40 for validation; 40 and 20 participants, **1 of them on both sides**" in text
    assert "bootstrap over 20 participants" in text
    assert "| Pain \\| numb |" in text  # a target's name does not break the table
    assert "| Joy | " in text and "| 39 |" in text  # of 40 clips one is not rated for Joy


def test_a_card_without_groups_says_that_nothing_is_known_of_them() -> None:
    assert "Groups are unknown" in card(config(), provenance(group=False), licences_of(config()))


def test_random_backbones_are_in_the_first_lines_and_in_the_tags() -> None:
    text = card(config("tiny"), provenance(), licences_of(config("tiny")))
    assert "Its scores mean nothing" in text.partition("## ")[0]
    assert "random-weights" in front_matter(config("tiny"), {}, licences_of(config("tiny")))["tags"]


def test_a_card_without_results_is_still_a_card() -> None:
    text = card(config(), {}, licences_of(config()))
    assert "model-index" not in text
    assert "## Licences" in text


@pytest.mark.parametrize(("weights", "bound"), [("paper", {"wav2vec2-msp-dim"}), ("small", set()), ("tiny", set())])
def test_weights_that_forbid_commercial_use_are_flagged(weights: str, bound: set[str]) -> None:
    found = licences_of(config(weights))
    assert {one.name for one in found.weights if one.non_commercial} == bound
    assert {one.name for one in found.weights} == set(SETS[weights].values())
    assert found.non_commercial == bool(bound)
    assert all(one.sha256 for one in found.weights if ENTRIES[one.name].kind == "wheel")


def test_what_follows_from_share_alike_is_said() -> None:
    said = " ".join(licences_of(config("paper")).follows)
    assert "may not be used commercially" in said
    assert "share-alike" in said


def test_features_that_were_made_elsewhere_have_an_unknown_licence() -> None:
    found = licences_of(config(vision="challenge vit@1"))
    one = next(one for one in found.weights if one.name == "challenge vit@1")
    assert (one.role, one.licence, one.non_commercial) == ("vision", "unknown", None)
    assert any("vision is unknown" in line for line in found.follows)
    assert Licences.record(found)["weights"][0]["role"] == "text"


def test_a_group_that_is_scored_too_high_shows_in_its_error_alone() -> None:
    rated = np.linspace(0, 1, 40)[:, None].repeat(2, 1)
    people = clips(40)
    scores = rated + np.array([0.2 if clip.group == "b" else 0.0 for clip in people])[:, None]
    a, b = by_group(scores, rated, people, resamples=200)
    assert (a.group, a.clips, a.participants, b.group) == ("a", 20, 10, "b")
    assert a.r.value == pytest.approx(1) and b.r.value == pytest.approx(1)
    assert (a.error.value, b.error.value) == (pytest.approx(0), pytest.approx(0.2))
    assert b.error.low == pytest.approx(0.2)  # every clip of the group is off by the same


def test_a_bootstrap_mean_resamples_whole_people() -> None:
    """Two people with the means 0 and 1: a resample has one of them twice, or both; so 0, 1 or 1/2, never else."""
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    drawn = bootstrap_mean(values, ["p", "p", "q", "q"], resamples=400)
    assert set(np.unique(drawn)) == {0.0, 0.5, 1.0}
    assert np.mean(drawn == 0.5) == pytest.approx(0.5, abs=0.1)  # 2 of 4 equally likely draws


def test_what_is_not_there_does_not_count_in_a_bootstrap_mean() -> None:
    drawn = bootstrap_mean(np.array([[np.nan, 1.0], [3.0, np.nan]]), resamples=50)
    assert set(np.unique(drawn[~np.isnan(drawn)])) == {1.0, 3.0}
