"""Which faces are in one picture, what their muscles do, and which way the heads point.

Two steps. A detector says where faces are: MediaPipe's short-range one, which shrinks the picture to 128 pixels and so
misses a face much smaller than a fifth of the picture, and, when that finds nobody, a full-range one (CenterFace).
Then MediaPipe's landmarker sees each face in a close-up of its own, always at about the same size and in the middle;
a face counts only when the landmarker confirms it. The close-up costs a quarter more time than showing the landmarker
the whole picture, and makes the numbers independent of where in the picture, and how large, the face is: moving a
picture 400 pixels aside turned yaw by 12 degrees without it, and by less than 1 with it.

Every picture is looked at by itself (MediaPipe's IMAGE mode): what a face does depends on no picture before it. Whoever
tracks people through time (``face_tracks.py``) passes their last boxes, and nothing is detected while they are there.

Shapes: ``H, W`` height and width of a picture; 478 landmarks; 52 blendshapes; 6 numbers of head pose.
"""

import contextlib
import os
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DependencyMissing, WeightsError, WeightsMissing
from mien.media.centerface import SAME_FACE, FullRange, overlap
from mien.media.crops import Box, Image, cut, open_cv

MOST_FACES = 4
"""Faces looked for in one picture."""

SURE_OF_A_FACE = 0.7
"""Confidence from which MediaPipe's detectors count. At their default of .5 they see faces in a cartoon rabbit, at .65
none; real faces stay found up to .8."""

CLOSE_UP_MARGIN = 0.5
"""Around a face's box in its close-up, as a share of the box's side: the face then fills half of the close-up."""

FIELD_OF_VIEW = 63.0
"""Vertical angle of the camera that the landmarker assumes, degrees: distances are only as true as this is."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture.

    Attributes:
        box: the smallest upright rectangle around the landmarks, pixels; it may reach over the picture's border.
        landmarks: ``(478, 2)`` float32, x and y in pixels.
        blendshapes: ``(52,)`` float32 in [0, 1], in the landmarker's order, the first of which is ``_neutral``.
        pose: ``(6,)`` float32 as ``mien.schema.HEAD_POSE``; see ``head_pose``.
    """

    box: Box
    landmarks: npt.NDArray[np.float32]
    blendshapes: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]


