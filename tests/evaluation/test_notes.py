"""Means that leave something out say so."""

from dataclasses import replace

import numpy as np
import pytest

from mien.evaluation.evaluate import evaluate
from mien.metrics import mean_defined, pearson
from mien.subsets import all_subsets
from tests.evaluation.test_scale import far  # noqa: F401 - a fixture


def test_means_over_fewer_emotions_with_a_subset_of_modalities_are_counted(far) -> None:  # noqa: F811
    """This model scores far beyond the scale: from some modalities alone every clip has 0 or 1, which has no r."""
    bundle, manifest, store = far
    made = evaluate(bundle, manifest, store, "valid", resamples=100)
    ids = [clip.id for clip in manifest.clips if clip.split == "valid"]
    clips = bundle.clips({name: store.gather(name, ids) for name in bundle.modalities})
    parts = [bundle.bounded(one) for one in bundle.score_subsets(clips, all_subsets(bundle.modalities)).values()]
    parts += list(bundle.bounded(bundle.score_each(clips)))
    whole = bundle.bounded(bundle.score_each(clips).mean(0))
    lost = sum(bool(((one == one[0]).all(0) & ~(whole == whole[0]).all(0)).any()) for one in parts)
    assert 0 < lost < 17  # of 15 subsets and 2 models
    (note,) = (note for note in made.notes if "some emotions" in note)
    assert note.startswith(f"r is undefined for some emotions in {lost} of 17 subsets and models (first: ")
    assert note.endswith("; their means are over the others")


def test_a_rated_clip_alone_is_said_in_the_singular(far) -> None:  # noqa: F811
    bundle, manifest, store = far
    first = next(clip for clip in manifest.clips if clip.split == "valid")
    others = tuple(replace(c, labels=None) for c in manifest.clips if c.split == "valid" and c.id != first.id)
    made = evaluate(bundle, replace(manifest, clips=(first, *others)), store, "valid", resamples=100)
    assert made.basis.startswith("split valid: 1 rated clip of 1 participant; ")
    assert {target.why_undefined for target in made.targets} == {"only 1 rated clip"}
    assert np.isnan(made.mean_r.value) and made.mean_r.value != pytest.approx(0)
    assert np.isnan(mean_defined(pearson([[0.1]], [[0.2]])))
