r"""Figures with sliders that need no kernel: every frame is drawn once, and the browser chooses among the frames.

:func:`explore` calls a drawing function for each combination of the parameters' values. With ipywidgets 8 the sliders
are linked in the browser to nested stacks of the frames, so that the figure moves in a static page as it does in
JupyterLab. ipywidgets 7, which Colab runs, has no stack: there the kernel answers each move with its frame.

The frames are the vector images of :mod:`chainrule.plots`; they follow the page's light or dark mode, have a text for
readers who can't see them, and share the shapes of their letters, which would else be half of their size.

Example:
    >>> from chainrule.plots import subplots
    >>> def draw(slope):
    ...     fig, ax = subplots()
    ...     ax.plot([0, 1], [0, slope])
    ...     return fig
    >>> explore(draw, alt="A line through the origin", slope=[0.5, 1.0]).num_frames
    2
"""

import hashlib
import html
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from chainrule.plots import BookFigure, svg_with_variables

__all__ = ["Explorer", "explore"]

MAX_BYTES = 4_000_000  # of all frames together: more makes a page slow to load


class Explorer(widgets.VBox):
    """The view that :func:`explore` returns: sliders above a figure.

    Attributes:
        sliders: one slider for each parameter, in the order of the parameters.
        num_frames: how many frames were drawn.
        num_bytes: the size of all frames together.
    """

    def __init__(self, sliders: Sequence[widgets.Widget], num_frames: int, num_bytes: int, **kwargs):
        self.sliders, self.num_frames, self.num_bytes = tuple(sliders), num_frames, num_bytes
        super().__init__(**kwargs)

    def __repr__(self) -> str:
        names = ", ".join(slider.description for slider in self.sliders)
        return f"Explorer({names}: {self.num_frames} frames, {self.num_bytes / 1000:.0f} kB)"


def explore(
    draw: Callable[..., BookFigure],
    *,
    alt: str | Callable[..., str],
    play: bool = True,
    max_frames: int = 200,
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, Any] | None = None,
    **parameters: Iterable[Any],
) -> Explorer:
    """Make a figure that moves with one to three sliders, in a notebook and in a page without a kernel.

    Args:
        draw: called as ``draw(name=value, ...)`` for each combination of values; returns a figure of
            :func:`chainrule.plots.subplots`.
        alt: what a reader who can't see the figure should know; a text, to which the values are added, or a function
            of the values that returns the text.
        play: whether a single parameter gets buttons that run through its values.
        max_frames: the largest number of frames, a guard against a page that takes minutes.
        labels: descriptions of the sliders by parameter; the name with spaces for underscores unless given.
        start: the value shown first, by parameter; the first value unless given.
        **parameters: one to three sequences of values.

    Returns:
        A widget; as the last value of a cell it is shown.

    Raises:
        ValueError: for no or more than three parameters, an empty sequence, too many frames, frames that are too
            large together, a ``draw`` that returns no figure, an empty ``alt``, or names and values that don't exist.
    """
    values = {name: list(sequence) for name, sequence in parameters.items()}
    labels, start = dict(labels or {}), dict(start or {})
    _validate(values, max_frames, alt, labels, start)
    shown = {name: _format_values(sequence) for name, sequence in values.items()}

    frames, glyphs = [], {}
    for indices in itertools.product(*(range(len(sequence)) for sequence in values.values())):
        chosen = {name: values[name][i] for name, i in zip(values, indices, strict=True)}
        figure = draw(**chosen)
        if not isinstance(figure, BookFigure):
            raise ValueError(
                f"expected draw to return a figure made by chainrule.plots.subplots, got {type(figure).__name__}"
            )
        if callable(alt):
            text = alt(**chosen)
        else:
            settings = ", ".join(f"{name} = {shown[name][i]}" for name, i in zip(values, indices, strict=True))
            text = f"{alt} ({settings})"
        frames.append(_frame(figure, text, glyphs))
        size = sum(map(len, frames)) + sum(map(len, glyphs.values()))
        if size > MAX_BYTES:
            raise ValueError(
                f"expected frames of at most {MAX_BYTES / 1e6:.0f} MB together, got "
                f"{size / 1e6:.1f} MB after {len(frames)} frames: draw fewer values, points or pixels"
            )

    # The ids become short, and unique in the page by a name that depends on the drawing alone.
    frames = _rename_ids(["".join(glyphs.values()), *frames])
    letters = frames.pop(0)
    defs = widgets.HTML(
        f'<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>{letters}</defs></svg>',
        layout={"height": "0", "margin": "0"},
    )

    sliders = [
        widgets.SelectionSlider(
            options=shown[name],
            index=_position(values[name], start[name]) if name in start else 0,
            description=labels.get(name, name.replace("_", " ")),
            continuous_update=True,
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "30em"},
        )
        for name in values
    ]
    stack = getattr(widgets, "Stack", None)
    picture = _stacked(frames, sliders, stack) if stack else _observed(frames, sliders)
    controls = list(sliders)
    if play and len(sliders) == 1 and len(frames) > 1:
        controls = [
            widgets.HBox(
                [_player(sliders[0], widgets.jslink if stack else widgets.link), sliders[0]],
                layout={"flex_flow": "row wrap", "align_items": "center"},
            )
        ]
    return Explorer(sliders, len(frames), sum(map(len, frames)) + len(letters), children=[*controls, defs, picture])


