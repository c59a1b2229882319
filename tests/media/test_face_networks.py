"""The face networks against figures recorded from MediaPipe 1.2.2, and the arithmetic around them."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.config import MediaSettings
from mien.errors import DependencyMissing, WeightsError
from mien.media.crops import Image, warp
from mien.media.decode import MediaReader
from mien.media.face_detection import FaceFinder
from mien.media.face_geometry import FIELD_OF_VIEW, MESH_LANDMARKS, ModelHead, head_matrix, head_pose
from mien.media.face_mesh import Region
from mien.media.face_networks import open_networks
from mien.media.short_range import Detection, merge
from mien.synthetic.drawing import ACTIONS, draw_frames
from mien.synthetic.identity import draw_identity
from tests.media.clips import SHARED

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("mediapipe.json").read_text(encoding="utf-8")
)
"""By picture: the box of its close-up, and what MediaPipe's landmarker gave in it (``bench/landmarks.py --record``)."""

LANDMARKS = [1, 33, 61, 152, 263, 291, 473]
"""The recorded ones: tip of the nose, outer eye corners, corners of the mouth, chin, an iris."""


def picture(name: str) -> Image:
    """A drawn person with random actions, or the first frame of a real clip."""
    kind, _, number = name.partition(" ")
    if kind == "drawn":
        draws = np.random.default_rng(int(number))
        person = draw_identity(draws)
        return next(iter(draw_frames(person, draws.uniform(0, 1, (1, len(ACTIONS))).astype(np.float32))))
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED}: the real clips are not beside the repository")
    with MediaReader(SHARED / name, MediaSettings(), rates={"vision": 1}, audio=False) as reader:
        return next(iter(reader.frames())).rgb


@pytest.fixture(scope="module")
def finder(small_weights) -> FaceFinder:
    return FaceFinder(small_weights["landmarker"].path, small_weights["full_range"].path)


@pytest.mark.weights
@pytest.mark.parametrize("name", RECORDED)
def test_landmarks_blendshapes_and_pose_are_those_of_mediapipe(name: str, finder: FaceFinder) -> None:
    """Up to rounding: what is left comes from pixels that lie halfway between two positions of the warp."""
    expected = RECORDED[name]
    face = finder.close_up(picture(name), tuple(expected["box"]))
    assert face is not None
    np.testing.assert_allclose(face.landmarks[LANDMARKS], expected["landmarks"], atol=0.4)
    np.testing.assert_allclose(face.blendshapes, expected["blendshapes"], atol=0.02)
    np.testing.assert_allclose(face.pose[:3], expected["angles"], atol=0.2)


WITHOUT = """
import sys
from pathlib import Path
import numpy as np

for name in ("mediapipe", "matplotlib", "sounddevice"):
    sys.modules[name] = None  # as if it were not installed
from mien.media.face_detection import FaceFinder
from tests.media.test_face_networks import picture

(face,) = FaceFinder(Path(sys.argv[1]), Path(sys.argv[2])).find(picture("drawn 1"))
print(Path("/proc/self/maps").read_text() if Path("/proc/self/maps").exists() else "")
"""


@pytest.mark.weights
def test_faces_need_neither_mediapipe_nor_libraries_for_graphics(small_weights) -> None:
    command = [sys.executable, "-c", WITHOUT, *(str(small_weights[it].path) for it in ("landmarker", "full_range"))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"\S*(?:mediapipe|libEGL|libGLES|libGL\.|libX11|libQt)\S*", done.stdout) == []


