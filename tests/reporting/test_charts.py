"""Charts are small, follow the theme, do not clash on a page, and show what their numbers say."""

import re

import numpy as np
import pytest

from mien.reporting.blocks import Column, Figure, Table
from mien.reporting.charts import FEW, Bar, Line, bars, calibrated, lines, memberships, scatter
from mien.reporting.drawing import _SENTINEL, SERIES, series
from mien.reporting.render import TEMPLATES

AXES = ("predicted", "rated")


def test_a_scatter_of_the_whole_split_is_small_and_one_of_few_clips_shows_each() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(4588)
    assert len(scatter(x, rng.random(4588), "series-1", "Joy", AXES, (0, 1))) < 60_000
    few = scatter(x[:FEW], x[:FEW], "series-1", "Joy", AXES, (0, 1))
    assert few.count("<use") >= FEW


def test_squares_of_a_dense_scatter_are_where_the_clips_are() -> None:
    """All clips in the lowest left corner of a panel that spans 0 to 1: one square, in the lowest left of the axes."""
    svg = scatter(np.full(500, 0.01), np.full(500, 0.01), "series-2", "Joy", AXES, (0, 1), diagonal=False)
    (outline,) = re.findall(r'<path d="([^"]+)"[^>]*var\(--series-2\)', svg)
    corners = np.array([[float(n) for n in pair] for pair in re.findall(r"([\d.]+) ([\d.]+)", outline)])
    grid = np.array([[float(n) for n in pair] for pair in re.findall(r"(?:M|L) ([\d.]+) ([\d.]+)", svg)])
    assert len(corners) in (4, 5)
    assert corners[:, 0].min() == pytest.approx(grid[:, 0].min(), abs=0.1)
    assert corners[:, 1].max() == pytest.approx(grid[:, 1].max(), abs=0.1)


def test_colours_are_variables_of_the_page_and_both_themes_define_them() -> None:
    svg = bars([Bar("a", 0.5, 0.4, 0.6, series(0)), Bar("b", 0.2, colour=series(5))], "r")
    assert "var(--series-1)" in svg and "var(--series-6)" in svg
    assert not any(sentinel in svg for sentinel in _SENTINEL.values())
    css = (TEMPLATES / "report.css").read_text()
    for name in _SENTINEL:
        assert css.count(f"--{name}:") >= 2, f"{name} is not defined for light and dark"


def test_the_same_numbers_give_the_same_svg_and_ids_do_not_clash() -> None:
    points = np.linspace(0, 1, 20)
    first, again = (scatter(points, points, "series-1", "Joy", AXES, (0, 1)) for _ in range(2))
    other = scatter(points, points**2, "series-1", "Joy", AXES, (0, 1))
    assert first == again
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, other)]
    assert ids[0] and not ids[0] & ids[1]
    for svg in (first, other):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == set(re.findall(r'id="([^"]+)"', svg))


def test_names_are_text_and_neither_markup_nor_formulas() -> None:
    svg = bars([Bar("<b>$x_1$ & y", 0.123, colour="accent")], "r")
    assert "&lt;b&gt;$x_1$ &amp; y" in svg
    assert ">0.123<" in svg  # coordinates are rounded, what is read is not


def test_calibration_bins_hold_equally_many_clips_and_leave_unrated_ones_out() -> None:
    predicted, rated = np.arange(21.0), np.where(np.arange(21) == 20, np.nan, np.arange(21.0) * 2)
    x, y, error, count = calibrated(predicted, rated, bins=4)
    assert count == [5, 5, 5, 5]
    assert x.tolist() == [2, 7, 12, 17]  # 0..4, 5..9, …
    assert y.tolist() == [4, 14, 24, 34]
    # The deviation of 0, 2, 4, 6, 8 is sqrt(10); of its mean sqrt(10) / sqrt(5).
    assert error.tolist() == pytest.approx([np.sqrt(2)] * 4)


def test_panels_bear_what_has_no_number() -> None:
    nan = float("nan")
    assert "–" in bars([Bar("a", nan)], "r")
    drawn = memberships([Bar("a", nan), Bar("b", 0.1)], [frozenset("a"), frozenset("b")], ["a", "b"], "r")
    assert ">–<" in drawn and ">0.10<" in drawn and "nan" not in drawn
    assert lines([1, 2], [Line([nan, nan])], "", AXES)
    assert scatter([], [], "accent", "", AXES, (0, 1))


def test_the_six_emotions_have_colours_of_their_own_for_every_eye() -> None:
    """Colour differences (CIE 1976) under normal sight, deuteranopia and protanopia (Machado et al. 2009)."""
    sight = {
        "normal": np.eye(3),
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    }
    css = (TEMPLATES / "report.css").read_text()
    for theme in range(2):  # light comes first, then dark
        colours = [re.findall(rf"--{name}: (#\w+);", css)[theme] for name in SERIES[:6]]
        for name, matrix in sight.items():
            seen = [_lab(np.array(matrix) @ _linear(colour)) for colour in colours]
            apart = min(np.linalg.norm(a - b) for n, a in enumerate(seen) for b in seen[:n])
            assert apart > 20, f"{name}, theme {theme}: {apart:.0f}"


def _linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_a_narrow_panel_leaves_room_for_its_caption() -> None:
    table = Table("t", "t", [Column("a")], [("b",)])
    panel = bars([Bar("a", 0.5)], "r")
    assert Figure("f", "", "", "", [panel], table).narrow
    assert not Figure("f", "", "", "", [panel, panel], table).narrow
