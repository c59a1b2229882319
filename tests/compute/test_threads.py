"""A process has one number of threads, and every engine reports that it uses that number."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from mien.compute.device import choose_threads
from mien.config import ComputeSettings
from mien.errors import SettingsError
from mien.scale import cores
from mien.weights import Weights

REPORT = """
import json, os, sys
import cv2, numpy, torch
from mien.config import read_settings
from mien.features.worker import plan
from mien.compute.engine import compile_backbone
from mien.media.face_networks import open_networks

settings = read_settings(overrides=sys.argv[1:])
extraction = plan(settings)
extractor = extraction()
folder = extraction.weights[0][1].path.parent
senses = extractor.engines.senses
make, compute = lambda _: torch.nn.Linear(4, 4), extractor.engines.compute
graph = compile_backbone(make, folder, compute, [{0: 2}])
graph(torch.ones(3, 4))
(request,) = graph._requests.values()
example = [torch.ones(5, 4)]
ahead = senses.loaded.get("graph", lambda: compile_backbone(make, folder, compute, [{0: 2}], example=example))
(loaded,) = ahead._requests.values()
senses.finder
opencv_with_faces = cv2.getNumThreads()
cv2.setNumThreads(9)
senses.read_image
landmarker = dict(extraction.weights)["landmarker"].path
before = len(os.listdir("/proc/self/task"))
networks = open_networks(landmarker, extraction.threads)
face_threads = len(os.listdir("/proc/self/task")) - before
before = len(os.listdir("/proc/self/task"))
senses.transcriber._recognise(numpy.random.default_rng(0).normal(0, 0.1, 48_000).astype(numpy.float32), [(0.0, 3.0)])
print(json.dumps({
    "planned": extraction.threads,
    "torch": torch.get_num_threads(),
    "openvino": request.get_compiled_model().get_property("INFERENCE_NUM_THREADS"),
    "openvino, loaded ahead": loaded.get_compiled_model().get_property("INFERENCE_NUM_THREADS"),
    "opencv with faces": opencv_with_faces,
    "opencv with images": cv2.getNumThreads(),
    "voice activity": senses.transcriber._vad.get_session_options().intra_op_num_threads,
    "threads that the face networks start": face_threads,
    "threads that the recogniser starts": len(os.listdir("/proc/self/task")) - before,
}))
"""

ENGINES = ("planned", "torch", "openvino", "openvino, loaded ahead", "opencv with faces", "opencv with images")


@cache
def reported(requested: int, environment: str) -> dict[str, int]:
    """Reports of the engines in a new process, started with a setting and an environment variable."""
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if environment:
        surroundings["OMP_NUM_THREADS"] = environment
    done = subprocess.run(
        [sys.executable, "-c", REPORT, f"compute.threads={requested}", "compute.engine=openvino", "compute.device=cpu"],
        env=surroundings, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


OTHER = 3 if cores() != 3 else 2
"""Not the default of any engine."""


@pytest.mark.weights
@pytest.mark.parametrize(("requested", "environment", "expected"), [(0, "1", 1), (OTHER, "1", OTHER)])
def test_every_engine_reports_the_number_of_threads(
    requested: int, environment: str, expected: int, small_weights: dict[str, Weights]
) -> None:
    found = reported(requested, environment)
    most = min(expected, cores())  # OpenVINO never uses more
    known = dict.fromkeys(ENGINES, expected) | {"openvino": most, "openvino, loaded ahead": most}
    assert {name: found[name] for name in ENGINES} == known
    assert found["voice activity"] == 1  # its steps are too small for more


@pytest.mark.weights
def test_the_recogniser_starts_as_many_threads_as_set(small_weights: dict[str, Weights]) -> None:
    """CTranslate2 does not report its number of threads; those that it starts are counted."""
    many, one = (reported(*case)["threads that the recogniser starts"] for case in ((0, str(OTHER)), (1, str(OTHER))))
    assert many - one == 2 * (OTHER - 1)  # for the thread that loads and for the one that computes


@pytest.mark.weights
def test_the_landmark_network_starts_as_many_threads_as_set(small_weights: dict[str, Weights]) -> None:
    """LiteRT does not report its number of threads; those that it starts beside the calling one are counted."""
    many, one = (reported(*case)["threads that the face networks start"] for case in ((0, str(OTHER)), (1, str(OTHER))))
    assert many - one == OTHER - 1


def test_threads_come_from_the_setting_else_the_variable_else_a_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [choose_threads(ComputeSettings(), workers) for workers in (0, 1, 1000)] == [cores(), cores(), 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert choose_threads(ComputeSettings(), workers=2) == 7
    assert choose_threads(ComputeSettings(threads=5), workers=2) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "6,2")  # OpenMP's own way to name levels
    assert choose_threads(ComputeSettings()) == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert choose_threads(ComputeSettings()) == cores()


@pytest.mark.parametrize("value", ["0", "-2", "all", "1.5", "²"])
def test_a_variable_that_is_not_a_number_of_threads_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(SettingsError, match=rf"^OMP_NUM_THREADS = '{value}', expected a whole number from 1 on"):
        choose_threads(ComputeSettings())
    assert choose_threads(ComputeSettings(threads=2)) == 2
