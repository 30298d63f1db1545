"""Draws the pictures: numbers to SVG, in a light and in a dark theme.

Matplotlib is imported where something is drawn: loading the definitions does not need it.
"""

import base64
import io
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from stedi_assets.report.figures import Bars, Histogram, History, Numbers, Timeline
from stedi_assets.report.pictures import Picture, in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator


@dataclass(frozen=True)
class Colors:
    """Colors of a theme; those of the series are told apart by the color-blind, too."""

    background: str
    text: str
    grid: str
    series: tuple[str, str]


class Theme(Enum):
    """What the pictures look like; the series' colors are those of Okabe and Ito."""

    LIGHT = Colors("#ffffff", "#1f2328", "#d0d7de", ("#0072b2", "#d55e00"))
    DARK = Colors("#16191d", "#e6e8eb", "#3b4149", ("#56b4e9", "#e69f00"))


_WIDTH, _HEIGHT, _BAR_HEIGHT = 5.6, 2.8, 0.38  # inches
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "svg.fonttype": "none",  # text as text, in the reader's own font
    "svg.hashsalt": "stedi",  # the same picture has the same bytes
}
_THOUSANDS = "{x:,.0f}"
_LABELS = 4  # dates beside one another, at most


@dataclass(frozen=True)
class DrawnPicture:
    """A drawn picture, as a data URI for each theme."""

    picture: Picture
    light: str
    dark: str


def draw(picture: Picture) -> DrawnPicture:
    """Draw a picture in both themes."""
    light, dark = (_data_uri(svg(picture.numbers, theme)) for theme in (Theme.LIGHT, Theme.DARK))
    return DrawnPicture(picture, light, dark)


def svg(numbers: Numbers, theme: Theme) -> bytes:
    """Draw numbers; the same ones give the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        height = _HEIGHT
        if isinstance(numbers, Bars):
            height = _BAR_HEIGHT * len(numbers.counts) + 0.7
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        figure.set_facecolor(theme.value.background)
        axes = figure.add_subplot()
        match numbers:
            case Bars():
                _draw_bars(axes, numbers, theme.value)
            case Histogram():
                _draw_histogram(axes, numbers, theme.value)
            case Timeline():
                _draw_timeline(axes, numbers, theme.value)
            case History():
                _draw_history(axes, numbers, theme.value)
        _style_axes(axes, theme.value, "x" if isinstance(numbers, Bars) else "y")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return file.getvalue()


def _data_uri(picture: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"


def _draw_bars(axes: "Axes", numbers: Bars, colors: Colors) -> None:
    kinds = [kind.replace("_", " ") for kind in numbers.counts]
    counts = [count or 0 for count in numbers.counts.values()]
    bars = axes.barh(kinds, counts, color=colors.series[0], height=0.7)
    labels = [in_words(count) for count in numbers.counts.values()]
    axes.bar_label(bars, labels, padding=4, color=colors.text)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * max(1, *counts))
    axes.set_xlabel(numbers.unit)
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.xaxis.set_major_formatter(_THOUSANDS)


def _draw_histogram(axes: "Axes", numbers: Histogram, colors: Colors) -> None:
    axes.stairs(numbers.counts, numbers.edges, fill=True, color=colors.series[0])
    axes.set_xlabel(numbers.quantity)
    axes.xaxis.set_major_formatter("{x:,g}")
    if numbers.grain >= 1:
        axes.xaxis.set_major_locator(_whole_numbers())
    _count_upwards(axes, numbers.unit)


def _draw_timeline(axes: "Axes", numbers: Timeline, colors: Colors) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num  # noqa: PLC0415

    edges = date2num(numbers.edges)
    lines = zip(numbers.counts.items(), colors.series, ("-", (0, (3, 1))), strict=True)
    for (source, counts), color, dashes in lines:
        axes.stairs(counts, edges, label=source, color=color, linestyle=dashes, linewidth=1.6)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("time (UTC)")
    _count_upwards(axes, f"readings per {numbers.bucket}")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, labelcolor=colors.text
    )


def _draw_history(axes: "Axes", numbers: History, colors: Colors) -> None:
    # One beside the other: refreshes may be minutes or months apart.
    places = range(len(numbers.rows))
    axes.bar(places, numbers.rows, color=colors.series[0], width=0.7)
    labelled = places[:: -(-len(places) // _LABELS)]
    axes.set_xticks(labelled, [f"{numbers.published[place]:%Y-%m-%d\n%H:%M}" for place in labelled])
    axes.set_xlim(-1, len(places))
    axes.set_xlabel("published at (UTC)")
    _count_upwards(axes, "rows")


def _count_upwards(axes: "Axes", unit: str) -> None:
    _, highest = axes.get_ylim()
    axes.set_ylim(0, max(1, highest))
    axes.set_ylabel(unit)
    axes.yaxis.set_major_locator(_whole_numbers())
    axes.yaxis.set_major_formatter(_THOUSANDS)


def _whole_numbers() -> "Locator":
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    return MaxNLocator(nbins=5, integer=True)


def _style_axes(axes: "Axes", colors: Colors, counts: Literal["x", "y"]) -> None:
    axes.set_facecolor(colors.background)
    axes.tick_params(colors=colors.text, which="both", length=0)
    axes.xaxis.label.set_color(colors.text)
    axes.yaxis.label.set_color(colors.text)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(colors.grid)
    axes.set_axisbelow(True)
    axes.grid(axis=counts, color=colors.grid, linewidth=0.6)
