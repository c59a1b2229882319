"""Detects the faces in one image, with their blendshapes and head pose.

There are two steps. A detector finds faces: a short-range one, which scales the image to 128 pixels and so misses a
face much smaller than a fifth of the image, and, when that finds none, a full-range one (CenterFace). Then the
landmarker is run on a close-up of each face, in which the face is centred and always of about the same size; a face
counts only if the landmarker confirms it. Close-ups take a quarter more time than running the landmarker on the whole
image, and make its output independent of the position and size of the face: moving an image by 400 pixels changed yaw
by 12 degrees without them, and by less than 1 with them.

The networks are MediaPipe's, and so are the numbers, up to rounding (``face_networks.py``). Each image is processed
independently. Tracking (``face_tracks.py``) passes the last boxes, and the detector is skipped while there are faces
in them.

Shapes: ``H, W`` height and width of an image; 478 landmarks; 52 blendshapes; 6 numbers of head pose.
"""

from collections.abc import Sequence
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
        return [face.box for face in self._detector.find(image)]

    def _confirmed(self, image: Image, boxes: Sequence[Box], known: Sequence[Face] = ()) -> list[Face]:
        """The known faces, and those that the landmarker finds in boxes that do not overlap with them."""
        faces = list(known)
        new_boxes = [box for box in boxes if all(overlap(box, face.box) == 0 for face in known)]
        for box in sorted(new_boxes, key=lambda box: box[0] - box[2])[: MAX_FACES - len(known)]:
            face = self.close_up(image, box)
            if face is not None and all(overlap(face.box, other.box) <= SAME_FACE for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: face.box[0] - face.box[2])

    def close_up(self, image: Image, box: Box) -> Face | None:
        """The face that overlaps most with ``box`` in the close-up around it; ``None`` if the landmarker finds none."""
        square, corner = cut(image, box, CLOSE_UP_MARGIN)
        detected = self._detector.find(square)[:MAX_IN_CLOSE_UP]
        meshes = [self._mesh.landmarks(square, Region.around(face)) for face in detected]
        found = [(box_of(mesh, corner), mesh) for mesh in meshes if mesh is not None]
        if not found:
            return None
        where, mesh = max(found, key=lambda face: overlap(face[0], box))
        landmarks = (mesh[:, :2] + corner).astype(np.float32)
        return Face(where, landmarks, self._mesh.blendshapes(mesh), self._pose(mesh, square.shape[0], corner, image))

    def _pose(
        self, mesh: npt.NDArray[np.float64], side: int, corner: tuple[int, int], image: Image
    ) -> npt.NDArray[np.float32]:
        """Head pose, from landmarks in a close-up of ``side`` pixels at ``corner``, relative to the whole image.

        The fit assumes that the close-up is the camera's whole view. So the head appears nearer by the ratio of the
        heights, and centred on the close-up; both are corrected. The angles stay relative to the line of sight.
        """
        height, width = image.shape[:2]
        pose = head_pose(head_matrix(mesh, side, self._head))
        cm_per_pixel = -pose[5] * 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) / side
        pose[3] += cm_per_pixel * (corner[0] + side / 2 - width / 2)
        pose[4] -= cm_per_pixel * (corner[1] + side / 2 - height / 2)
        pose[5] *= height / side
        return pose


def box_of(mesh: npt.NDArray[np.floating], corner: tuple[int, int]) -> Box:
    """The smallest upright rectangle around landmarks of a close-up at ``corner``, in the whole image."""
    points = mesh[:, :2] + corner
    left, top, right, bottom = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    return left, top, right, bottom
