r"""One figure style for the whole book, readable in light and dark, kept apart from matplotlib's global state.

A figure is made by :func:`subplots`, drawn on with matplotlib's ordinary ``Axes`` methods, and shown as the last value
of a cell. It is a vector image: the same drawing gives the same bytes on every run, text is drawn as paths (no font is
needed to read it), and its colours come from a table, :data:`COLORS`, whose dark counterparts are known. So a page can
show it in either mode: :func:`dark_svg` recolours a file, :func:`svg_with_variables` leaves the choice to the page's
style sheet, :func:`css_variables` is that style sheet.

The palette starts from Okabe and Ito's colours. Each stands out from its paper with a contrast of 3 to 1 or more, and
readers who lack red or green cones can still tell any two of them apart. A colour from outside the table keeps its
light value in dark mode. Images are rasters and are never recoloured: :data:`SEQUENTIAL` and :data:`DIVERGING` are
colour maps that read well on both papers.

Example:
    >>> fig, ax = subplots()
    >>> line, = ax.plot([0, 1, 2], [0, 1, 4], color=COLORS["blue"])
    >>> fig.to_svg()[:4]
    '<svg'
"""

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from chainrule._svg import compact_svg

__all__ = [
    "COLORS",
    "DARK",
    "DIVERGING",
    "SEQUENTIAL",
    "BookFigure",
    "bars",
    "css_variables",
    "dark_svg",
    "image",
    "subplots",
    "svg_with_variables",
]

_PALETTE = {  # name: (on light paper, on dark paper)
    "blue": ("#0c62b0", "#2c93ec"),
    "orange": ("#b58200", "#dba512"),
    "green": ("#16835a", "#14c384"),
    "red": ("#a62a00", "#da5518"),
    "purple": ("#77307c", "#b176bb"),
    "sky": ("#3a8fc8", "#66cbf8"),
    "ink": ("#1a1f26", "#e6e8eb"),
    "grey": ("#646b73", "#969da7"),
    "grid": ("#dfe2e6", "#33383f"),
    "paper": ("#ffffff", "#121212"),
}
# Colours that matplotlib's own defaults can emit, and the name each one stands for.
_ALIASES = {
    "#000000": "ink",
    "#262626": "ink",
    "#808080": "grey",
    "#b0b0b0": "grid",
    "#cccccc": "grid",
    "#d3d3d3": "grid",
}

COLORS: dict[str, str] = {name: light for name, (light, _) in _PALETTE.items()}
_NAMES = {light: name for name, light in COLORS.items()} | _ALIASES
DARK: dict[str, str] = {light: _PALETTE[name][1] for light, name in _NAMES.items()}

SEQUENTIAL = "cividis"
DIVERGING = LinearSegmentedColormap.from_list("chainrule", ["#0a4f8a", "#4f9fd6", "#e9e9e9", "#e08a3c", "#8f3d00"])

