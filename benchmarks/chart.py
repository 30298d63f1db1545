"""Draws the results: time, memory and ratios over the number of customers."""

from __future__ import annotations

import io
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.results import QUANTITIES, RATIOS
from benchmarks.sides import BARE, GLUE, NEW_FILES, REFRESH, SHARED, SPARK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from benchmarks.measure import Run
    from benchmarks.results import Ratio, Size

# Colors of Okabe and Ito, which the color-blind tell apart; the markers tell them apart in grey.
_LOOKS = {
    REFRESH: ("#0072b2", "o"),
    BARE: ("#000000", "s"),
    GLUE: ("#d55e00", "^"),
    SPARK: ("#cc79a7", "v"),
    NEW_FILES: ("#009e73", "D"),
    SHARED: ("#b07800", "P"),
}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "stedi",
}
_TITLE = "Time, peak memory and ratios over the number of customers"
_TEXT, _GRID = "#1f2328", "#d0d7de"


def svg(sizes: Sequence[Size]) -> bytes:
    """Draw the results; the same ones give the same bytes."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 11), layout="constrained", facecolor="#ffffff")
        time, memory, ratio = figure.subplots(3, 1, sharex=True, height_ratios=(1.2, 1, 1.2))
        _draw_quantity(time, sizes, QUANTITIES["time"], "seconds")
        _draw_quantity(memory, sizes, QUANTITIES["peak memory"], "peak memory, MB")
        _draw_ratios(ratio, sizes)
        for axes, title in (
            (time, "Time"),
            (memory, "Memory"),
            (ratio, "Ratios, and what is asked of them (dashed)"),
        ):
            _dress(axes, title, [size.customers for size in sizes])
        ratio.set_xlabel("customers")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        said = f'<svg role="img" aria-label="{_TITLE}" '
        return drawn.getvalue().replace(b"<svg ", said.encode(), 1)


def _draw_quantity(
    axes: Axes, sizes: Sequence[Size], quantity: Callable[[Run], float], unit: str
) -> None:
    for name, (color, marker) in _LOOKS.items():
        values = [(size.customers, size.median(name, quantity)) for size in sizes]
        _draw_line(axes, values, name, color, marker)
    axes.set_ylabel(unit)


def _draw_ratios(axes: Axes, sizes: Sequence[Size]) -> None:
    for ratio, name in _drawn():
        color, marker = _LOOKS[name]
        values = [(size.customers, _middle(ratio, size)) for size in sizes]
        asked = f" ({ratio.bound})" if ratio.bound else ""
        _draw_line(axes, values, ratio.name + asked, color, marker)
        if ratio.bound and any(value for _, value in values):
            axes.axhline(ratio.bound.limit, color=color, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_ylabel("ratio")


def _drawn() -> list[tuple[Ratio, str]]:
    """The ratios with a picture, and whose looks they have."""
    looks = {f"{name} : {REFRESH}": name for name in _LOOKS} | {f"{REFRESH} : {BARE}": REFRESH}
    return [(ratio, looks[ratio.name]) for ratio in RATIOS if ratio.name in looks]


def _middle(ratio: Ratio, size: Size) -> float | None:
    values = ratio.values(size)
    return median(values) if values else None


def _draw_line(
    axes: Axes, values: Sequence[tuple[int, float | None]], name: str, color: str, marker: str
) -> None:
    points = [(customers, value) for customers, value in values if value]
    if points:
        axes.plot(*zip(*points, strict=True), label=name, color=color, marker=marker)


def _dress(axes: Axes, title: str, customers: Sequence[int]) -> None:
    axes.set_title(title, loc="left", color=_TEXT)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(customers, [f"{number:,}" for number in customers])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(colors=_TEXT, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_GRID)
    axes.set_axisbelow(True)
    axes.grid(color=_GRID, linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, labelcolor=_TEXT)
