"""Compact SVG shows the same picture: the same points, groups that matter, references that resolve."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from chainrule._svg import compact_svg
from chainrule.plots import subplots

SVG = "{http://www.w3.org/2000/svg}"


def points(path: str) -> list[tuple[str, list[float]]]:
    """A path as commands with their numbers; points that follow a move or a line are lines of their own."""
    commands = []
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        values = [float(number) for number in numbers.replace(",", " ").split()]
        size = {"M": 2, "L": 2, "Q": 4, "C": 6, "z": 1}[letter]
        for i in range(0, max(len(values), 1), size):
            commands.append((letter if i == 0 or letter != "M" else "L", values[i : i + size]))
    return commands


def wrap(body: str) -> str:
    return f'<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="1pt" xmlns="http://www.w3.org/2000/svg">{body}</svg>\n'


@pytest.mark.parametrize(
    "path",
    [
        "M 1.23456 2 \nL 3 4.999 \nL -5.5 6 \nz",
        "M 0 0 L 1 1 M 2 2 L 3 3 L 4 4",
        "M 0 0 C 1 2 3 4 5 6 L 7 8 L 9 10",
        "M 0 0 Q 1 2 3 4 Q 5 6 7 8 z M 1 1 z",
        "M 0 0 Q 1 2 3 4 L 5 6 L 7 8",
    ],
)
def test_paths_keep_their_commands_and_points(path):
    root = ElementTree.fromstring(compact_svg(wrap(f'<path d="{path}"/>')))
    before, after = points(path.replace("\n", " ")), points(root.find(f"{SVG}path").get("d"))
    assert [letter for letter, _ in before] == [letter for letter, _ in after]
    for (_, expected), (_, got) in zip(before, after, strict=True):
        assert got == pytest.approx(expected, abs=0.00501)


def test_rounding_moves_no_point_of_a_curve_by_more_than_half_a_hundredth():
    fig, ax = subplots()
    x = np.linspace(0, 1, 50)
    line = ax.plot(x, np.sin(7 * x))[0]
    root = ElementTree.fromstring(fig.to_svg())
    expected = line.get_transform().transform(np.column_stack([x, np.sin(7 * x)]))
    expected[:, 1] = fig.get_figheight() * 72 - expected[:, 1]
    path = max((p.get("d") for p in root.iter(f"{SVG}path") if p.get("clip-path")), key=len)
    drawn = np.array([numbers for _, numbers in points(path)])
    nearest = np.abs(drawn[:, None] - expected[None]).max(-1).min(-1)  # straight stretches are thinned out
    assert nearest.max() < 0.0051


def test_scales_keep_their_digits():
    svg = compact_svg(wrap('<g transform="translate(1.23456 2) scale(0.015625 -0.1234567)"/>'))
    assert 'transform="translate(1.2346 2) scale(0.015625 -0.12346)"' in svg


def test_groups_without_attributes_go_and_others_stay():
    body = '<g id="a"><g style="fill: red"><g>\n<path id="p"/></g></g></g><g><g clip-path="url(#c)"></g></g>'
    assert compact_svg(wrap(body)).endswith('<g style="fill:red"><path/></g><g clip-path="url(#c)"></g></svg>')


def test_ids_stay_where_something_refers_to_them():
    svg = compact_svg(
        wrap('<path id="a"/><path id="b"/><use xlink:href="#a"/><clipPath id="c"/><g clip-path="url(#c)"/>')
    )
    assert re.findall(r'id="(\w)"', svg) == ["a", "c"]
    assert '<use href="#a"/>' in svg


def test_prologue_metadata_and_style_sheet_go():
    svg = compact_svg(wrap("<metadata><x>\n1</x></metadata><!-- c --><defs>\n <style>*{a: b}</style>\n</defs><defs/>"))
    assert svg.startswith('<svg style="fill:#000000;stroke-linejoin:round;stroke-linecap:butt;')
    assert svg.endswith('xmlns="http://www.w3.org/2000/svg"><defs/></svg>')
