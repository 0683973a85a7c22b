"""The book's mark, drawn by code: a chain of three links, for logo, browser tab and social card.

Also the style sheets that are made rather than written: the colours of chainrule.plots as CSS variables, and the dozen
icons of the theme, which would otherwise weigh half a megabyte.
"""

import hashlib
import re
from pathlib import Path

FOLDER = Path("_build") / "identity"
# Colours for both papers: the mark is one picture in light and dark mode.
LINKS = ("#2f8fd0", "#e08a1e", "#1fa37d")


def _link(x: float, color: str, clip: str = "") -> str:
    return f'<rect x="{x}" y="19" width="29" height="22" rx="11" fill="none" stroke="{color}" stroke-width="7"{clip}/>'


def mark() -> str:
    """Three interlocked links: each one passes over its neighbour on one side and under it on the other."""
    first, second, third = (_link(x, color) for x, color in zip((2.5, 15.5, 28.5), LINKS, strict=True))
    over = _link(15.5, LINKS[1], ' clip-path="url(#lower)"')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-3 0 66 60" role="img" aria-label="The Chain Rule">'
        '<clipPath id="lower"><rect x="-3" y="30" width="66" height="20"/></clipPath>'
        f"{second}{first}{third}{over}</svg>\n"
    )


def icons(fontawesome: str) -> str:
    """A style sheet that draws the theme's icons as masks, with the outlines that the theme's own script holds."""
    wanted = {
        "magnifying-glass",
        "bars",
        "expand",
        "sun",
        "moon",
        "circle-half-stroke",
        "arrow-up",
        "angle-left",
        "angle-right",
        "list",
        "xmark",
        "outdent",
        "chevron-right",
        "chevron-down",
    }
    rules = [
        ".fa-solid,.fas{display:inline-block;width:1em;height:1em;background:currentColor;vertical-align:-.125em;"
        "-webkit-mask:var(--icon) center/contain no-repeat;mask:var(--icon) center/contain no-repeat}"
        "@media (forced-colors:active){.fa-solid,.fas{background:CanvasText}}"
    ]
    for name in sorted(wanted):
        found = re.search(rf'"?\b{re.escape(name)}"?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"\]', fontawesome)
        if found is None:
            raise RuntimeError(f"the theme's fontawesome.js has no icon {name}: has its format changed?")
        width, height, outline = found.groups()
        picture = f"%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'%3E"
        picture += f"%3Cpath d='{outline}'/%3E%3C/svg%3E"
        rules.append(f'.fa-{name}{{--icon:url("data:image/svg+xml,{picture}")}}')
    return "\n".join(rules) + "\n"


def social_card(path: Path) -> None:
    """The picture that a link to the book shows elsewhere: 1200 by 630 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch, Rectangle

    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#121212")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1200), ylim=(0, 630))
    axes.axis("off")

    def link(x, color, clip=None):
        box = FancyBboxPatch(
            (x + 60, 432),
            115,
            70,
            boxstyle="round,pad=0,rounding_size=35",
            fill=False,
            edgecolor=color,
            linewidth=17,
            clip_on=clip is not None,
        )
        axes.add_patch(box)
        if clip is not None:
            box.set_clip_path(clip)

    link(80, LINKS[1])
    link(20, LINKS[0])
    link(140, LINKS[2])
    lower = Rectangle((0, 380), 1200, 87, transform=axes.transData)
    link(80, LINKS[1], lower)
    axes.text(
        76, 285, "The Chain Rule", color="#f2f3f5", fontsize=66, fontweight="bold", va="center", family="DejaVu Sans"
    )
    axes.text(80, 190, "Deep learning in running code", color="#c3c9d1", fontsize=34, va="center", family="DejaVu Sans")
    axes.text(
        80,
        90,
        r"$\frac{\mathrm{d}}{\mathrm{d}x}\,f(g(x)) \;=\; f'(g(x))\,\cdot\,g'(x)$",
        color="#8ed4fa",
        fontsize=36,
        va="center",
    )
    figure.savefig(path, metadata={"Software": None})


def draw(root: Path) -> Path:
    """Make logo, card and style sheets in ``_build/identity``, unless they are there and nothing has changed."""
    import pydata_sphinx_theme

    theme = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static" / "scripts"
    script = theme / "fontawesome.js"
    palette = root / "lib" / "chainrule" / "plots.py"
    folder = root / FOLDER
    stamp = folder / "made-from.txt"
    state = hashlib.sha256(
        Path(__file__).read_bytes() + palette.read_bytes() + str(script.stat().st_size).encode()
    ).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == state:
        return folder
    from chainrule.plots import css_variables

    static = folder / "static"
    static.mkdir(parents=True, exist_ok=True)
    (folder / "chain.svg").write_text(mark(), encoding="utf-8")
    (static / "colors.css").write_text(css_variables() + "\n", encoding="utf-8")
    (static / "icons.css").write_text(icons(script.read_text(encoding="utf-8")), encoding="utf-8")
    social_card(static / "social-card.png")
    stamp.write_text(state, encoding="utf-8")
    return folder


def _configure(app, config) -> None:
    folder = draw(Path(app.confdir))
    config.html_static_path.append(str(folder / "static"))
    config.html_logo = str(folder / "chain.svg")
    config.html_favicon = str(folder / "chain.svg")
    app.add_css_file("colors.css", priority=600)
    app.add_css_file("icons.css", priority=600)


def setup(app):
    app.connect("config-inited", _configure, priority=410)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
