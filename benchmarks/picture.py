"""The results as bars, with whiskers from the least to the most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from .results import Book, Figure
from .table import short, title

_OURS, _OTHERS, _FLOORS = "#4c1d95", "#9ca3af", "#d6d3d1"


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """One row of bars."""

    text: str
    what: str
    name: str
    #: Whether the least and the most are too far apart for one scale.
    logarithmic: bool = False


_PANELS = (
    _Panel(
        text="Orders through the whole flow, a second (logarithmic)",
        what="throughput",
        name="orders a second",
        logarithmic=True,
    ),
    _Panel(text="One order at rest, placed to confirmed, p50, ms", what="latency", name="placed to confirmed p50 (ms)"),
    _Panel(text="One order at rest, placed to confirmed, p99, ms", what="latency", name="placed to confirmed p99 (ms)"),
    _Panel(text="POST answered, p99, ms", what="latency", name="POST answered p99 (ms)"),
    _Panel(text="One relay: events a second", what="relay", name="events a second"),
    _Panel(text="Orders placed, a second", what="placing", name="orders a second"),
)


def draw(book: Book, to: Path) -> None:
    """Write the picture, as its suffix says: .svg or .png."""
    shown = [(panel, bars) for panel in _PANELS if (bars := _bars(book, panel))]
    if not shown:
        return
    # The same results make the same file.
    mpl.rcParams |= {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.family": "sans-serif"}
    canvas = Canvas(figsize=(9, sum(0.7 + 0.32 * len(bars) for _, bars in shown)), layout="constrained")
    axes = canvas.subplots(len(shown), 1, squeeze=False, height_ratios=[len(bars) + 1 for _, bars in shown])
    for (panel, bars), plot in zip(shown, axes[:, 0], strict=True):
        _fill(plot, panel, bars)
    to.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(to, metadata={"Date": None} if to.suffix == ".svg" else None, dpi=150)


def _bars(book: Book, panel: _Panel) -> list[Figure]:
    found = [figure for figure in book.figures() if (figure.what, figure.name) == (panel.what, panel.name)]
    return sorted(found, key=lambda figure: (figure.stored, -figure.median))


def _fill(plot: Axes, panel: _Panel, bars: Sequence[Figure]) -> None:
    names = [title(bar.who) + (f" ({bar.stored:,} stored)" if bar.stored else "") for bar in bars]
    medians = [bar.median for bar in bars]
    whiskers = [[bar.median - bar.least for bar in bars], [bar.most - bar.median for bar in bars]]
    plot.barh(names, medians, xerr=whiskers, color=[_colour(bar.who) for bar in bars], height=0.7, capsize=3)
    for place, bar in enumerate(bars):
        plot.annotate(
            short(bar.median), (bar.most, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
        )
    plot.invert_yaxis()
    if panel.logarithmic:
        plot.set_xscale("log")
        plot.set_xlim(left=1)
    plot.margins(x=0.12)
    plot.set_title(panel.text, loc="left", fontsize=10, fontweight="bold")
    plot.tick_params(labelsize=8)
    plot.spines[["top", "right"]].set_visible(False)


def _colour(who: str) -> str:
    if who.endswith("-floor"):
        return _FLOORS
    peers = ("dbos-queue", "dbos-direct", "celery", "plain", "plain-cores", "post-synchronous")
    return _OTHERS if who in peers else _OURS