@pytest.mark.weights
def test_a_bundle_that_is_not_the_expected_one_is_refused_in_one_line(small_weights, tmp_path: Path) -> None:
    with zipfile.ZipFile(small_weights["landmarker"].path) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    geometry = "geometry_pipeline_metadata_landmarks.binarypb"
    spoilt = {
        "another network": members | {"face_detector.tflite": members["face_blendshapes.tflite"]},
        "no network": members | {"face_blendshapes.tflite": b"TFL3" * 100},
        "an empty network": members | {"face_landmarks_detector.tflite": b""},
        "a cut geometry": members | {geometry: members[geometry][:5000]},
        "no geometry": {name: content for name, content in members.items() if name != geometry},
        "an empty geometry": members | {geometry: b""},
    }
    for name, contents in spoilt.items():
        file = tmp_path / f"{name}.task"
        with zipfile.ZipFile(file, "w") as bundle:
            for member, content in contents.items():
                bundle.writestr(member, content)
        with pytest.raises(WeightsError, match=rf"{name}\.task: not a face landmarker; check it with: mien weights"):
            open_networks(file)
    flipped = bytearray(small_weights["landmarker"].path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.task").write_bytes(flipped)
    with pytest.raises(WeightsError, match="not a face landmarker"):
        open_networks(tmp_path / "flipped.task")


def test_a_missing_runtime_is_reported_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "any.task"
    file.touch()
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(DependencyMissing, match=r"ai-edge-litert, which did not load .*; pip install 'mien\[faces\]'"):
        open_networks(file)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_detections_of_one_face_are_averaged_by_their_scores_and_others_are_kept() -> None:
    def row(x: float) -> np.ndarray:
        return np.array([(x, 0.5), (0.2, 0.2), *[(x, 0.4)] * 6])

    merged, scores = merge(np.stack([row(0.22), row(0.8), row(0.20)]), np.array([0.6, 0.8, 0.9]))
    # boxes .2 wide, .02 apart: .18 / .22 = .82 overlap; centre (.6 x .22 + .9 x .20) / 1.5 = .208
    np.testing.assert_allclose(merged[:, 0, 0], [0.208, 0.8])
    np.testing.assert_allclose(merged[0, 2:], [(0.208, 0.4)] * 6)
    assert scores.tolist() == [0.9, 0.8]


def test_no_detections_merge_to_none() -> None:
    merged, scores = merge(np.zeros((0, 8, 2)), np.zeros(0))
    assert (merged.shape, scores.shape) == ((0, 8, 2), (0,))


def test_the_region_of_a_face_is_half_as_large_again_and_turned_until_the_eyes_are_level() -> None:
    region = Region.around(Detection((10.0, 20.0, 30.0, 60.0), ((15.0, 30.0), (25.0, 40.0)), 0.9))
    assert (region.x, region.y, region.width, region.height) == (20, 40, 30, 60)
    assert region.angle == pytest.approx(np.pi / 4)  # ten pixels across, ten down
    matrix = region.matrix(256)
    np.testing.assert_allclose(matrix @ (128, 128, 1), (20, 40))
    # half the width along the level of the eyes: 15 cos 45, 15 sin 45
    np.testing.assert_allclose(matrix @ (256, 128, 1), (20 + 15 / 2**0.5, 40 + 15 / 2**0.5))


@given(x=st.integers(-30, 30), y=st.integers(-30, 30))
def test_a_warp_by_whole_pixels_moves_the_image_and_continues_its_border_or_is_black(x: int, y: int) -> None:
    image = np.random.default_rng(0).integers(1, 256, (20, 24, 3), dtype=np.uint8)
    matrix = np.array([[1.0, 0, x], [0, 1, y]])
    rows, columns = np.arange(16) + y, np.arange(16) + x
    expected = image[np.clip(rows, 0, 19)][:, np.clip(columns, 0, 23)]
    np.testing.assert_array_equal(warp(image, matrix, 16), expected)
    outside = ((rows < 0) | (rows > 19))[:, None] | ((columns < 0) | (columns > 23))
    expected[outside] = 0
    np.testing.assert_array_equal(warp(image, matrix, 16, border=0), expected)


@given(pitch=st.floats(-30, 30), yaw=st.floats(-40, 40), roll=st.floats(-40, 40), x=st.floats(-5, 5))
def test_the_pose_of_a_head_is_measured_from_its_picture(pitch: float, yaw: float, roll: float, x: float) -> None:
    """A made head, seen by the assumed camera; its depth is known to the network only relative to the head."""
    points = np.random.default_rng(0).normal(0, 4, (MESH_LANDMARKS, 3))
    points -= points.mean(axis=0)
    a, b, c = np.radians((pitch, yaw, roll))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    seen = points @ (about_y @ about_x @ about_z).T + (x, 1, -40)
    side, pixels = 200, 200 / (2 * np.tan(np.radians(FIELD_OF_VIEW / 2)))
    depth = -(seen[:, 2] + 40)  # away from the camera, relative to the middle of the head
    landmarks = np.stack([seen[:, 0] / -seen[:, 2], seen[:, 1] / seen[:, 2], depth / 40], axis=1) * pixels
    landmarks[:, :2] += side / 2
    some = np.arange(0, MESH_LANDMARKS, 14)
    head = ModelHead(some, points[some], np.full(len(some), 0.03))
    np.testing.assert_allclose(head_pose(head_matrix(landmarks, side, head)), (pitch, yaw, roll, x, 1, -40), atol=0.5)
