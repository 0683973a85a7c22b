"""The figure style: the same bytes on every run, colours readable on both papers, nothing changed around it."""

import base64
import io
import itertools
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from chainrule import plots
from chainrule.plots import COLORS, DARK, bars, css_variables, dark_svg, image, subplots, svg_with_variables

LINES = ["blue", "red", "green", "orange", "purple", "sky", "ink", "grey"]
HEX = re.compile(r"#[0-9a-f]{6}\b")


def curves():
    """A typical figure of a page: three curves of 200 points, a legend, labels with mathematics."""
    fig, ax = subplots()
    x = np.linspace(0, 1, 200)
    for power in (1, 2, 3):
        ax.plot(x, x**power, label=f"$x^{power}$")
    ax.axvline(0.5, linestyle="--", color="black")
    ax.set(xlabel="probability of heads $p$", ylabel="entropy (bits)", title="Three powers")
    ax.legend()
    return fig


def everything():
    """A figure that uses whatever a page could, in matplotlib's own colours where nothing is said."""
    fig, axes = subplots(3, 3, width=9, height=8)
    fig.suptitle("All of it")
    a = axes.ravel()
    a[0].hist([1, 2, 2, 3], bins=3, histtype="step")
    a[0].fill_between([1, 2, 3], [0, 1, 0], alpha=0.3)
    a[1].boxplot([[1, 2, 3, 9], [2, 3, 4, 5]])
    a[2].errorbar([1, 2], [1, 2], yerr=[0.1, 0.2], capsize=3)
    a[2].annotate("here", (1, 1), (1.5, 1), arrowprops={"arrowstyle": "->"})
    a[3].scatter([1, 2, 3], [1, 2, 3], edgecolor="white")
    a[3].text(1, 2, "words", bbox={"facecolor": "white", "edgecolor": "black"})
    bars(a[4], {"p": [0.5, 0.5], "q": [0.9, 0.1], "r": [0.2, 0.8]}, ["heads", "tails"], value_format="{:.1f}")
    drawn = image(a[5], np.eye(3), cmap=plots.DIVERGING, title="image")
    fig.colorbar(drawn, ax=a[5])
    a[6].contour(np.arange(4), np.arange(4), np.outer(np.arange(4.0), np.arange(4)), colors="black")
    a[6].quiver([1], [1], [1], [1])
    a[7].bar([1, 2], [1, 2], hatch="//")
    a[7].legend(["hatched"], frameon=True)
    a[8].violinplot([[1, 2, 3, 9]], showmedians=True)
    a[8].table([["1", "2"]], loc="bottom")
    return fig


