"""mien's face landmarks against MediaPipe's own, in the same close-ups of the same frames.

    python bench/landmarks.py CLIPS              agreement over a folder of clips
    python bench/landmarks.py CLIPS --record     also rewrite the figures that the tests compare with

It runs itself in an environment with MediaPipe (``environments.py``).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.crops import Box, Image, cut
from mien.media.decode import MediaReader
from mien.media.face_detection import CLOSE_UP_MARGIN, Face, FaceFinder
from mien.media.face_geometry import head_pose
from mien.weights import locate

ROOT = Path(__file__).parents[1]
FPS = 4
CONFIDENCE = 0.7


class MediaPipe:
    """MediaPipe's landmarker in close-ups."""

    def __init__(self, file: Path) -> None:
        import mediapipe  # noqa: PLC0415 - not installed where this file is started
        from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415

        self._image = lambda image: mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image))
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(file)),
            num_faces=2,
            min_face_detection_confidence=CONFIDENCE,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def close_up(self, image: Image, box: Box) -> Face | None:
        """The most central face of the close-up around a box; its position is relative to the close-up."""
        square, corner = cut(image, box, CLOSE_UP_MARGIN)
        found = self._landmarker.detect(self._image(square))
        if not found.face_landmarks:
            return None
        meshes = [np.array([(m.x, m.y) for m in marks]) * square.shape[0] for marks in found.face_landmarks]
        best = min(range(len(meshes)), key=lambda n: np.abs(meshes[n].mean(0) - square.shape[0] / 2).max())
        marks = meshes[best] + corner
        shapes = np.array([shape.score for shape in found.face_blendshapes[best]], np.float32)
        pose = head_pose(found.facial_transformation_matrixes[best])
        left, top, right, bottom = (*marks.min(axis=0).tolist(), *marks.max(axis=0).tolist())
        return Face((left, top, right, bottom), marks.astype(np.float32), shapes, pose)


def frames(folder: Path) -> Iterator[Image]:
    for path in sorted(folder.iterdir()):
        try:
            with MediaReader(path, MediaSettings(), rates={"vision": FPS}, audio=False) as reader:
                yield from (frame.rgb for frame in reader.frames())
        except MediaError:
            continue


def compare(folder: Path, ours: FaceFinder, theirs: MediaPipe) -> None:
    """Print the agreement, and the processor time of a close-up."""
    agreed, rows, taken = 0, [], [0.0, 0.0]
    total = 0
    for image in frames(folder):
        for face in ours.find(image):
            clock = [time.process_time()]
            mine = ours.close_up(image, face.box)
            clock.append(time.process_time())
            other = theirs.close_up(image, face.box)
            clock.append(time.process_time())
            taken = [before + spent for before, spent in zip(taken, np.diff(clock), strict=True)]
            total, agreed = total + 1, agreed + ((mine is None) == (other is None))
            if mine is not None and other is not None:
                apart = np.linalg.norm(mine.landmarks - other.landmarks, axis=1)
                angle = np.abs(mine.pose[:3] - other.pose[:3]).max()
                rows.append((apart.mean(), apart.max(), np.abs(mine.blendshapes - other.blendshapes).max(), angle))
    print(f"{total} close-ups, the same answer in {agreed}")
    names = ("mean over landmarks, px", "worst landmark, px", "worst blendshape", "worst angle, degrees")
    for name, values in zip(names, np.array(rows).T, strict=True):
        print(f"{name}: median {np.median(values):.2g}, p99 {np.percentile(values, 99):.2g}, max {values.max():.2g}")
    print(f"processor ms per close-up: mien {1e3 * taken[0] / total:.2f}, MediaPipe {1e3 * taken[1] / total:.2f}")


def record(theirs: MediaPipe) -> None:
    """Rewrite the figures of the tests' pictures."""
    sys.path.insert(0, str(ROOT))
    from tests.media.test_face_networks import LANDMARKS, RECORDED, picture  # noqa: PLC0415

    lines: dict[str, Any] = {}
    for name, known in RECORDED.items():
        face = theirs.close_up(picture(name), tuple(known["box"]))
        assert face is not None, name
        values = {"landmarks": (face.landmarks[LANDMARKS], 2), "blendshapes": (face.blendshapes, 4)}
        values |= {"angles": (face.pose[:3], 3)}
        figures = {key: np.round(value.astype(float), digits).tolist() for key, (value, digits) in values.items()}
        lines[name] = {"box": known["box"]} | figures
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(figures)}" for name, figures in lines.items())
    (ROOT / "tests" / "media" / "recorded" / "mediapipe.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.here:
        from environments import mediapipe_python  # noqa: PLC0415 - makes the environment

        subprocess.run([mediapipe_python(), __file__, *sys.argv[1:], "--here"], check=True)
        return
    theirs = MediaPipe(locate("face-landmarker"))
    compare(args.clips, FaceFinder(locate("face-landmarker"), locate("centerface")), theirs)
    if args.record:
        record(theirs)


if __name__ == "__main__":
    main()
