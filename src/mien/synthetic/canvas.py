"""The plane on which a person is painted, and the soft shapes used to paint.

Coordinates are in units of the distance between the pupils (about 63 mm): ``x`` to the right, ``y`` down, with the
origin between the eyes. The plane is a square of ``SIDE`` pixels.
"""

import numpy as np
import numpy.typing as npt

from mien.errors import DependencyMissing

try:
    import cv2
except ImportError as error:
    raise DependencyMissing("opencv is not installed; pip install 'mien[synth]' brings it") from error

Floats = npt.NDArray[np.floating]

PIXELS_PER_UNIT = 80
LEFT, TOP, SPAN = -3.2, -2.9, 6.6
"""The square of the face plane that the portrait covers."""

SIDE = int(SPAN * PIXELS_PER_UNIT)


def plane() -> tuple[Floats, Floats]:
    """``x`` and ``y`` of every pixel, ``(SIDE, SIDE)`` each."""
    steps = ((np.arange(SIDE) + 0.5) / PIXELS_PER_UNIT).astype(np.float32)
    x, y = np.meshgrid(LEFT + steps, TOP + steps)
    return x, y


def bump(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    """A soft round hill of height 1 at ``at`` with standard deviations ``size``."""
    return np.exp(-0.5 * (((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2))


def pair(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    """The same hill on both sides of the face."""
    return bump(np.abs(x), y, at, size)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between; the other way round when ``low`` is above ``high``."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def blur(values: Floats, size: float) -> Floats:
    """Soften by a Gaussian of standard deviation ``size`` units."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), size * PIXELS_PER_UNIT), np.float32)
