"""How still the blendshapes of a followed face are, while it does not move and while it does, and what following costs.

    python bench/following.py [IMAGES]    a folder of images with a face beside the drawn people

One image is shown sixteen times, each time with noise of its own (4 of 255): as it is, and moved smoothly, once a
second, by 6 % of the face's side, 4 degrees and 4 % of its size at ten frames per second. The expression is the same in
all; jitter is the standard deviation over the frames, averaged over the 51 blendshapes but ``_neutral``.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mien.media import face_detection
from mien.media.crops import Image
from mien.media.face_detection import Face, FaceFinder
from mien.synthetic.drawing import ACTIONS, draw_frames
from mien.synthetic.identity import draw_identity
from mien.weights import locate

FRAMES, NOISE, LIMIT = 16, 4, face_detection.MOVED
Way = Callable[[FaceFinder, Image, Face], Face | None]


def detected(finder: FaceFinder, image: Image, last: Face) -> Face | None:
    return finder.close_up(image, last.box)


def followed(limit: float) -> Way:
    def find(finder: FaceFinder, image: Image, last: Face) -> Face | None:
        face_detection.MOVED = limit
        return next(iter(finder.find(image, previous=[last], detect_new=False, use_full_range=False)), None)

    return find


WAYS: dict[str, Way] = {
    "detector in the close-up": detected,
    "last landmarks": followed(np.inf),
    f"last landmarks, again if moved by > {LIMIT}": followed(LIMIT),
    "last landmarks, again if moved by > 0.01": followed(0.01),
    "last landmarks, always twice": followed(0),
}


def images() -> Iterator[Image]:
    for seed in range(12):
        draws = np.random.default_rng(seed)
        person = draw_identity(draws)
        yield next(iter(draw_frames(person, draws.uniform(0, 1, (1, len(ACTIONS))).astype(np.float32))))
    for file in sorted(Path(sys.argv[1]).iterdir()) if sys.argv[1:] else ():
        yield cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB).astype(np.uint8)


def shown(image: Image, face: Face, moving: bool, draws: np.random.Generator) -> Iterator[Image]:
    left, top, right, bottom = face.box
    middle, side = ((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top)
    for frame in range(FRAMES):
        at = 2 * np.pi * frame / 10
        matrix = cv2.getRotationMatrix2D(middle, 4 * np.sin(at + 1), 1 + 0.04 * np.sin(at + 2))
        matrix[:, 2] += (0.06 * side * np.sin(at), 0.03 * side * np.cos(at))
        size = image.shape[1::-1]
        clean = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE) if moving else image
        yield np.clip(clean + draws.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)


def jitter(finder: FaceFinder, way: Way, frames: list[Image], first: Face) -> float:
    last, rows = first, []
    for frame in frames:
        last = way(finder, frame, last) or last
        rows.append(last.blendshapes[1:])
    return float(np.std(rows[3:], axis=0).mean())  # after the first face, which was found in another way


def main() -> None:
    finder, draws = FaceFinder(locate("face-landmarker"), None), np.random.default_rng(0)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in WAYS}
    for image in images():
        faces = finder.find(image)
        scenes = [list(shown(image, faces[0], moving, draws)) for moving in (False, True)] if faces else []
        for name, way in WAYS.items() if faces else ():
            began = time.process_time()
            still, moved = (jitter(finder, way, scene, faces[0]) for scene in scenes)
            found[name].append((still, moved, (time.process_time() - began) / 2 / FRAMES))
    for name, rows in found.items():
        still, moved, seconds = np.mean(rows, axis=0)
        print(f"{name:45} still {still:.4f}, moved {moved:.4f}, {1e3 * seconds:.1f} ms; {len(rows)} faces")


if __name__ == "__main__":
    main()
