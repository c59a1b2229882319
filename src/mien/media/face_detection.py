"""Detects the faces in one image, with their blendshapes and head pose.

There are two steps. A detector finds faces: MediaPipe's short-range one, which scales the image to 128 pixels and so
misses a face much smaller than a fifth of the image, and, when that finds none, a full-range one (CenterFace). Then
MediaPipe's landmarker is run on a close-up of each face, in which the face is centred and always of about the same
size; a face counts only if the landmarker confirms it. Close-ups take a quarter more time than running the landmarker
on the whole image, and make its output independent of the position and size of the face: moving an image by 400 pixels
changed yaw by 12 degrees without them, and by less than 1 with them.

Each image is processed independently (MediaPipe's IMAGE mode). Tracking (``face_tracks.py``) passes the last boxes, and
the detector is skipped while there are faces in them.

Shapes: ``H, W`` height and width of an image; 478 landmarks; 52 blendshapes; 6 numbers of head pose.
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

MAX_FACES = 4
"""Largest number of faces per image."""

MIN_CONFIDENCE = 0.7
"""Lowest confidence of MediaPipe's detectors. At their default of .5 they detect faces in a cartoon rabbit, at .65
none; real faces are detected up to .8."""

CLOSE_UP_MARGIN = 0.5
"""Margin around a face's box in its close-up, as a share of the box's side: the face fills half of the close-up."""

FIELD_OF_VIEW = 63.0
"""Vertical field of view that the landmarker assumes, degrees; distances depend on it."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: the smallest upright rectangle around the landmarks, pixels; it may extend beyond the image.
        landmarks: ``(478, 2)`` float32, x and y in pixels.
        blendshapes: ``(52,)`` float32 in [0, 1], in the landmarker's order, the first of which is ``_neutral``.
        pose: ``(6,)`` float32 as ``mien.schema.HEAD_POSE``; see ``head_pose``.
    """

    box: Box
    landmarks: npt.NDArray[np.float32]
    blendshapes: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]


class FaceFinder:
    """The detectors, loaded once and used for many images; a context manager, or call ``close``.

    Args:
        landmarker: MediaPipe's ``face_landmarker_v2.task``, which holds the short-range detector as well.
        full_range: CenterFace as ONNX, or ``None`` to look for previous_boxes faces only.
        threads: processor threads of OpenCV, which the whole process shares: for the full-range detector and scaling.
            MediaPipe always uses one thread.

    Raises:
        DependencyMissing: mediapipe or one of its system libraries is missing.
        WeightsMissing: a weights file does not exist.
        WeightsError: a weights file is not of the expected model.
    """

    def __init__(self, landmarker: Path, full_range: Path | None, threads: int = 1) -> None:
        for file in (landmarker, full_range):
            if file is not None and not file.is_file():
                raise WeightsMissing(f"{file}: no such file; bring the weights with: mien weights fetch small")
        self._mp_image, self._detector, self._landmarker = _open_mediapipe(landmarker)
        self._closer = weakref.finalize(self, _close, self._detector, self._landmarker)
        open_cv().setNumThreads(threads)
        self._full_range = None if full_range is None else FullRange(full_range)

    def find(
        self, image: Image, previous_boxes: Sequence[Box] = (), *, detect_new: bool = True, use_full_range: bool = True
    ) -> list[Face]:
        """The faces in an image, widest first.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            previous_boxes: boxes of faces in the frame before; close-ups are taken there before the detector is run.
            detect_new: run the detector even if a face is found in each of these boxes.
            use_full_range: run the full-range detector (about 60 ms) if no face was found otherwise.
        """
        faces = self._confirmed(image, previous_boxes)
        if detect_new or not faces or len(faces) < len(previous_boxes):
            faces = self._confirmed(image, self._short_range(image), faces)
        if not faces and use_full_range and self._full_range is not None:
            faces = self._confirmed(image, self._full_range.boxes(image))
        return faces

    def _short_range(self, image: Image) -> list[Box]:
        found = [detection.bounding_box for detection in self._detector.detect(self._mp_image(image)).detections]
        edges = [(at.origin_x, at.origin_y, at.origin_x + at.width, at.origin_y + at.height) for at in found]
        return [(float(left), float(top), float(right), float(bottom)) for left, top, right, bottom in edges]

    def _confirmed(self, image: Image, boxes: Sequence[Box], known: Sequence[Face] = ()) -> list[Face]:
        """The known faces, and those that the landmarker finds in boxes that do not overlap with them."""
        faces = list(known)
        new_boxes = [box for box in boxes if all(overlap(box, face.box) == 0 for face in known)]
        for box in sorted(new_boxes, key=lambda box: box[0] - box[2])[: MAX_FACES - len(known)]:
            face = self._close_up(image, box)
            if face is not None and all(overlap(face.box, other.box) <= SAME_FACE for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: face.box[0] - face.box[2])

    def _close_up(self, image: Image, box: Box) -> Face | None:
        """The face that overlaps most with ``box`` in the close-up around it; ``None`` if the landmarker finds none."""
        square, corner = cut(image, box, CLOSE_UP_MARGIN)
        found = self._landmarker.detect(self._mp_image(square))
        rows = zip(found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True)
        faces = [_face(*row, square.shape[0], corner, image) for row in rows]
        return max(faces, key=lambda face: overlap(face.box, box), default=None)

    def close(self) -> None:
        """Free the detectors' memory and threads."""
        self._closer()

    def __enter__(self) -> "FaceFinder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def head_pose(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Head pose from the landmarker's 4x4 matrix, which maps the model head to camera space.

    Camera space has x to the image's right, y up and z towards the camera, in centimetres, with the camera at 0. The
    rotation is decomposed into yaw, then pitch, then roll (``R = Ry(yaw) Rx(pitch) Rz(roll)``).

    Returns:
        ``(6,)`` float32: pitch (positive looks down), yaw (positive looks to the image's right), roll (positive
        turns counter-clockwise in the image), all degrees; x (right), y (up), z (negative: the distance), cm.

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
    image: Image,
) -> Face:
    """The landmarker's output for a close-up of ``side`` pixels at ``corner``, relative to the whole image.

    The landmarker assumes that the close-up is the camera's whole view. So the head appears nearer by the ratio of the
    heights, and centred on the close-up; both are corrected here. The angles stay relative to the line of sight.
    """
    landmarks = np.array([(mark.x, mark.y) for mark in marks], np.float32) * side + np.array(corner, np.float32)
    left, top, right, bottom = (float(edge) for edge in (*landmarks.min(axis=0), *landmarks.max(axis=0)))
    blendshapes = np.array([shape.score for shape in shapes], np.float32)
    height, width = image.shape[:2]
    pose = head_pose(matrix)
    cm_per_pixel = -pose[5] * 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) / side
    pose[3] += cm_per_pixel * (corner[0] + side / 2 - width / 2)
    pose[4] -= cm_per_pixel * (corner[1] + side / 2 - height / 2)
    pose[5] *= height / side
    return Face((left, top, right, bottom), landmarks, blendshapes, pose)