# Matplotlib's own defaults come first, so that a reader's settings don't change the book's figures. The backend is no
# matter of style, and setting it would reach beyond the figure.
_STYLE: dict[str, Any] = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
_STYLE |= {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["grey"],
    "axes.facecolor": COLORS["paper"],
    "axes.grid": True,
    "axes.labelcolor": COLORS["ink"],
    "axes.labelsize": 11,
    "axes.linewidth": 0.9,
    "axes.prop_cycle": mpl.cycler(color=[COLORS[c] for c in ("blue", "red", "green", "orange", "purple", "sky")]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLORS["ink"],
    "axes.titlesize": 11.5,
    "boxplot.flierprops.markeredgecolor": COLORS["ink"],
    "figure.dpi": 72,
    "figure.facecolor": COLORS["paper"],
    "figure.edgecolor": COLORS["paper"],
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "hatch.color": COLORS["ink"],
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "none",
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "legend.edgecolor": COLORS["grid"],
    "lines.linewidth": 2.0,
    "lines.markersize": 6,
    "mathtext.fontset": "dejavusans",
    "patch.edgecolor": COLORS["ink"],
    "savefig.facecolor": COLORS["paper"],
    "svg.fonttype": "path",
    "svg.hashsalt": "chainrule",
    "svg.image_inline": True,
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["grey"],
    "xtick.labelcolor": COLORS["ink"],
    "xtick.labelsize": 10,
    "ytick.color": COLORS["grey"],
    "ytick.labelcolor": COLORS["ink"],
    "ytick.labelsize": 10,
}


def _styled(method: Callable) -> Callable:
    """Run ``method`` under the book's style. The style is on only meanwhile: the reader's own settings stay theirs."""

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        if mpl.rcParams["svg.hashsalt"] == _STYLE["svg.hashsalt"]:  # already inside a styled call
            return method(*args, **kwargs)
        with mpl.rc_context(_STYLE):
            return method(*args, **kwargs)

    return wrapper


def _style_methods(cls: type) -> type:
    """Wrap the public drawing methods that ``cls`` inherits, since they read the style when they are called."""
    for name in dir(cls):
        if name.startswith(("get_", "_")) or name in vars(cls) or not callable(getattr(cls, name)):
            continue
        if not isinstance(getattr(cls, name), type) and not hasattr(getattr(cls, name), "__self__"):
            setattr(cls, name, _styled(getattr(cls, name)))
    return cls


@_style_methods
class BookAxes(Axes):
    """Axes whose drawing methods follow the book's style."""

    name = "chainrule"


@_style_methods
class BookFigure(Figure):
    """A matplotlib figure in the book's style, made without pyplot, that a notebook shows as a vector image."""

    @_styled
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        FigureCanvasSVG(self)
        self._svg = ""

    @_styled
    def to_svg(self) -> str:
        """The drawing as compact SVG text, the same on every run.

        Returns:
            One ``<svg>`` element, without XML declaration, metadata or style sheet.
        """
        # Constrained layout starts from the last positions, so a second drawing would move a little.
        if self.stale or not self._svg:
            buffer = io.StringIO()
            self.canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            self._svg = compact_svg(buffer.getvalue())
        return self._svg

    def _repr_svg_(self) -> str:
        return self.to_svg()


def subplots(
    nrows: int = 1,
    ncols: int = 1,
    *,
    width: float = 6.4,
    height: float = 3.6,
    sharex: bool | str = False,
    sharey: bool | str = False,
) -> tuple[BookFigure, Any]:
    """Make a figure and its axes in the book's style.

    Args:
        nrows: rows of axes.
        ncols: columns of axes.
        width: width of the figure in inches; 6.4 fills the text column of a page.
        height: height of the figure in inches.
        sharex: whether the axes share their x axis, as in matplotlib.
        sharey: whether the axes share their y axis, as in matplotlib.

    Returns:
        The figure, and one ``Axes`` or an array of them.

    Example:
        >>> fig, axes = subplots(1, 2, height=2.5)
        >>> axes.shape
        (2,)
    """
    fig = BookFigure(figsize=(width, height), layout="constrained")
    axes = _styled(Figure.subplots)(
        fig, nrows, ncols, sharex=sharex, sharey=sharey, subplot_kw={"axes_class": BookAxes}
    )
    return fig, axes


def bars(
    ax: Axes, values: Any, labels: Sequence[str] | None = None, *, color: str = "blue", value_format: str | None = None
) -> None:
    """Draw a bar for each outcome, or groups of bars for several distributions over the same outcomes.

    Args:
        ax: where to draw.
        values: heights of the bars (a sequence, array or tensor), or ``{name: heights}`` for bars side by side with a
            legend.
        labels: names of the outcomes under the bars.
        color: a name of :data:`COLORS` for the bars of a single series.
        value_format: writes each height above its bar in this format, for example ``"{:.2f}"``.

    Raises:
        ValueError: if the series differ in length from each other or from ``labels``, or there is no such colour.

    Example:
        >>> fig, ax = subplots()
        >>> bars(ax, {"p": [0.5, 0.5], "q": [0.9, 0.1]}, ["heads", "tails"])
        >>> len(ax.patches)
        4
    """
    if color not in COLORS:
        raise ValueError(f"expected a colour among {', '.join(COLORS)}, got {color!r}")
    series = values if isinstance(values, Mapping) else {None: values}
    colors = [COLORS[c] for c in (color, *(c for c in ("blue", "red", "green", "orange", "purple") if c != color))]
    heights = {name: np.asarray(v, dtype=float) for name, v in series.items()}
    size = len(next(iter(heights.values()), ())) if labels is None else len(labels)
    for name, height in heights.items():
        if height.shape != (size,):
            raise ValueError(f"expected {size} heights for {name or 'the bars'}, got shape {height.shape}")
    positions, bar_width = np.arange(size), 0.8 / len(heights)
    for i, (name, height) in enumerate(heights.items()):
        offset = (i - (len(heights) - 1) / 2) * bar_width
        drawn = ax.bar(positions + offset, height, width=0.92 * bar_width, color=colors[i % len(colors)], label=name)
        if value_format is not None:
            ax.bar_label(drawn, [value_format.format(h) for h in height], padding=2, fontsize=10)
    ax.grid(False, axis="x")
    ax.set_xticks(positions, labels if labels is not None else [str(i) for i in positions])
    if len(heights) > 1:
        ax.legend()


def image(
    ax: Axes,
    array: Any,
    *,
    vmin: float | None = 0.0,
    vmax: float | None = 1.0,
    cmap: Any = "gray",
    title: str | None = None,
) -> Any:
    """Show an array as an image with hard pixels, a thin frame and no ticks.

    Args:
        ax: where to draw.
        array: ``(height, width)`` for one channel, ``(height, width, 3)`` for colours in [0, 1].
        vmin: the value drawn darkest; ``None`` takes the smallest value.
        vmax: the value drawn brightest; ``None`` takes the largest value.
        cmap: colour map of a one-channel image: ``"gray"``, :data:`SEQUENTIAL` or :data:`DIVERGING`.
        title: text above the image.

    Returns:
        Matplotlib's image, for example for a colour bar.

    Example:
        >>> fig, ax = subplots(width=2, height=2)
        >>> image(ax, [[0.0, 1.0], [1.0, 0.0]]).get_array().shape
        (2, 2)
    """
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"expected an array of shape (height, width) or (height, width, 3), got {array.shape}")
    drawn = ax.imshow(array, cmap=cmap, vmin=vmin, vmax=vmax)
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=COLORS["grey"])
    if title is not None:
        ax.set_title(title)
    return drawn


