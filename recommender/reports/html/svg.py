"""Inline SVG from small pieces: elements, axes, a plot. Every text is escaped; colours are in report.css."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 26, 14, 46  # margins
SHAPES = {  # symbols of a class or kind, about 10 units wide, so that colour is never the only difference
    "circle": "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z",
    "square": "M-4,-4h8v8h-8z",
    "triangle": "M0,-5.2L5,3.8H-5z",
    "diamond": "M0,-5.6L5.6,0L0,5.6L-5.6,0z",
    "wedge": "M0,5.2L5,-3.8H-5z",
    "cross": "M-1.6,-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
}


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """An element; `class_` becomes class, and `stroke_width` becomes stroke-width. None leaves an attribute out."""
    given = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _short(value))
        for name, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, given, Markup("").join(map(escape, children)))


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of values, and the marks on it."""

    low: float
    high: float
    title: str
    ticks: Sequence[tuple[float, str]]  # value and label
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1; values beyond the ends lie on them."""
        low, high, at = (math.log(max(each, 1e-12)) if self.log else each for each in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)


def linear_axis(low: float, high: float, title: str, label: Callable[[float], str] = "{:g}".format) -> Axis:
    """An axis with about five marks at round values, with their labels."""
    high = high if high > low else low + 1.0
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= 5.01)
    values = [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return Axis(low=low, high=high, title=title, ticks=[(value, label(round(value, 9))) for value in values])


def log_axis(low: float, high: float, title: str) -> Axis:
    """A logarithmic axis with a mark at each power of ten."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return Axis(low=low, high=high, title=title, ticks=[(10.0**power, f"{10**power:,}") for power in powers], log=True)


def whole_percent(share: float) -> str:
    """The label of a share: "90 %"."""
    return f"{100 * share:.0f} %"


def share_axis(lows: Iterable[float], title: str) -> Axis:
    """An axis of shares up to 100 %, from a round value below the lowest."""
    low = math.floor(10 * max(min(lows, default=0.0) - 0.02, 0.0)) / 10
    return linear_axis(min(low, 0.9), 1.0, title, whole_percent)


@dataclass(kw_only=True)
class Plot:
    """A plot with two axes; things are drawn in the order in which they are added."""

    words: str  # what it shows, for those who don't see it
    x: Axis
    y: Axis
    width: int = 480  # units; the page scales them
    height: int = 320
    parts: list[Markup] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point in units of the plot."""
        across = self.x.share(x) * (self.width - _LEFT - _RIGHT)
        up = self.y.share(y) * (self.height - _TOP - _BOTTOM)
        return _LEFT + across, self.height - _BOTTOM - up

    def add(self, tag: str, *children: str, **attributes: object) -> None:
        """Draw an element."""
        self.parts.append(element(tag, *children, **attributes))

    def line(self, points: Iterable[tuple[float, float]], class_: str) -> None:
        """Join points by straight lines."""
        places = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        self.add("polyline", points=places, class_=f"line {class_}")

    def text(self, x: float, y: float, words: str, class_: str = "", *, dx: float = 0, dy: float = 0) -> None:
        """Words at a point; the class "end" or "middle" says which part of them is there."""
        left, top = self.at(x, y)
        self.add("text", words, x=left + dx, y=top + dy, class_=class_ or None)

    def mark(self, x: float, y: float, class_: str, shape: str = "circle", title: str = "", scale: float = 1.0) -> None:
        """A symbol at a point."""
        left, top = self.at(x, y)
        words = [element("title", title)] if title else []
        size = "" if scale == 1.0 else f" scale({scale:g})"
        self.add("path", *words, d=SHAPES[shape], transform=f"translate({left:.1f} {top:.1f}){size}", class_=class_)

    def interval(self, x: float, low: float, high: float, class_: str) -> None:
        """A vertical bar from low to high."""
        (left, bottom), (_, top) = self.at(x, low), self.at(x, high)
        self.add("path", d=f"M{left:.1f},{bottom:.1f}V{top:.1f}", class_=f"interval {class_}")

    def render(self) -> Markup:
        """The plot as an SVG image."""
        content = (*self._axes(), *self.parts)
        return element("svg", *content, viewBox=f"0 0 {self.width} {self.height}", role="img", aria_label=self.words)

    def _axes(self) -> Iterable[Markup]:
        right, bottom, middle = self.width - _RIGHT, self.height - _BOTTOM, (self.height - _BOTTOM + _TOP) / 2
        for value, label in self.y.ticks:
            _, top = self.at(self.x.low, value)
            yield element("path", d=f"M{_LEFT},{top:.1f}H{right}", class_="grid")
            yield element("text", label, x=_LEFT - 6, y=top + 4, class_="end")
        for value, label in self.x.ticks:
            left, _ = self.at(value, self.y.low)
            yield element("path", d=f"M{left:.1f},{bottom}v5", class_="axis")
            yield element("text", label, x=left, y=bottom + 18, class_="middle")
        yield element("path", d=f"M{_LEFT},{bottom}H{right}", class_="axis")
        yield element("text", self.x.title, x=(_LEFT + right) / 2, y=self.height - 8, class_="middle title")
        turned = f"rotate(-90 13 {middle})"
        yield element("text", self.y.title, x=13, y=middle, transform=turned, class_="middle title")
