"""Motion: facial action and head pose, one row per frame, as the landmarker (or OpenFace) measures them.

There is no backbone: the descriptors are the features. Degrees and centimetres are divided to lie near one; the
encoder's LayerNorm does the rest.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mien.compute.device import Compute
from mien.modalities.base import Absent, Backbone, Modality, Output, Prepared
from mien.schema import BLENDSHAPES, MOTION_WIDTH, Media

DEGREES, CENTIMETRES = 30.0, 30.0
"""The unit of angles and of lengths: a marked turn of the head, and half an arm's length."""


def prepare(media: Media) -> Prepared | Absent:
    """The descriptors of the frames with a face; frames without one are counted in the remark."""
    track = media.faces
    if track is None or not len(track.motion):
        return Absent(media.absent.get("motion") or f"no face in {track.motion_frames if track else 0} frames")
    found, searched = len(track.motion), track.motion_frames
    return Prepared(
        track.motion, track.motion_seconds, f"face in {found} of {searched} frames" if found < searched else ""
    )


def load(_folder: Path | None, _compute: Compute) -> Backbone:
    """The identity, up to scale."""

    def scale_rows(prepared: Prepared) -> Mapping[str, Output]:
        rows: np.ndarray = prepared.inputs
        return {"motion": Output((rows / scale_of(rows.shape[1])).astype(np.float16), prepared.seconds)}

    return scale_rows


def scale_of(width: int) -> np.ndarray:
    """``(width,)`` divisor of each descriptor: blendshapes 1, pose ``DEGREES`` and ``CENTIMETRES``.

    OpenFace rows (17 action unit intensities in [0, 5], then six pose numbers) are recognised by their width.
    """
    actions = width - 6
    action_scale = 1.0 if width == MOTION_WIDTH and actions == BLENDSHAPES else 5.0
    return np.array([action_scale] * actions + [DEGREES] * 3 + [CENTIMETRES] * 3, np.float32)


MOTION = Modality(
    name="motion",
    sense="motion",
    backbone_role=None,
    front_roles=("landmarker", "full_range"),
    settings=("faces.full_range", "media.vision_fps", "media.motion_fps"),
    features=("motion",),
    prepare=prepare,
    load=load,
    version=6,
    source="MediaPipe blendshapes; OpenFace 2: Baltrušaitis et al. 2018, doi:10.1109/FG.2018.00019",
    embedding=lambda stage: stage.motion_embedding,
    epochs=lambda stage: stage.motion_epochs,
)