def _validate(values: dict, max_frames: int, alt: Any, labels: dict, start: dict) -> None:
    if not 1 <= len(values) <= 3:
        raise ValueError(f"expected one to three parameters, got {len(values)}: {', '.join(values) or 'none'}")
    for name, sequence in values.items():
        if not sequence:
            raise ValueError(f"expected values for the parameter {name!r}, got an empty sequence")
    count = math.prod(map(len, values.values()))
    if count > max_frames:
        sizes = " x ".join(str(len(sequence)) for sequence in values.values())
        raise ValueError(f"expected at most {max_frames} frames, got {sizes} = {count}: give fewer values")
    if not callable(alt) and not (isinstance(alt, str) and alt.strip()):
        raise ValueError(f"expected alt to describe the figure in words, got {alt!r}")
    for option, given in (("labels", labels), ("start", start)):
        for name in given:
            if name not in values:
                raise ValueError(f"expected {option} to name parameters among {', '.join(values)}, got {name!r}")
    for name, value in start.items():
        _position(values[name], value)


def _position(sequence: list, value: Any) -> int:
    for i, candidate in enumerate(sequence):
        if candidate == value:
            return i
    raise ValueError(f"expected start to be one of the values {sequence}, got {value!r}")


def _format_values(sequence: list) -> list[str]:
    """Texts for the slider: four digits where they tell the values apart, all digits otherwise."""
    plain = [value.item() if hasattr(value, "item") else value for value in sequence]
    short = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in plain]
    return short if len(set(short)) == len(short) else [str(value) for value in plain]


def _frame(figure: BookFigure, text: str, glyphs: dict[str, str]) -> str:
    """One frame's SVG with its alternative text; the shapes of its letters move to ``glyphs``, shared by all frames."""

    def take(match: re.Match) -> str:
        glyphs[match[1]] = match[0]
        return ""

    svg = re.sub(r'<path id="([^"]+)"[^>]*transform="scale\(0\.015625\)"/>', take, svg_with_variables(figure))
    svg = svg.replace("<defs></defs>", "")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(text)}" ', 1)


def _rename_ids(svgs: list[str]) -> list[str]:
    prefix = "x" + hashlib.sha256("".join(svgs).encode()).hexdigest()[:6] + "-"
    names: dict[str, str] = {}

    def rename(match: re.Match) -> str:
        return match[1] + names.setdefault(match[2], f"{prefix}{len(names)}")

    return [re.sub(r'( id="|href="#|url\(#)([^")]+)', rename, svg) for svg in svgs]


def _stacked(frames: list[str], sliders: list[widgets.Widget], stack: type) -> widgets.Widget:
    """Nested stacks, one level a slider, whose visible child the browser chooses without a kernel."""
    first = widgets.HTML(frames[0])
    shared = {"layout": first.layout, "style": first.style}  # one of each for all frames: the page is lighter
    level: list[widgets.Widget] = [first, *(widgets.HTML(frame, **shared) for frame in frames[1:])]
    for slider in reversed(sliders):
        size = len(slider.options)
        groups = [level[i : i + size] for i in range(0, len(level), size)]
        level = [stack(children=group, selected_index=slider.index) for group in groups]
        for group in level:
            widgets.jslink((slider, "index"), (group, "selected_index"))
    return level[0]


def _observed(frames: list[str], sliders: list[widgets.Widget]) -> widgets.Widget:
    """One picture that the kernel changes when a slider moves, for ipywidgets 7."""

    def frame() -> str:
        position = 0
        for slider in sliders:
            position = position * len(slider.options) + slider.index
        return frames[position]

    def update(_change: Any) -> None:
        picture.value = frame()

    picture = widgets.HTML(frame())
    for slider in sliders:
        slider.observe(update, "index")
    return picture


def _player(slider: widgets.Widget, link: Callable) -> widgets.Widget:
    """Buttons that run through the slider's values in about six seconds."""
    last = len(slider.options) - 1
    player = widgets.Play(min=0, max=last, value=slider.index, interval=min(800, max(120, 6000 // (last + 1))))
    link((player, "value"), (slider, "index"))
    return player