class FaceFinder:
    """The detectors, loaded once and used for many pictures; close it, or use it in a ``with``.

    Args:
        landmarker: MediaPipe's ``face_landmarker_v2.task``, which holds the short-range detector as well.
        full_range: CenterFace as ONNX, or ``None`` to look for near faces only.
        threads: processor threads of OpenCV, which the whole process shares: for the full-range detector and scaling.
            MediaPipe computes in one thread and offers no choice.

    Raises:
        DependencyMissing: mediapipe or one of its system libraries is missing.
        WeightsMissing: a weights file is not there.
        WeightsError: a weights file is not what it should be.
    """

    def __init__(self, landmarker: Path, full_range: Path | None, threads: int = 1) -> None:
        for file in (landmarker, full_range):
            if file is not None and not file.is_file():
                raise WeightsMissing(f"{file}: no such file; bring the weights with: mien weights fetch small")
        self._image, self._detector, self._landmarker = _open_mediapipe(landmarker)
        self._closer = weakref.finalize(self, _close, self._detector, self._landmarker)
        open_cv().setNumThreads(threads)
        self._full_range = None if full_range is None else FullRange(full_range)

    def find(
        self, picture: Image, near: Sequence[Box] = (), *, newcomers: bool = True, thorough: bool = True
    ) -> list[Face]:
        """The faces in one picture, widest first.

        Args:
            picture: ``(H, W, 3)`` uint8 RGB.
            near: boxes in which faces were a moment ago; close-ups are taken there before anything is detected.
            newcomers: look for other faces as well, though one is found in each of these boxes.
            thorough: ask the full-range detector (some 60 ms) when nobody was found by then.
        """
        faces = self._confirmed(picture, near)
        if newcomers or not faces or len(faces) < len(near):
            faces = self._confirmed(picture, self._short_range(picture), faces)
        if not faces and thorough and self._full_range is not None:
            faces = self._confirmed(picture, self._full_range.boxes(picture))
        return faces

    def _short_range(self, picture: Image) -> list[Box]:
        found = [detection.bounding_box for detection in self._detector.detect(self._image(picture)).detections]
        edges = [(at.origin_x, at.origin_y, at.origin_x + at.width, at.origin_y + at.height) for at in found]
        return [(float(left), float(top), float(right), float(bottom)) for left, top, right, bottom in edges]

    def _confirmed(self, picture: Image, boxes: Sequence[Box], known: Sequence[Face] = ()) -> list[Face]:
        """The known faces, and those that the landmarker sees in boxes where none of them is."""
        faces = list(known)
        free = [box for box in boxes if all(overlap(box, face.box) == 0 for face in known)]
        for box in sorted(free, key=lambda box: box[0] - box[2])[: MOST_FACES - len(known)]:
            face = self._close_up(picture, box)
            if face is not None and all(overlap(face.box, other.box) <= SAME_FACE for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: face.box[0] - face.box[2])

    def _close_up(self, picture: Image, box: Box) -> Face | None:
        """The face nearest to the middle of the close-up around ``box``, if the landmarker sees one there."""
        square, corner = cut(picture, box, CLOSE_UP_MARGIN)
        found = self._landmarker.detect(self._image(square))
        rows = zip(found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True)
        faces = [_face(*row, square.shape[0], corner, picture) for row in rows]
        return max(faces, key=lambda face: overlap(face.box, box), default=None)

    def close(self) -> None:
        """Give the detectors' memory and threads back."""
        self._closer()

    def __enter__(self) -> "FaceFinder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def head_pose(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Head pose from the landmarker's 4x4 matrix, which takes the model head to the camera's space.

    That space has x to the picture's right, y up and z towards the camera, in centimetres, with the camera at 0. The
    rotation is read as yaw, then pitch, then roll (``R = Ry(yaw) Rx(pitch) Rz(roll)``).

    Returns:
        ``(6,)`` float32: pitch (positive looks down), yaw (positive looks to the picture's right), roll (positive
        turns counter-clockwise in the picture), all degrees; x (right), y (up), z (negative: the distance), cm.

    >>> turned = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, -50], [0, 0, 0, 1]])  # a quarter turn about y
    >>> head_pose(turned).tolist()
    [0.0, 90.0, 0.0, 0.0, 0.0, -50.0]
    """
    pitch = np.arcsin(np.clip(-matrix[1, 2], -1, 1))
    yaw = np.arctan2(matrix[0, 2], matrix[2, 2])
    roll = np.arctan2(matrix[1, 0], matrix[1, 1])
    angles = np.degrees([pitch, yaw, roll]) + 0.0  # no -0
    return np.concatenate([angles, matrix[:3, 3]]).astype(np.float32)


def _face(
    marks: Sequence[Any],
    shapes: Sequence[Any],
    matrix: npt.NDArray[Any],
    side: int,
    corner: tuple[int, int],
    picture: Image,
) -> Face:
    """What the landmarker saw in a close-up of ``side`` pixels at ``corner``, as a face of the whole picture.

    The landmarker took the close-up for the camera's whole view. So its head seems nearer by the ratio of the heights,
    and centred on the close-up; both are put right here. The angles stay those seen along the line of sight.
    """
    landmarks = np.array([(mark.x, mark.y) for mark in marks], np.float32) * side + np.array(corner, np.float32)
    left, top, right, bottom = (float(edge) for edge in (*landmarks.min(axis=0), *landmarks.max(axis=0)))
    blendshapes = np.array([shape.score for shape in shapes], np.float32)
    height, width = picture.shape[:2]
    pose = head_pose(matrix)
    cm_per_pixel = -pose[5] * 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) / side
    pose[3] += cm_per_pixel * (corner[0] + side / 2 - width / 2)
    pose[4] -= cm_per_pixel * (corner[1] + side / 2 - height / 2)
    pose[5] *= height / side
    return Face((left, top, right, bottom), landmarks, blendshapes, pose)


def _open_mediapipe(file: Path) -> tuple[Callable[[Image], Any], Any, Any]:
    """How mediapipe wants its pictures, its short-range detector, and its landmarker."""
    try:
        with _without_extras():
            import mediapipe  # noqa: PLC0415
            from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415

        with zipfile.ZipFile(file) as bundle:
            detector_options = vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=bundle.read("face_detector.tflite")),
                min_detection_confidence=SURE_OF_A_FACE,
            )
        landmarker_options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(file)),
            num_faces=2,
            min_face_detection_confidence=SURE_OF_A_FACE,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        with _quiet_stderr():
            detector = vision.FaceDetector.create_from_options(detector_options)
            landmarker = vision.FaceLandmarker.create_from_options(landmarker_options)
            detector.detect(_image(mediapipe, np.zeros((64, 64, 3), np.uint8)))  # some greetings come with first use
    except ModuleNotFoundError as error:
        raise DependencyMissing("faces need mediapipe, which is not installed; pip install 'mien[faces]'") from error
    except (zipfile.BadZipFile, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{file}: not a face landmarker; check it with: mien weights verify") from error
    except (ImportError, OSError) as error:
        raise DependencyMissing(
            f"faces need a system library that mediapipe could not load ({error}); apt install libegl1 libgles2"
        ) from error

    return partial(_image, mediapipe), detector, landmarker


def _image(mediapipe: Any, picture: Image) -> Any:
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))


def _close(*tasks: Any) -> None:
    for task in tasks:
        try:
            with _quiet_stderr():
                task.close()
        except RuntimeError:  # the interpreter is leaving and took the task's threads along; its __del__ must not try
            task._handle = None


@contextlib.contextmanager
def _without_extras() -> Iterator[None]:
    """Import mediapipe without what its recorder and its plots import, and faces do not need.

    ``sounddevice`` looks for its library by running ``ldconfig`` and ``gcc``; ``matplotlib`` runs ``fc-list`` and
    writes to the home folder. Mediapipe's plots do not work in this process then; both modules themselves do.
    """
    extras = {"sounddevice": None, "matplotlib": ModuleType("matplotlib")}
    extras["matplotlib.pyplot"] = extras["matplotlib"]
    put = {name: module for name, module in extras.items() if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type] - None is how a module is said not to be there
    try:
        yield
    finally:
        for name in put:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Swallow what native code writes to file descriptor 2: mediapipe greets and parts with lines no setting stops.

    Faults still come as Python exceptions. What other threads write meanwhile is lost, so it is kept to moments.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
