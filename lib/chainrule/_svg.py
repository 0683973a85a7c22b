"""Matplotlib's SVG made small and fit to stand inside a page; a service of :mod:`chainrule.plots`."""

import re

__all__ = ["compact_svg"]


def compact_svg(svg: str) -> str:
    """Keep the drawing only: no prologue, metadata or style sheet, coordinates to a hundredth of a point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*</defs>", "", svg)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    # Matplotlib leaves black unsaid; said here, it can follow the mode. The joins stood in the style sheet.
    svg = re.sub(
        r"<svg ",
        '<svg style="fill:#000000;stroke-linejoin:round;stroke-linecap:butt;max-width:100%;height:auto" ',
        svg,
        count=1,
    )
    svg = re.sub(
        r'(?<=[ \n])(d|x|y|x1|x2|y1|y2|points|transform|width|height|viewBox)="([^"]*)"',
        lambda m: f'{m[1]}="{_round(m[2])}"',
        svg,
    )
    svg = re.sub(r' d="([^"]*)"', lambda m: f' d="{_shorten(m[1])}"', svg)
    svg = re.sub(r'style="[^"]*"', lambda m: m[0].replace(": ", ":").replace("; ", ";"), svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))  # ids that nothing refers to would clash inside a page
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    return _flatten(re.sub(r">\s+<", "><", svg).strip())


def _round(numbers: str) -> str:
    """Round the numbers of an attribute; scales keep five digits since they multiply large glyph coordinates."""
    if "scale" in numbers or "matrix" in numbers:
        return re.sub(r"-?\d+\.\d{4,}", lambda m: f"{float(m[0]):.5g}", numbers)
    numbers = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), numbers)
    return re.sub(r"\s+", " ", numbers).strip()


def _shorten(path: str) -> str:
    """A path without needless blanks and letters: points after a move or a line are lines unless something is said."""
    path = re.sub(r"\s*([A-Za-z])\s*", r"\1", path)
    return re.sub(r"([ML])([^A-Za-z]+(?:L[^A-Za-z]+)+)", lambda m: m[1] + m[2].replace("L", " "), path)


def _flatten(svg: str) -> str:
    """Remove groups that have no attributes, and so no effect."""
    kept: list[bool] = []

    def keep(tag: re.Match) -> str:
        if tag[0] == "</g>":
            return tag[0] if kept.pop() else ""
        kept.append(tag[0] != "<g>")
        return tag[0] if kept[-1] else ""

    return re.sub(r"<g\b[^>]*>|</g>", keep, svg)
