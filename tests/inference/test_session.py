"""A loaded model: what it reads clips with is loaded once, serves several threads, and goes when it is closed."""

import copy
import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mien.config import read_settings
from mien.inference.predict import Model
from mien.inference.score import pack
from mien.media import load_media
from mien.modalities import MODALITIES
from mien.model.bundle import Bundle
from mien.model.description import make_module
from mien.model.network import variants
from mien.sandbox import is_denied, network_guard
from mien.schema import MOTION_WIDTH, Clip, Manifest, Prediction
from mien.weights import Weights
from mien.weights.tiny import WIDTH
from tests.media.clips import make_clip
from tests.media.test_provided import write_picture
from tests.workers import decoders

pytestmark = pytest.mark.weights

WIDTHS = {"text": WIDTH, "audio": WIDTH, "vision": WIDTH, "motion": MOTION_WIDTH}
TARGETS = ("Joy", "Awe")


@pytest.fixture
def model(small_weights: dict[str, Weights]) -> Iterator[Model]:
    """An untrained model on random backbones, but with the real detectors of faces and of speech."""
    settings = read_settings(
        overrides=["weights=tiny", "backbone.text=frozen", "seeds=[0]", "stage1.embedding=8",
                   "stage1.motion_embedding=4", "stage2.hidden=8",
                   "compute.precision=float32", "faces.source=provided", "faces.crop_size=28"]
    )  # fmt: skip
    models = variants(settings, settings.stage2)
    module = make_module("multimodal", WIDTHS, len(TARGETS), settings, models).requires_grad_(False)
    with Model(Bundle(module, TARGETS, WIDTHS, settings, models, {}, True), "first") as made:
        yield made


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """One clip with face images and recognised speech; and one with a given transcript."""
    root = tmp_path_factory.mktemp("clips")
    crops = root / "faces"
    crops.mkdir()
    for number in (1, 2):
        write_picture(crops / f"{number}.png", grey=number * 50)
    seen = make_clip(root / "seen.mp4", seconds=1)
    given = make_clip(root / "given.mp4", seconds=1)
    return Manifest(root, (), (Clip("seen", seen, crops=crops), Clip("given", given, transcript="so proud")))


def rows(predictions: list[Prediction]) -> list[list[float]]:
    assert [one.error for one in predictions] == [None, None]
    return [list(one.scores.values()) for one in predictions]


