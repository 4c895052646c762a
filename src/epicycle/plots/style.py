"""One look for every figure, and SVG whose bytes depend on the data alone."""

import colorsys
import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

COSINE, SINE = "#1f6f8b", "#d1603d"
TRAIN, TEST = "#8a8f98", "#14213d"
FFD, FCR = "#2a9d5c", "#9b4dca"
KEY = "#c1121f"
SEQUENTIAL = "magma_r"

STYLE: Any = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "svg.fonttype": "none",
    "svg.hashsalt": "epicycle",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def phase_colors(phase: Any) -> list[tuple[float, float, float]]:
    """Colours of phases in turns: the wheel that the report's script draws, hsl(360 x, 65 %, 45 %)."""
    return [colorsys.hls_to_rgb(float(x) % 1, 0.45, 0.65) for x in phase]


@contextlib.contextmanager
def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A figure of the given size in inches with its axes, in the house style; closed on leaving."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height))
        FigureCanvasAgg(fig)
        yield fig, fig.subplots(rows, columns, **options)


@contextlib.contextmanager
def blank(width: float, height: float) -> Iterator[Any]:
    """A figure of the given size in inches without axes, in the house style."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height))
        FigureCanvasAgg(fig)
        yield fig


def axes(ax: Any = None, width: float = 6.3, height: float = 2.4) -> Any:
    """The axes given, or those of a new figure in the house style."""
    if ax is not None:
        return ax
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height)).subplots()


def svg(fig: Any, title: str) -> str:
    """The figure as an <svg> element that scales with its container, up to type of about the page's, with `title` for those who cannot see it."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(STYLE):
        fig.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    from html import escape

    head, rest = text.split(">", 1)
    return f'{head} style="max-width: {fig.get_figwidth() * 128:.0f}px" role="img" aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>{rest}'
