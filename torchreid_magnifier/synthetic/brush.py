"""Paints rounded parts of one person onto a canvas, in that person's own measures."""

import numpy as np

from ..parts import BACKGROUND
from ..shapes import capsule, ellipse
from .body import STANDARD_HEIGHT, Skeleton, View
from .canvas import Canvas, Colour
from .identity import Identity

LIT = 203  # shading in the middle of something round
_EDGE = 160  # shading at its border; what lies within is (width, shift, shade):
_ROUNDING = ((0.72, 0.24, LIT), (0.36, 0.42, 224))


class Brush:
    """A canvas together with its next person, and how that one stands and is lit.

    Lengths are in metres on a person of standard height, places (2,) in canvas pixels.

    Args:
        light: where the light comes from across the picture, -1 (left) to 1 (right).
        labelled: False makes everything that is painted background: somebody else, not the person
            of this image.

    Attributes:
        unit: canvas pixels of a metre on a person of standard height.
        across, down: (2,) unit vectors of the tilted picture.
        front, side: cosine and sine of the yaw: 1, 0 seen from the front.
    """

    def __init__(
        self,
        canvas: Canvas,
        person: Identity,
        bones: Skeleton,
        view: View,
        light: float,
        labelled: bool = True,
    ) -> None:
        self.canvas, self.view, self.light, self.labelled = canvas, view, light, labelled
        self.person, self.bones = person, bones
        self.unit = view.scale * person.height / STANDARD_HEIGHT
        self.across = np.array((np.cos(view.roll), np.sin(view.roll)))
        self.down = np.array((-self.across[1], self.across[0]))
        self.front, self.side = float(np.cos(view.yaw)), float(np.sin(view.yaw))

    def at(self, point: np.ndarray) -> np.ndarray:
        """Return the canvas position of body points (..., 3)."""
        return self.view.project(point)

    def on_trunk(self, *points: tuple[float, float, float]) -> np.ndarray:
        """Return the (P, 2) positions of points of the trunk, see :meth:`Skeleton.on_trunk`."""
        return np.array([self.at(self.bones.on_trunk(*point)) for point in points])

    def fill(
        self,
        outline: np.ndarray,
        colour: Colour | np.ndarray,
        part: int | None,
        shade: int | None = None,
    ) -> None:
        """Fill a polygon; ``part`` None (a bag, a print) keeps the label of what it covers."""
        self.canvas.fill(outline, colour, self._label(part), shade)

    def shade(self, outline: np.ndarray, shade: int) -> None:
        """Shade a polygon and nothing else."""
        self.canvas.fill(outline, None, None, shade)

    def stroke(
        self, line: np.ndarray, colour: Colour, width: float, part: int | None = None
    ) -> None:
        """Draw a line."""
        self.canvas.stroke(line, colour, width * self.unit, self._label(part))

    def capsule(
        self, start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
    ) -> np.ndarray:
        """Return the outline of two discs around two places and what lies between them."""
        return capsule(start, end, start_radius * self.unit, end_radius * self.unit)

    def oval(self, centre: np.ndarray, rx: float, ry: float) -> np.ndarray:
        """Return the outline of an ellipse that tilts with the picture."""
        return ellipse(centre, rx * self.unit, ry * self.unit, self.view.roll)

    def limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        start_radius: float,
        end_radius: float,
        colour: Colour | np.ndarray,
        part: int,
    ) -> None:
        """Paint a rounded tapering limb between two places."""
        r, q = start_radius * self.unit, end_radius * self.unit
        self.fill(capsule(start, end, r, q), colour, part, _EDGE)
        for width, shift, shade in _ROUNDING:
            offset = self.across * self.light * shift
            self.shade(capsule(start + offset * r, end + offset * q, width * r, width * q), shade)

    def ball(self, centre: np.ndarray, rx: float, ry: float, colour: Colour, part: int) -> None:
        """Paint a rounded ellipse."""
        self.fill(self.oval(centre, rx, ry), colour, part, _EDGE)
        for width, shift, shade in _ROUNDING:
            middle = centre + self.across * self.light * shift * rx * self.unit
            self.shade(self.oval(middle, width * rx, width * ry), shade)

    def column(self, outline: np.ndarray) -> None:
        """Shade something large as if it were a column."""
        across = (outline - outline.mean(axis=0)) @ self.across
        reach = 0.5 * np.ptp(across)
        self.shade(outline, _EDGE)
        for width, shift, shade in _ROUNDING:
            move = across * (width - 1) + self.light * shift * reach
            self.shade(outline + move[:, None] * self.across, shade)

    def _label(self, part: int | None) -> int | None:
        return part if self.labelled else BACKGROUND