def _open_mediapipe(file: Path) -> tuple[Callable[[Image], Any], Any, Any]:
    """The conversion to mediapipe's images, its short-range detector, and its landmarker."""
    try:
        with _without_extras():
            import mediapipe  # noqa: PLC0415
            from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415

        with zipfile.ZipFile(file) as bundle:
            detector_options = vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=bundle.read("face_detector.tflite")),
                min_detection_confidence=MIN_CONFIDENCE,
            )
        landmarker_options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(file)),
            num_faces=2,
            min_face_detection_confidence=MIN_CONFIDENCE,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        with _quiet_stderr():
            detector = vision.FaceDetector.create_from_options(detector_options)
            landmarker = vision.FaceLandmarker.create_from_options(landmarker_options)
            detector.detect(_mp_image(mediapipe, np.zeros((64, 64, 3), np.uint8)))  # some log lines come with first use
    except ModuleNotFoundError as error:
        raise DependencyMissing("faces need mediapipe, which is not installed; pip install 'mien[faces]'") from error
    except (zipfile.BadZipFile, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{file}: not a face landmarker; check it with: mien weights verify") from error
    except (ImportError, OSError) as error:
        raise DependencyMissing(
            f"faces need a system library that mediapipe could not load ({error}); apt install libegl1 libgles2"
        ) from error

    return partial(_mp_image, mediapipe), detector, landmarker


def _mp_image(mediapipe: Any, image: Image) -> Any:
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _close(*tasks: Any) -> None:
    for task in tasks:
        try:
            with _quiet_stderr():
                task.close()
        except RuntimeError:  # the interpreter exits and has ended the task's threads; keep __del__ from closing again
            task._handle = None


@contextlib.contextmanager
def _without_extras() -> Iterator[None]:
    """Import mediapipe without the imports of its audio recorder and its plots.

    ``sounddevice`` runs ``ldconfig`` and ``gcc`` to find its library; ``matplotlib`` runs ``fc-list`` and writes to the
    home folder. Mediapipe's plots then do not work in this process; both modules themselves do.
    """
    extras = {"sounddevice": None, "matplotlib": ModuleType("matplotlib")}
    extras["matplotlib.pyplot"] = extras["matplotlib"]
    put = {name: module for name, module in extras.items() if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type] - None marks a module as not importable
    try:
        yield
    finally:
        for name in put:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2: no setting turns off some of mediapipe's log lines.

    Errors are still raised as exceptions. Output of other threads is lost too, so use this briefly.
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
