"""How much the mouths of clips move while a sound is loud, in heights of the face per second.

python bench/speaking.py SOUND CLIP ...    SOUND is the clip whose audio is taken for all
"""

import sys
from pathlib import Path

from mien.config import FaceSettings, MediaSettings
from mien.media.crops import RecentCrops
from mien.media.decode import MediaReader
from mien.media.face_detection import FaceFinder
from mien.media.face_tracks import FaceTracker
from mien.media.speaker import mouth_movement
from mien.media.tracklets import mouth_of
from mien.weights import locate


def main() -> None:
    with MediaReader(Path(sys.argv[1]), MediaSettings(), rates={}, audio=True) as reader:
        waveform = reader.audio()
    assert waveform is not None, "no audio"
    finder = FaceFinder(locate("face-landmarker"), locate("centerface"))
    for file in map(Path, sys.argv[2:]):
        tracker = FaceTracker(finder, FaceSettings(), RecentCrops())
        with MediaReader(file, MediaSettings(), rates={"motion": 10}, audio=False) as reader:
            for frame in reader.frames():
                tracker.add(frame)
        travel, seconds = mouth_movement(mouth_of(tracker.main_person()), waveform)
        print(f"{file.name}: {travel / seconds:.3f} per second over {seconds:.1f} s")


if __name__ == "__main__":
    main()