@pytest.fixture(autouse=True)
def no_other_decoder() -> None:
    """What an earlier test left to the collection of garbage is not counted here."""
    gc.collect()
    for left in decoders():
        left.kill()
        left.wait()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each thing that is worth keeping was made; and, as ``with network``, how often where there was one."""
    count: Counter[str] = Counter()

    def counted(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def through(*args: Any, **more: Any) -> Any:
            count[name] += 1
            count["with network"] += not is_denied()
            return make(*args, **more)

        return through

    for name, modality in MODALITIES.items():
        monkeypatch.setitem(MODALITIES, name, replace(modality, load=counted(name, modality.load)))
    for name in ("FaceFinder", "Transcriber"):
        monkeypatch.setattr(load_media, name, counted(name, getattr(load_media, name)))
    return count


def test_three_calls_load_everything_once_whatever_each_asks_for(
    model: Model, clips: Manifest, made: Counter[str]
) -> None:
    first = rows(model.predictions(clips))
    (process,) = decoders()
    second = model.predictions(clips, windows=0.5, why=True, clip_seconds=100)
    assert all(one.windows and one.why for one in second)
    third = rows(model.predictions(clips, faces="auto", sound="auto"))
    model.predictions(clips, faces="video", sound="provided")
    assert first == rows(second) == third
    assert [one.pid for one in decoders()] == [process.pid]
    with_network = made.pop("with network")
    assert made == dict.fromkeys(["text", "audio", "vision", "FaceFinder", "Transcriber"], 1)  # motion has no backbone
    assert network_guard() or with_network == 0


def test_a_call_keeps_to_its_own_time(model: Model, clips: Manifest) -> None:
    assert rows(model.predictions(clips))
    seen, given = model.predictions(clips, clip_seconds=0.001)
    assert "gave up after 0.001 s" in (seen.error or "")
    assert given.present == ("text",)  # its transcript was given
    assert rows(model.predictions(clips))


def test_two_threads_on_a_cold_model_say_what_one_says(model: Model, clips: Manifest, made: Counter[str]) -> None:
    together = threading.Barrier(2)

    def score(_: int) -> list[list[float]]:
        together.wait()
        return rows(model.predictions(clips))

    with ThreadPoolExecutor(2) as pool:
        here, there = pool.map(score, range(2))
    assert here == there
    del made["with network"]
    assert set(made.values()) == {1}
    model.close()
    np.testing.assert_allclose(rows(model.predictions(clips)), here, atol=1e-6)


def test_a_closed_model_leaves_no_process_and_no_thread_and_can_be_used_again(model: Model, clips: Manifest) -> None:
    others = threading.enumerate()
    with model:
        before = rows(model.predictions(clips))
        (process,) = decoders()
        made = {thread.name for thread in threading.enumerate() if thread not in others}
        assert ("mien-offline" in made) is (not network_guard())
    assert not process.is_running()
    assert "mien-offline" not in {thread.name for thread in threading.enumerate() if thread not in others}
    assert rows(model.predictions(clips)) == before
    model.close()
    model.close()
    assert decoders() == []


def test_a_model_that_nobody_holds_closes_itself(model: Model, clips: Manifest) -> None:
    another = Model(model.bundle, "another")
    another.predictions(clips)
    (process,) = decoders()
    del another
    gc.collect()
    assert not process.is_running()


def test_other_settings_load_anew(model: Model, clips: Manifest, made: Counter[str]) -> None:
    model.predictions(clips)
    other = ["weights=tiny", "backbone.text=frozen", "compute.precision=bfloat16"]
    model.bundle.settings = read_settings(overrides=other)
    model.predictions(clips)
    assert made["audio"] == 2


def test_after_an_interrupt_no_answer_is_taken_for_that_to_another_clip(
    model: Model, clips: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(model.predictions(clips))
    (process,) = decoders()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mien.features.load_inputs.load_media", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.predictions(clips)
    assert not process.is_running()
    assert rows(model.predictions(clips)) == before


def test_a_copy_loads_for_itself(model: Model, clips: Manifest) -> None:
    before = rows(model.predictions(clips))
    with copy.deepcopy(model) as another:
        assert rows(another.predictions(clips)) == before
        assert len(decoders()) == 2


def test_a_model_says_what_it_is_in_three_lines(model: Model) -> None:
    assert repr(model) == (
        "Model first\n  targets     Joy, Awe\n  modalities  text, audio, vision, motion (tiny weights)"
    )


def test_the_thread_that_works_for_a_model_keeps_the_network_of_the_program(model: Model, clips: Manifest) -> None:
    model.predictions(clips)
    assert not is_denied()


def test_a_loaded_model_packs_each_clip_once_with_its_windows(
    model: Model, clips: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []

    def counted(these: list[Any], *rest: Any) -> Any:
        packed.append(len(these))
        return pack(these, *rest)

    monkeypatch.setattr("mien.inference.score.pack", counted)
    first, second = model.predictions(clips, windows=0.5, why=True)
    assert first.why and second.why
    assert packed == [1 + len(first.windows), 1 + len(second.windows)]  # each clip with its windows


def test_a_model_says_what_it_is_doing_with_a_clip(
    model: Model, clips: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the work; the second clip has its words, so no speech is recognised."""
    seen: list[str] = []
    monkeypatch.setattr(
        load_media.MediaEngines, "stage",
        property(lambda _self: seen[-1] if seen else "", lambda _self, name: seen.append(name)),
    )  # fmt: skip
    assert model.stage == ""
    model.predictions(clips, why=True)
    rest = ["text", "audio", "vision", "motion", "scores", ""]
    assert seen == ["decoding", "speech", *rest, "decoding", *rest]
    assert model.stage == ""
