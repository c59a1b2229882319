"""The public API: a dozen names, imported lazily, and nothing heavy before that."""

import subprocess
import sys
from pathlib import Path

import pytest

import mien

PUBLIC = {
    "EMOTIONS", "Clip", "Manifest", "MienError", "Model", "Settings", "Store", "cross_validate", "evaluate", "extract",
    "load", "read_manifest", "read_settings", "synth", "train",
}  # fmt: skip
HEAVY = ("torch", "transformers", "av", "ai_edge_litert", "faster_whisper", "pyarrow", "scipy", "matplotlib")


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(mien.__all__) == PUBLIC
    for name in PUBLIC:
        value = getattr(mien, name)
        assert name == "EMOTIONS" or value.__doc__, f"mien.{name} says nothing about itself"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    assert not hasattr(mien, "nothing_of_the_kind")


def loaded_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_loads_nothing() -> None:
    assert not loaded_by("import mien") & {*HEAVY, "numpy", "pydantic"}


def test_the_layers_below_modalities_run_without_torch() -> None:
    below = "import mien.data.manifest, mien.media.load_media, mien.metrics, mien.config, mien.scale, mien.weights"
    assert not loaded_by(below) & {"torch", "transformers", "ai_edge_litert", "faster_whisper", "matplotlib"}


def test_extraction_is_planned_without_the_model_classes_of_transformers() -> None:
    assert "transformers" not in loaded_by("import mien.features.extract")


def test_the_command_line_is_imported_without_anything_heavy() -> None:
    assert not loaded_by("import mien.cli") & {*HEAVY, "numpy"}


def test_paths_may_be_text(tmp_path: Path) -> None:
    """In every public function that takes a path."""
    (tmp_path / "clips.csv").write_text("path,Joy\na.mp4,50\n")
    (tmp_path / "mine.yaml").write_text("seeds: [7]\n")
    assert mien.read_manifest(str(tmp_path / "clips.csv"), label_scale=100).clips[0].labels == (0.5,)
    assert mien.read_settings(str(tmp_path / "mine.yaml")).seeds == (7,)
    for opens in (mien.Store, mien.load):
        with pytest.raises(mien.MienError, match="nowhere"):
            opens(str(tmp_path / "nowhere"))


def test_the_old_import_path_of_exports_still_works_with_a_warning() -> None:
    sys.modules.pop("mien.serving.exports", None)
    with pytest.warns(DeprecationWarning, match=r"mien\.scores\.exports"):
        from mien.serving.exports import write_scores
    from mien.scores import exports

    assert write_scores is exports.write_scores