def css_variables() -> str:
    """Style sheet text that defines ``--cr-<name>`` for every colour, for light pages and for dark ones.

    Example:
        >>> css_variables().startswith(":root{--cr-blue:#0c62b0;")
        True
    """
    light, dark = ("".join(f"--cr-{name}:{pair[i]};" for name, pair in _PALETTE.items()) for i in (0, 1))
    return f":root{{{light}}}html[data-theme=dark]{{{dark}}}"


# A colour stands alone in an attribute or a style; '#' in references is followed by an id and inside url(...).
_COLOR = re.compile(r'(?<=[":\s])#[0-9a-f]{6}(?=[";\s])')


def svg_with_variables(figure: BookFigure | str) -> str:
    """SVG to stand inside a page, whose colours follow the page's ``--cr-`` variables and so its light or dark mode.

    Args:
        figure: a figure of this module, or its SVG text.

    Returns:
        SVG in which each known colour is ``var(--cr-<name>,#light)``; it shrinks to the width of a phone.
    """
    svg = figure if isinstance(figure, str) else figure.to_svg()
    # A variable is valid in a style, not in a presentation attribute; matplotlib and compact_svg write styles only.
    return _COLOR.sub(lambda m: f"var(--cr-{_NAMES[m[0]]},{m[0]})" if m[0] in _NAMES else m[0], svg)


def dark_svg(svg: str) -> str:
    """The same SVG for dark paper: every known colour replaced, images and everything else untouched.

    Args:
        svg: SVG text of a figure of this module.

    Returns:
        SVG text with the colours of :data:`DARK`.
    """
    return _COLOR.sub(lambda m: DARK.get(m[0], m[0]), svg)
