"""Head pose from face landmarks: a model head, of known size in centimetres, is fitted to them.

The camera is assumed to see ``FIELD_OF_VIEW`` degrees from the top to the bottom of the square in which the landmarks
were found. The landmarks' depth is relative and in the scale of the image; so the head is fitted three times: to the
flat landmarks, to find their scale; to the landmarks spread along the lines of sight, to correct it; and once more.

Source: the formulas of MediaPipe's face geometry module (Apache-2.0), https://github.com/google-ai-edge/mediapipe;
the fit: Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FIELD_OF_VIEW = 63.0
"""Vertical field of view that is assumed, degrees; distances depend on it."""

MESH_LANDMARKS = 468
"""The landmarks of the model head; the ten of the irises follow them."""

VERTEX_VALUES = 5
"""Numbers of a vertex in the file: x, y, z, and two coordinates of a texture."""

Points = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class ModelHead:
    """The vertices of a model head that pose is measured by.

    Attributes:
        landmarks: ``(n,)`` int, their numbers.
        points: ``(n, 3)`` centimetres; x to the right, y up, z towards the camera.
        weights: ``(n,)`` > 0.
    """

    landmarks: npt.NDArray[np.intp]
    points: Points
    weights: Points

    @classmethod
    def parse(cls, content: bytes) -> "ModelHead":
        """The model head of a geometry file (a protocol buffer: field 1 the mesh, field 2 the weighted vertices).

        Raises:
            ValueError, IndexError, struct.error: ``content`` is not such a file.
        """
        mesh, references = b"", []
        for number, value in _fields(content):
            if number == 1 and isinstance(value, bytes):
                mesh = value
            elif number == 2 and isinstance(value, bytes):
                references.append(dict(_fields(value)))
        vertices = _floats(mesh, 3).reshape(MESH_LANDMARKS, VERTEX_VALUES)[:, :3]
        landmarks = np.array([reference[1] for reference in references], np.intp)
        weights = [struct.unpack("<f", reference[2])[0] for reference in references]
        if not len(landmarks):
            raise ValueError("no vertices to measure pose by")
        return cls(landmarks, vertices[landmarks], np.array(weights))


def head_matrix(landmarks: Points, side: float, head: ModelHead) -> Points:
    """The 4x4 matrix that maps the model head to camera space, scaled rotation and translation.

    Args:
        landmarks: ``(≥ 468, 3)`` pixels of a square image: x right, y down, z away from the camera.
        side: of that image, pixels.
        head: the model head.
    """
    per_pixel = 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) / side
    away = landmarks[:MESH_LANDMARKS, 2].mean(dtype=np.float64) * per_pixel
    flat = (landmarks[head.landmarks] - (side / 2, side / 2, 0)) * (per_pixel, -per_pixel, per_pixel)

    def along_sight(scale: float) -> Points:
        depth = (flat[:, 2:] - away + 1) / scale
        return np.concatenate([flat[:, :2] * depth, -depth], axis=1)

    scale, _, _ = _fit(head, flat * (1, 1, -1))
    scale *= _fit(head, along_sight(scale))[0]
    size, rotation, shift = _fit(head, along_sight(scale))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = size * rotation, shift
    return matrix


def head_pose(matrix: Points) -> npt.NDArray[np.float32]:
    """Head pose from the 4x4 matrix that maps the model head to camera space.

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


def _fit(head: ModelHead, targets: Points) -> tuple[float, Points, Points]:
    """Scale, rotation ``(3, 3)`` and translation ``(3,)`` that map the head's points best to ``(n, 3)`` targets."""
    share = head.weights[:, None] / head.weights.sum()
    middle, goal = (share * head.points).sum(0), (share * targets).sum(0)
    centred = head.points - middle
    left, _, right = np.linalg.svd((share * targets).T @ centred)
    if np.linalg.det(left @ right) < 0:
        left[:, 2] *= -1  # a rotation, not a reflection
    rotation = left @ right
    scale = float((share * (centred @ rotation.T) * targets).sum() / (share * centred * centred).sum())
    return scale, rotation, goal - scale * rotation @ middle


def _floats(message: bytes, field: int) -> Points:
    """All values of a field of 32-bit floats, packed or one by one."""
    parts = [value for number, value in _fields(message) if number == field and isinstance(value, bytes)]
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float64)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a protocol buffer: integers, or the bytes of anything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + length > len(message):
            raise ValueError("a field that is longer than its message")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The integer at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
