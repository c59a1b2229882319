import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.config import FaceSettings, MediaSettings
from mien.errors import WeightsError, WeightsMissing
from mien.media.centerface import decode_centres, overlap
from mien.media.crops import Box, CropSpool, Image, cut, resize
from mien.media.decode import MediaReader
from mien.media.face_detection import Face, FaceFinder
from mien.media.face_geometry import head_pose
from mien.media.face_tracks import track_faces
from mien.media.frames import Frame
from mien.schema import FaceTrack
from mien.synthetic.drawing import ACTIONS, draw_frames
from mien.synthetic.identity import draw_identity
from tests.media.clips import SHARED

SETTINGS = FaceSettings(crop_size=16, margin=0.0)
BOTH = frozenset({"vision", "motion"})


# --- crops ------------------------------------------------------------------------------------------------------------


def noise(*shape: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_spool_gives_back_what_it_was_given_whether_in_memory_or_on_disk() -> None:
    crops = noise(7, 8, 8, 3)
    in_memory, on_disk = CropSpool(8), CropSpool(8, in_memory_bytes=500)  # one crop is 192 bytes: three overflow it
    for crop in crops:
        in_memory.append(crop)
        on_disk.append(crop)
    for spool in (in_memory, on_disk):
        assert len(spool) == 7
        np.testing.assert_array_equal(spool[0:7], crops)
        np.testing.assert_array_equal(spool[2:5], crops[2:5])
        assert spool[7:9].shape == (0, 8, 8, 3)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_a_spool_that_nobody_needs_any_more_leaves_no_open_file() -> None:
    before = open_files()
    spool = CropSpool(8, in_memory_bytes=1)
    spool.append(noise(8, 8, 3))
    assert open_files() == before + 1
    del spool
    assert open_files() == before


def test_a_spool_refuses_a_crop_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(8, 8, 3\) uint8, not \(9, 8, 3\)"):
        CropSpool(8).append(noise(9, 8, 3))


@given(
    x=st.integers(-20, 40), y=st.integers(-20, 40), width=st.integers(1, 30), height=st.integers(1, 30),
    margin=st.sampled_from([0.0, 0.3, 1.0]),
)  # fmt: skip
def test_a_cut_is_a_square_of_the_frame_continued_by_its_border(
    x: int, y: int, width: int, height: int, margin: float
) -> None:
    image = noise(20, 24, 3)
    square, (left, top) = cut(image, (float(x), float(y), float(x + width), float(y + height)), margin)
    side = round(max(width, height) * (1 + 2 * margin))
    rows = np.clip(np.arange(top, top + side), 0, 19)
    columns = np.clip(np.arange(left, left + side), 0, 23)
    np.testing.assert_array_equal(square, image[rows][:, columns])


def test_a_cut_keeps_the_box_in_its_middle() -> None:
    square, corner = cut(noise(100, 100, 3), (40.0, 30.0, 50.0, 50.0), margin=0.25)
    # side 20 x 1.5 = 30, around the centre (45, 40)
    assert (square.shape, corner) == ((30, 30, 3), (30, 25))


def test_shrinking_averages_and_growing_keeps_a_flat_frame_flat() -> None:
    checks = np.zeros((4, 4, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 200
    assert np.all(resize(checks, 2) == 100)  # each 2 x 2 field holds two of 200 and two of 0
    assert np.all(resize(np.full((3, 3, 3), 9, np.uint8), 8) == 9)


# --- following --------------------------------------------------------------------------------------------------------


class Planted(FaceFinder):
    """Replaces the detectors and returns the planned boxes of each frame."""

    def __init__(self, boxes: Sequence[Sequence[Box]]) -> None:
        self.boxes = list(boxes)
        self.asked: list[tuple[list[Face], bool, bool]] = []

    def find(
        self, image: Image, previous: Sequence[Face] = (), *, detect_new: bool = True, use_full_range: bool = True
    ) -> list[Face]:
        del image
        if len(self.asked) == len(self.boxes):  # a frame without a face, turned upside down
            return []
        self.asked.append((list(previous), detect_new, use_full_range))
        marks, shapes = np.zeros((478, 2), np.float32), np.zeros(52, np.float32)
        found = self.boxes[len(self.asked) - 1]
        return [Face(box, marks, shapes, np.full(6, box[0], np.float32)) for box in found]


def square_at(x: float, side: float = 20.0) -> Box:
    return (float(x), 10.0, float(x + side), float(10 + side))


def follow_planted(boxes: Sequence[Sequence[Box]], fps: float = 10) -> FaceTrack:
    frames = [Frame(at / fps, noise(60, 200, 3), BOTH) for at in range(len(boxes))]
    return track_faces(frames, Planted(boxes), SETTINGS)


def left_edges(track: FaceTrack) -> list[float]:
    """Where the followed face was: planted faces carry their left edge as head pose."""
    return track.motion[:, 52].tolist()


def test_the_person_with_the_most_face_is_followed_though_another_came_first() -> None:
    small, large = square_at(150, side=10), square_at(20)
    track = follow_planted([[small], [small, large], [large, small], [small, large]])
    # small: 4 frames x 10 = 40; large: 3 frames x 20 = 60
    assert left_edges(track) == [20, 20, 20]
    assert track.people == 2
    assert (track.motion_frames, track.vision_frames) == (4, 4)
    np.testing.assert_allclose(track.motion_seconds, [0.1, 0.2, 0.3], rtol=1e-6)


def test_the_track_does_not_jump_to_a_neighbour_while_the_main_person_is_not_seen() -> None:
    main, neighbour = square_at(20), square_at(60, side=18)
    # main 45 x 20 = 900 against neighbour 48 x 18 = 864
    track = follow_planted([[main, neighbour]] * 5 + [[neighbour]] * 3 + [[neighbour, main]] * 40)
    assert left_edges(track) == [20] * 45


def test_somebody_smaller_but_seen_far_more_often_is_the_main_person() -> None:
    large, small = square_at(20), square_at(60, side=18)
    track = follow_planted([[large, small]] + [[small]] * 3)
    assert left_edges(track) == [60] * 4  # 1 x 20 = 20 against 4 x 18 = 72


def test_faces_that_pass_close_to_each_other_keep_their_own_tracks() -> None:
    going = [square_at(20 + 5 * at, side=24) for at in range(12)]  # from 20 to 75, passing 50
    staying = [square_at(50, side=20)] * 12
    track = follow_planted([[a, b] for a, b in zip(going, staying, strict=True)])
    assert left_edges(track) == [box[0] for box in going]


def test_who_vanishes_and_comes_back_elsewhere_is_the_same_person_if_nobody_else_was_there() -> None:
    there, back = square_at(20), square_at(150, side=24)
    track = follow_planted([[there]] * 5 + [[]] * 20 + [[back]] * 5)
    assert left_edges(track) == [20] * 5 + [150] * 5
    assert len(track.crops) == 10
    assert track.motion_frames == 30


def test_somebody_of_another_size_or_seen_beside_the_main_person_is_never_taken_for_them() -> None:
    main, beside, poster = square_at(20), square_at(100), square_at(150, side=8)
    track = follow_planted([[main]] * 8 + [[main, beside]] + [[beside]] * 3 + [[]] * 12 + [[poster]] * 4)
    assert left_edges(track) == [20] * 9


def test_frames_without_a_face_are_counted_and_not_invented() -> None:
    pictures = noise(60, 200, 3)
    wanted = [BOTH, frozenset({"motion"}), frozenset({"vision"}), BOTH]
    frames = [Frame(at / 10, pictures, who) for at, who in enumerate(wanted)]
    track = track_faces(frames, Planted([[square_at(20)], [], [square_at(20)], [square_at(20)]]), SETTINGS)
    assert (len(track.crops), track.vision_frames) == (3, 3)  # frames 0, 2, 3
    assert (len(track.motion), track.motion_frames) == (2, 3)  # frames 0, 3 of 0, 1, 3
    np.testing.assert_allclose(track.crop_seconds, [0, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(track.crops[0:1][0], resize(cut(pictures, square_at(20), margin=0.0)[0], 16))


def test_a_clip_with_nobody_in_it_gives_an_empty_track() -> None:
    track = follow_planted([[]] * 3)
    assert track.crops[0:5].shape == (0, 16, 16, 3)
    assert (track.motion.shape, track.boxes.shape, track.people) == ((0, 58), (0, 4), 0)
    assert (track.vision_frames, track.motion_frames) == (3, 3)


def test_the_crop_follows_the_face_with_a_time_constant() -> None:
    track = follow_planted([[square_at(20)], [square_at(30)]])
    # after .1 s with a time constant of .15 s, 1 - exp(-.1 / .15) = .4866 of the 10 pixels
    np.testing.assert_allclose(track.boxes[:, 0], [20, 24.866], atol=1e-3)


def test_a_lost_face_is_looked_for_where_it_was_for_a_second() -> None:
    finder = Planted([[square_at(20)]] + [[]] * 12)
    track_faces([Frame(at / 10, noise(60, 200, 3), BOTH) for at in range(13)], finder, SETTINGS)
    near = [len(boxes) for boxes, _, _ in finder.asked]
    assert near == [0] + [1] * 10 + [0] * 2


def test_newcomers_are_looked_for_four_times_a_second_at_most() -> None:
    finder = Planted([[square_at(20)]] * 8)
    track_faces([Frame(at / 10, noise(60, 200, 3), BOTH) for at in range(8)], finder, SETTINGS)
    assert [at for at, (_, detect_new, _) in enumerate(finder.asked) if detect_new] == [0, 3, 6]


def test_the_slow_detector_is_asked_four_times_a_second_at_most_while_it_finds_nobody() -> None:
    finder = Planted([[]] * 8 + [[square_at(20)]] * 2)
    frames = [Frame(at / 10, noise(60, 200, 3), BOTH) for at in range(10)]
    track_faces(frames, finder, SETTINGS)
    # asked in vain at 0: the next time is the first frame at or after .25, and so on
    assert [at for at, (_, _, use_full_range) in enumerate(finder.asked) if use_full_range] == [0, 3, 6, 9]
    finder = Planted([[]] * 10)
    track_faces(frames, finder, SETTINGS.model_copy(update={"full_range": False}))
    assert not any(use_full_range for _, _, use_full_range in finder.asked)


# --- finding: arithmetic ----------------------------------------------------------------------------------------------


@given(
    pitch=st.floats(-80, 80), yaw=st.floats(-170, 170), roll=st.floats(-170, 170), x=st.floats(-50, 50),
)  # fmt: skip
def test_head_pose_reads_back_the_angles_a_matrix_was_made_of(pitch: float, yaw: float, roll: float, x: float) -> None:
    a, b, c = (math.radians(angle) for angle in (pitch, yaw, roll))
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_y @ about_x @ about_z
    matrix[:3, 3] = (x, 1, -40)
    np.testing.assert_allclose(head_pose(matrix), [pitch, yaw, roll, x, 1, -40], atol=1e-3)


def test_centre_maps_decode_to_boxes_with_their_scores() -> None:
    heat, size, offset = np.zeros((4, 6), np.float32), np.zeros((2, 4, 6), np.float32), np.zeros((2, 4, 6), np.float32)
    heat[0, 1], heat[3, 5], heat[2, 2] = 0.6, 0.9, 0.5  # .5 is not above the threshold
    offset[:, 3, 5] = (0.25, -0.5)
    boxes, scores = decode_centres(heat, size, offset)
    # e^0 = 1 cell = 4 pixels on a side; centres (4 x 1.5, 4 x .5) and (4 x (5.5 - .5), 4 x (3.5 + .25))
    np.testing.assert_allclose(boxes, [[4, 0, 8, 4], [18, 13, 22, 17]])
    np.testing.assert_allclose(scores, [0.6, 0.9])


@given(shift=st.floats(0, 3))
def test_overlap_of_equal_squares_is_the_shared_part_over_the_rest(shift: float) -> None:
    shared = max(0.0, 2 - shift) * 2
    assert overlap((0.0, 0.0, 2.0, 2.0), (shift, 0.0, 2 + shift, 2.0)) == pytest.approx(shared / (8 - shared))


def test_missing_and_damaged_weights_name_their_remedy(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.task: no such file; .*mien weights fetch small"):
        FaceFinder(tmp_path / "nowhere.task", None)
    damaged = tmp_path / "damaged.task"
    damaged.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WeightsError, match=r"damaged\.task: not a face landmarker; .*mien weights verify"):
        FaceFinder(damaged, None)


# --- finding: real detectors ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finder(small_weights):
    return FaceFinder(small_weights["landmarker"].path, small_weights["full_range"].path)


def real_clip(name: str) -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED}: the real clips are not beside the repository")
    return SHARED / name


def pictures(name: str, fps: float, most: int = 1000) -> list[Image]:
    with MediaReader(real_clip(name), MediaSettings(), rates={"vision": fps}, audio=False) as reader:
        return [frame.rgb for frame, _ in zip(reader.frames(), range(most), strict=False)]


def drawn_face() -> Image:
    """Somebody of the stand-in corpus at rest."""
    person = draw_identity(np.random.default_rng(0))
    return next(iter(draw_frames(person, np.zeros((1, len(ACTIONS)), np.float32))))


def on_canvas(image: Image, height: int, width: int, x: int, y: int) -> Image:
    canvas = np.full((height, width, 3), 110, np.uint8)
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("speech_mpeg4.mp4", 0.95, 1.0),
        ("silent_face.mp4", 0.95, 1.0),
        ("quiet_face.mp4", 0.95, 1.0),
        ("five_frames.mp4", 1.0, 1.0),
        ("face_then_noface_hevc.mov", 0.3, 0.45),  # the face is there for 2.4 of 6.4 seconds
        ("no_face.mp4", 0.0, 0.0),
        ("cartoon_5_1_audio.mp4", 0.0, 0.05),
    ],
)
def test_real_clips_show_a_face_in_the_frames_that_have_one(
    finder: FaceFinder, name: str, least: float, most: float
) -> None:
    rates = {"vision": 2, "motion": 4}
    with MediaReader(real_clip(name), MediaSettings(), rates=rates, audio=False) as reader:
        track = track_faces(reader.frames(), finder, FaceSettings())
    assert least <= len(track.crops) / track.vision_frames <= most
    assert least <= len(track.motion) / track.motion_frames <= most
    assert track.people <= 1
    assert track.motion.shape[1] == 58
    assert np.isfinite(track.motion).all()
    if len(track.motion):
        assert track.motion[:, :52].min() >= 0
        assert track.motion[:, :52].max() <= 1


@pytest.mark.weights
def test_turning_the_frame_turns_roll_and_mirroring_it_mirrors_yaw_roll_and_place(finder: FaceFinder) -> None:
    import cv2

    image = pictures("speech_mpeg4.mp4", 1, most=1)[0]
    (upright,) = finder.find(image)
    turn = cv2.getRotationMatrix2D((256, 256), 20, 1)  # counter-clockwise
    (turned,) = finder.find(cv2.warpAffine(image, turn, (512, 512)).astype(np.uint8))
    assert turned.pose[2] - upright.pose[2] == pytest.approx(20, abs=3)
    (mirrored,) = finder.find(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(mirrored.pose, upright.pose * (1, -1, -1, -1, 1, 1), atol=3)


@pytest.mark.weights
def test_angles_and_expression_do_not_depend_on_where_in_the_frame_the_face_is(finder: FaceFinder) -> None:
    image = pictures("speech_mpeg4.mp4", 1, most=1)[0]
    (left,), (right,) = (finder.find(on_canvas(image, 512, 1400, x, 0)) for x in (44, 844))
    np.testing.assert_allclose(left.pose[:3], right.pose[:3], atol=2)
    assert np.corrcoef(left.blendshapes, right.blendshapes)[0, 1] > 0.98
    # 800 pixels apart at the distance where 512 pixels span 2 tan(31.5 degrees) z
    apart = 800 / 512 * 2 * math.tan(math.radians(31.5)) * -left.pose[5]
    assert right.pose[3] - left.pose[3] == pytest.approx(apart, rel=0.05)


@pytest.mark.weights
def test_a_far_face_is_found_by_the_full_range_detector_and_only_by_it(finder: FaceFinder) -> None:
    near = pictures("speech_mpeg4.mp4", 1, most=1)[0]
    (close,) = finder.find(near)
    far = on_canvas(resize(near, 128), 720, 1280, x=900, y=100)  # the face's 310 pixels are now 78
    assert finder.find(far, use_full_range=False) == []
    (found,) = finder.find(far)
    expected = np.array(close.box) / 4 + (900, 100, 900, 100)
    np.testing.assert_allclose(found.box, expected, atol=4)
    np.testing.assert_allclose(found.pose[:3], close.pose[:3], atol=5)
    assert finder.find(far, previous=[found], use_full_range=False)[0].box == pytest.approx(found.box, abs=4)


@pytest.mark.weights
def test_nothing_is_detected_while_everybody_is_where_they_were(
    finder: FaceFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = drawn_face()
    two = np.concatenate([image, np.ascontiguousarray(image[:, ::-1])], axis=1)
    left, right = sorted(finder.find(two), key=lambda face: face.box[0])
    detected = []
    detect = finder._detector.find
    monkeypatch.setattr(finder._detector, "find", lambda image: detected.append(image.shape) or detect(image))
    found = finder.find(two, previous=[left, right], detect_new=False)
    assert sorted(face.box[0] for face in found) == pytest.approx([left.box[0], right.box[0]], abs=6)
    assert not detected
    # one of them is somewhere else: both are found all the same
    elsewhere = replace(
        right, box=(0.0, 0.0, 20.0, 20.0), landmarks=(right.landmarks - right.landmarks.min(axis=0)) / 8
    )
    assert len(finder.find(two, previous=[left, elsewhere], detect_new=False)) == 2
    # a newcomer beside somebody followed
    assert len(finder.find(two, previous=[left], detect_new=False)) == 1
    assert len(finder.find(two, previous=[left])) == 2
    assert detected.count(two.shape) == 2


@pytest.mark.weights
def test_a_followed_face_trembles_less_than_one_that_is_detected_in_each_frame(finder: FaceFinder) -> None:
    """The same face with other noise in each frame; only the region in which landmarks are looked for differs."""
    image, draws = drawn_face(), np.random.default_rng(0)
    frames = [np.clip(image + draws.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    last = finder.find(image)
    rows: dict[str, list[np.ndarray]] = {"followed": [], "detected": []}
    for frame in frames:
        last = finder.find(frame, previous=last, detect_new=False)
        rows["followed"].append(last[0].blendshapes)
        rows["detected"].append(finder.find(frame)[0].blendshapes)
    followed, detected = (np.std(part, axis=0).mean() for part in rows.values())
    assert followed < 0.9 * detected


@pytest.mark.weights
def test_a_followed_face_is_found_where_it_has_moved_to(finder: FaceFinder) -> None:
    image = drawn_face()
    places = [(40 + 24 * at, 20 + 12 * at) for at in range(6)]  # a seventh of the face's 175 pixels per frame
    last = finder.find(on_canvas(image, 480, 640, *places[0]))
    for place in places[1:]:
        canvas = on_canvas(image, 480, 640, *place)
        (expected,), last = finder.find(canvas), finder.find(canvas, previous=last, detect_new=False)
        assert len(last) == 1
        np.testing.assert_allclose(last[0].box, expected.box, atol=4)
        np.testing.assert_allclose(last[0].pose[:3], expected.pose[:3], atol=3)
        assert np.abs(last[0].blendshapes - expected.blendshapes).mean() < 0.03
    assert finder.find(np.full((480, 640, 3), 110, np.uint8), previous=last, detect_new=False) == []


@pytest.mark.weights
def test_of_two_people_the_larger_is_followed_and_never_left(finder: FaceFinder) -> None:
    talking, other = pictures("speech_mpeg4.mp4", 4, most=12), pictures("quiet_face.mp4", 4, most=9)
    side_by_side = [on_canvas(image, 512, 1152, 0, 0) for image in talking]
    for at, canvas in enumerate(side_by_side):
        canvas[100:460, 512:] = other[at % len(other)]
    track = track_faces([Frame(at / 4, canvas, BOTH) for at, canvas in enumerate(side_by_side)], finder, FaceSettings())
    assert track.people == 2
    assert len(track.crops) == 12
    assert track.boxes[:, 2].max() < 512  # the other's image begins there
    assert all(b > a for a, b in pairwise(track.crop_seconds))


@pytest.mark.weights
def test_nothing_is_written_to_the_terminal_by_the_detectors(small_weights) -> None:
    """In a process of its own: LiteRT writes its line once per process."""
    code = (
        "import sys; from pathlib import Path; from mien.media.face_detection import FaceFinder; "
        "from tests.media.test_face_tracks import drawn_face; "
        "assert FaceFinder(*map(Path, sys.argv[1:])).find(drawn_face())"
    )
    files = [str(small_weights[role].path) for role in ("landmarker", "full_range")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *files], env=environment, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
