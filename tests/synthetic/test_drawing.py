import numpy as np
import pytest

from mien.synthetic.drawing import ACTIONS, SIZE, Head, draw_frames, face_box
from mien.synthetic.identity import draw_identity

PERSON = draw_identity(np.random.default_rng(2))


@pytest.fixture(scope="module")
def head():
    return Head(PERSON)


def row(**moves):
    return np.array([moves.get(name, 0.0) for name in ACTIONS], np.float32)


def changed(head, **moves):
    """Mean change of each pixel, (SIZE, SIZE)."""
    rest, moved = (head.draw(row(**some)).astype(int) for some in ({}, moves))
    return np.abs(moved - rest).mean(-1)


def test_a_picture_is_a_function_of_the_person_the_actions_and_the_number(head):
    again = Head(PERSON)
    assert np.array_equal(head.draw(row(smile=1), 3), again.draw(row(smile=1), 3))
    assert not np.array_equal(head.draw(row(smile=1), 3), head.draw(row(smile=1), 4))  # other camera noise


def test_people_differ():
    rng = np.random.default_rng(0)
    people = [draw_identity(rng) for _ in range(20)]
    assert len({person.grain for person in people}) == 20
    assert {person.male for person in people} == {True, False}
    assert len({person.cut for person in people}) >= 3


@pytest.mark.parametrize("action", [name for name in ACTIONS if name not in ("gaze_x", "gaze_y")])
def test_every_action_changes_the_picture_only_slightly_outside_the_person(head, action):
    size = {"yaw": 10.0, "pitch": 8.0, "roll": 8.0, "shift_x": 0.2, "shift_y": 0.1, "lean": 0.1}.get(action, 1.0)
    change = changed(head, **{action: size})
    assert change[face_box(PERSON)].max() > 25
    assert change[:, :15].max() == change[:20, :40].max() == 0  # the wall stands still


def test_a_blink_hides_the_white_of_the_eyes_and_nothing_below(head):
    change = changed(head, blink=1.0)
    rows = np.flatnonzero(change.max(1) > 10)
    assert rows.min() > 0.38 * SIZE and rows.max() < 0.52 * SIZE  # the eyes stand at 0.46 of the height


def test_an_open_jaw_moves_the_lower_face_and_leaves_the_eyes(head):
    change = changed(head, jaw=1.0)
    rows = np.flatnonzero(change.max(1) > 10)
    assert rows.min() > 0.6 * SIZE


def test_a_smile_is_symmetric_enough(head):
    change = changed(head, smile=1.0)
    columns = np.flatnonzero(change.max(0) > 10)
    middle = SIZE / 2 + PERSON.left * 55 * PERSON.scale
    assert abs((columns.min() + columns.max()) / 2 - middle) < 12


def test_a_film_has_a_picture_for_each_row():
    frames = list(draw_frames(PERSON, np.stack([row(), row(smile=0.5), row(smile=1.0)])))
    assert len(frames) == 3
    assert all(frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8 for frame in frames)
