"""Detects the faces in one image, with their blendshapes and head pose.

There are two steps. A detector finds new faces: a short-range one, which scales the image to 128 pixels and so misses
a face much smaller than a fifth of the image, and, when that finds none, a full-range one (CenterFace). Then the
landmarker is run on a close-up of each of them, in which the face is centred and always of about the same size; a
face counts only if the landmarker confirms it. Close-ups take a quarter more time than running the landmarker on the
whole image, and make its output independent of the position and size of the face: moving an image by 400 pixels
changed yaw by 12 degrees without them, and by less than 1 with them.

Faces of the frame before, which tracking (``face_tracks.py``) passes, are looked for in the region of their last
landmarks, without a detector: that is faster, and their blendshapes tremble less. The networks are MediaPipe's, and
so are the numbers of a close-up, up to rounding (``face_networks.py``).

Shapes: ``H, W`` height and width of an image; 478 landmarks; 52 blendshapes; 6 numbers of head pose.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsMissing
from mien.media.centerface import SAME_FACE, FullRange, overlap
from mien.media.crops import Box, Image, cut, open_cv
from mien.media.face_geometry import FIELD_OF_VIEW, head_matrix, head_pose
from mien.media.face_mesh import FaceMesh, Region
from mien.media.face_networks import open_networks
from mien.media.short_range import ShortRange

MAX_FACES = 4
"""Largest number of faces per image."""

MOVED = 0.02
"""A followed face has moved when its region changes by more than this (``Region.change_to``). See decision 51."""

MAX_IN_CLOSE_UP = 2
"""Largest number of detections per close-up that are looked at."""

CLOSE_UP_MARGIN = 0.5
"""Margin around a face's box in its close-up, as a share of the box's side: the face fills half of the close-up."""


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
    """The detectors, loaded once and used for many images; not for several threads at once.

    Args:
        landmarker: MediaPipe's ``face_landmarker_v2.task``, which holds the short-range detector as well.
        full_range: CenterFace as ONNX, or ``None`` to look for close faces only.
        threads: processor threads of each network, and of OpenCV, where the whole process shares them.

    Raises:
        DependencyMissing: ai-edge-litert or OpenCV is missing.
        WeightsMissing: a weights file does not exist.
        WeightsError: a weights file is not of the expected model.
    """

    def __init__(self, landmarker: Path, full_range: Path | None, threads: int = 1) -> None:
        if full_range is not None and not full_range.is_file():
            raise WeightsMissing(f"{full_range}: no such file; bring the weights with: mien weights fetch small")
        networks = open_networks(landmarker, threads)
        self._detector = ShortRange(networks.detector)
        self._mesh = FaceMesh(networks.landmarks, networks.blendshapes)
        self._head = networks.head
        open_cv().setNumThreads(threads)
        self._full_range = None if full_range is None else FullRange(full_range)

    def find(
        self, image: Image, previous: Sequence[Face] = (), *, detect_new: bool = True, use_full_range: bool = True
    ) -> list[Face]:
        """The faces in an image, widest first.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            previous: faces of the frame before; they are looked for where they were before the detector is run.
            detect_new: run the detector even if each of them is found again.
            use_full_range: run the full-range detector (about 60 ms) if no face was found otherwise.
        """
        faces = self._distinct(self._follow(image, face) for face in _widest_first(previous)[:MAX_FACES])
        if detect_new or not faces or len(faces) < len(previous):
            faces = self._with_new(image, self._short_range(image), faces)
        if not faces and use_full_range and self._full_range is not None:
            faces = self._with_new(image, self._full_range.boxes(image), faces)
        return faces

    def _short_range(self, image: Image) -> list[Box]:
        """Boxes of the detected faces; position and size are cut down to whole pixels, as MediaPipe's are."""
        return [_whole(face.box) for face in self._detector.find(image)]

    def _with_new(self, image: Image, boxes: Sequence[Box], known: Sequence[Face]) -> list[Face]:
        """The known faces, and those that the landmarker finds in boxes that do not overlap with them."""
        new_boxes = [box for box in boxes if all(overlap(box, face.box) == 0 for face in known)]
        widest = sorted(new_boxes, key=lambda box: box[0] - box[2])[: MAX_FACES - len(known)]
        return self._distinct([*known, *(self.close_up(image, box) for box in widest)])

    def _distinct(self, faces: Iterable[Face | None]) -> list[Face]:
        """The faces that are not one of those before them, widest first."""
        kept: list[Face] = []
        for face in faces:
            if face is not None and all(overlap(face.box, other.box) <= SAME_FACE for other in kept):
                kept.append(face)
        return _widest_first(kept)

    def _follow(self, image: Image, last: Face) -> Face | None:
        """A face whose last landmarks are known; ``None`` if it is not there any more.

        Its region comes from those landmarks, so no detector is needed. If it has moved since, the landmarks are placed
        in the region once more, from where it is now.
        """
        region = Region.of_landmarks(last.landmarks)
        mesh = self._mesh.landmarks(image, region)
        if mesh is not None and region.change_to(now := Region.of_landmarks(mesh)) > MOVED:
            mesh = self._mesh.landmarks(image, now)
        return self.close_up(image, last.box) if mesh is None else self._face(image, mesh)

    def close_up(self, image: Image, box: Box) -> Face | None:
        """The face that overlaps most with ``box`` in the close-up around it; ``None`` if the landmarker finds none."""
        square, corner = cut(image, box, CLOSE_UP_MARGIN)
        detected = self._detector.find(square)[:MAX_IN_CLOSE_UP]
        meshes = [self._mesh.landmarks(square, Region.around(face)) for face in detected]
        placed = [mesh + np.array([*corner, 0]) for mesh in meshes if mesh is not None]
        if not placed:
            return None
        mesh = max(placed, key=lambda mesh: overlap(_box_of(mesh), box))
        return self._face(image, mesh, (square.shape[0], *corner))

    def _face(
        self, image: Image, mesh: npt.NDArray[np.floating], view: tuple[float, float, float] | None = None
    ) -> Face:
        """A face from its landmarks ``(478, 3)``; ``view`` is the side and the corner of its close-up.

        Head pose is fitted as if the close-up were the camera's whole view. So the head appears nearer by the ratio of
        the heights, and centred on the close-up; both are corrected. The angles stay relative to the line of sight.
        """
        box = _box_of(mesh)
        side, x, y = view or _view(box)
        height, width = image.shape[:2]
        pose = head_pose(head_matrix(mesh - (x, y, 0), side, self._head))
        cm_per_pixel = -pose[5] * 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) / side
        pose[3] += cm_per_pixel * (x + side / 2 - width / 2)
        pose[4] -= cm_per_pixel * (y + side / 2 - height / 2)
        pose[5] *= height / side
        return Face(box, mesh[:, :2].astype(np.float32), self._mesh.blendshapes(mesh), pose)


def _widest_first(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.box[0] - face.box[2])


def _box_of(mesh: npt.NDArray[np.floating]) -> Box:
    """The smallest upright rectangle around landmarks."""
    left, top, right, bottom = (*mesh[:, :2].min(axis=0).tolist(), *mesh[:, :2].max(axis=0).tolist())
    return left, top, right, bottom


def _whole(box: Box) -> Box:
    left, top, right, bottom = box
    x, y = int(left), int(top)
    return float(x), float(y), float(x + int(right - left)), float(y + int(bottom - top))


def _view(box: Box) -> tuple[float, float, float]:
    """Side and corner of a close-up around a box."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * (1 + 2 * CLOSE_UP_MARGIN)
    return side, (left + right - side) / 2, (top + bottom - side) / 2