def channels(color: str) -> np.ndarray:
    """Linear light of a colour, (3,)."""
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines."""
    low, high = sorted(channels(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b))
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira and Fernandes (2009), severity 1.0
VISION = {
    "full": np.eye(3),
    "no green cones": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                                [-0.011820, 0.042940, 0.968881]]),
    "no red cones": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                              [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    """A colour in CIE L*a*b*, as seen; a distance of about 2 is just noticeable."""
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    t = to_xyz @ np.clip(vision @ channels(color), 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def dark(name: str) -> str:
    return DARK[COLORS[name]]


def test_contrast_is_the_guidelines_own():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # a value tabulated in many places


@pytest.mark.parametrize("name", LINES)
def test_lines_stand_out_from_the_paper_in_both_modes(name):
    assert contrast(COLORS[name], COLORS["paper"]) >= 3
    assert contrast(dark(name), dark("paper")) >= 3


@pytest.mark.parametrize("name", ["ink", "grey"])
def test_text_is_readable_in_both_modes(name):
    assert contrast(COLORS[name], COLORS["paper"]) >= 4.5
    assert contrast(dark(name), dark("paper")) >= 4.5


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_are_told_apart_without_red_or_green_cones(mode, vision):
    palette = {name: COLORS[name] if mode == "light" else dark(name) for name in LINES}
    for a, b in itertools.combinations(LINES, 2):
        distance = np.linalg.norm(lab(palette[a], VISION[vision]) - lab(palette[b], VISION[vision]))
        assert distance > 16, (a, b, distance)


def test_every_colour_that_the_style_emits_has_a_dark_one():
    svg = everything().to_svg()
    assert set(HEX.findall(svg)) <= DARK.keys()
    assert not re.search(r"(fill|stroke):(?!none|#[0-9a-f]{6}[;\"]|url)", svg), "a colour in another notation"


def test_blacks_whites_and_greys_of_matplotlib_have_dark_ones():
    for color in ("black", "white", "grey", "lightgrey"):
        assert mpl.colors.to_hex(color) in DARK
    for key in ("axes.edgecolor", "axes.facecolor", "grid.color", "legend.edgecolor", "text.color"):
        assert mpl.colors.to_hex(mpl.rcParamsDefault[key]) in DARK, key


def test_no_colour_has_two_meanings():
    assert len(set(COLORS.values())) == len(COLORS)
    assert len({dark(name) for name in COLORS}) == len(COLORS)


def test_dark_replaces_each_colour_exactly_and_leaves_the_rest():
    svg = everything().to_svg()
    turned = dark_svg(svg)
    assert [DARK[c] for c in HEX.findall(svg)] == HEX.findall(turned)
    assert HEX.sub("", svg) == HEX.sub("", turned)


def test_dark_leaves_images_and_foreign_colours():
    fig, ax = subplots()
    image(ax, np.arange(12.0).reshape(3, 4) / 11)
    ax.plot([0, 1], [0, 1], color="#123456")
    svg = fig.to_svg()
    raster = re.search(r'href="data:image/png;base64,([^"]+)"', svg)[1]
    assert raster in dark_svg(svg)
    assert raster in svg_with_variables(svg)
    assert "stroke:#123456" in dark_svg(svg)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(raster))).convert("L"), dtype=int)
    assert pixels.shape == (3, 4)  # the browser enlarges it, with hard edges
    assert sorted(pixels.ravel()) == pytest.approx(np.arange(12) / 11 * 255, abs=1)
    assert "image-rendering:pixelated" in svg


def test_references_are_no_colours():
    svg = '<g style="fill:#ffffff"><use xlink:href="#abcdef"/><path clip-path="url(#ffffff)"/></g>'
    assert dark_svg(svg).count(DARK["#ffffff"]) == 1
    assert 'xlink:href="#abcdef"' in dark_svg(svg)
    assert "url(#ffffff)" in svg_with_variables(svg)


def test_unsaid_black_follows_the_mode():
    fig, ax = subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "black", color="black")
    svg = fig.to_svg()
    root = ElementTree.fromstring(dark_svg(svg))
    assert f"fill:{dark('ink')}" in root.attrib["style"]
    text = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if "scale" in g.get("transform", "")]
    assert len(text) == 1
    assert "fill" not in text[0].get("style", "")  # so it inherits


def test_variables_fall_back_to_the_light_colours():
    svg = everything().to_svg()
    inline = svg_with_variables(svg)
    assert re.sub(r"var\(--cr-[a-z]+,(#[0-9a-f]{6})\)", r"\1", inline) == svg
    used = set(re.findall(r"var\(--cr-([a-z]+),", inline))
    assert used <= COLORS.keys()
    assert {"ink", "paper", "blue"} <= used
    assert svg_with_variables(curves()) == svg_with_variables(curves().to_svg())


def test_style_sheet_defines_each_variable_once_for_each_mode():
    light, dark_part = css_variables().split("html[data-theme=dark]")
    for name in COLORS:
        assert light.count(f"--cr-{name}:{COLORS[name]};") == 1
        assert dark_part.count(f"--cr-{name}:{dark(name)};") == 1


def test_drawing_is_compact_well_formed_and_without_traces():
    svg = curves().to_svg()
    ElementTree.fromstring(svg)
    assert svg.startswith("<svg ")
    assert len(svg) < 40_000
    for trace in ("<?xml", "<!DOCTYPE", "<metadata", "<!--", "<style", "matplotlib", "\n"):
        assert trace not in svg
    assert not re.search(r' d="[^"]*\.\d{3}', svg), "coordinates are rounded"
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(re.findall(r'(?:href="|url\()#([^")]+)', svg))


SCRIPT = """
import sys
from chainrule.plots import subplots, bars
fig, ax = subplots()
ax.scatter([1, 2], [3, 4], label="$a$")
bars(ax, [1.0, 2.0])
ax.legend()
assert "matplotlib.pyplot" not in sys.modules
sys.stdout.write(fig.to_svg())
"""


def test_same_drawing_gives_the_same_bytes_in_another_process():
    runs = []
    for seed in "1", "2":
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        runs.append(subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, check=True))
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(b"<svg")


def test_showing_twice_gives_the_same_bytes_and_changes_show():
    fig = everything()  # its layout would settle a little further with a second drawing
    first = fig._repr_svg_()
    assert fig._repr_svg_() == first == everything()._repr_svg_()
    fig.axes[0].plot([0, 1], [1, 0])
    assert fig._repr_svg_() != first


def test_readers_settings_neither_change_nor_matter():
    expected = everything().to_svg()
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": False, "svg.fonttype": "none"}):
        before = dict(mpl.rcParams)
        assert everything().to_svg() == expected
        assert dict(mpl.rcParams) == before


def test_style_is_off_again_after_an_error():
    _, ax = subplots()
    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match="shape"):
        ax.plot([1, 2, 3], [1, 2])
    assert dict(mpl.rcParams) == before


def test_letters_are_at_least_ten_points_high():
    fig = everything()
    fig.to_svg()
    sizes = {text.get_fontsize() for text in fig.findobj(Text) if text.get_text()}
    assert min(sizes) >= 10


def test_subplots_have_the_size_and_sharing_asked_for():
    fig, axes = subplots(2, 3, width=5, height=4, sharex=True, sharey="row")
    assert axes.shape == (2, 3)
    assert tuple(fig.get_size_inches()) == (5, 4)
    axes[0, 0].set(xlim=(0, 7), ylim=(0, 9))
    assert axes[1, 2].get_xlim() == (0, 7)
    assert axes[0, 2].get_ylim() == (0, 9)
    assert axes[1, 0].get_ylim() != (0, 9)
    assert 'width="360pt" height="288pt" viewBox="0 0 360 288"' in fig.to_svg()


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_bars_have_the_heights_given(kind):
    _, ax = subplots()
    bars(ax, kind([0.25, 0.75]), ["a", "b"], color="green")
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.25, 0.75])
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([0, 1])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    assert mpl.colors.to_hex(ax.patches[0].get_facecolor()) == COLORS["green"]
    assert ax.get_legend() is None


def test_grouped_bars_stand_side_by_side_in_different_colours():
    _, ax = subplots()
    bars(ax, {"p": [1, 2, 3], "q": [4, 5, 6]}, value_format="{:.1f}")
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in ax.patches)
    assert [height for *_, height in spans] == [1, 4, 2, 5, 3, 6]
    assert all(right < left for (_, right, _), (left, _, _) in itertools.pairwise(spans))
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p", "q"]
    assert sorted(text.get_text() for text in ax.texts) == ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]


def test_bars_refuse_heights_that_do_not_fit():
    _, ax = subplots()
    with pytest.raises(ValueError, match=r"expected 2 heights for q, got shape \(3,\)"):
        bars(ax, {"p": [1, 2], "q": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"expected 3 heights for the bars, got shape \(2,\)"):
        bars(ax, [1, 2], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"expected a colour among blue, .*, got 'pink'"):
        bars(ax, [1, 2], color="pink")


def test_image_takes_channels_last_and_a_range():
    _, (left, right) = subplots(1, 2)
    colours = torch.rand((4, 5, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.as_tensor(np.array(image(left, colours).get_array())), colours)
    drawn = image(right, [[-3.0, 0.0], [1.0, 5.0]], vmin=None, vmax=None, title="range")
    assert drawn.get_clim() == (-3, 5)
    assert right.get_title() == "range"
    assert not right.get_xticks().size
    with pytest.raises(ValueError, match=r"\(height, width, 3\), got \(3, 4, 5\)"):
        image(left, np.zeros((3, 4, 5)))
