"""What belongs to the site as a whole.

Descriptions for search engines and social cards, sitemap, robots, the 404 page, the page at the site's root, and the
style sheet and script of ours.
"""

import re
from html import escape
from pathlib import Path

import pages

_HIDDEN = {"genindex", "py-modindex", "search"}


def _configure(app, config) -> None:
    config.html_static_path.append(str(Path(app.confdir) / "_ext" / "static"))
    config.html_baseurl = pages.site_address()
    app.add_css_file("book.css", priority=700)
    app.add_js_file("book.js", priority=700, loading_method="defer")


def _context(app, pagename, templatename, context, doctree) -> None:
    """Describe the page to those who link to it."""
    root = Path(app.confdir)
    path = root / f"{pagename}.md"
    front = pages.read_page(path) if path.exists() else {}
    description = front.get("description") or "The Chain Rule: deep learning in running code."
    title = re.sub(r"<[^>]+>", "", context.get("title") or "The Chain Rule")
    address = pages.site_address() + ("" if pagename == app.config.root_doc else f"{pagename}.html")
    card = pages.site_address() + "_static/social-card.png"
    meta = {
        "og:type": "article" if front.get("goals") else "website",
        "og:site_name": "The Chain Rule",
        "og:title": title,
        "og:description": description,
        "og:url": address,
        "og:image": card,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "A chain of three links, and the chain rule of differentiation",
    }
    tags = [
        f'<meta name="description" content="{escape(description, quote=True)}" />',
        '<meta name="twitter:card" content="summary_large_image" />',
        *(f'<meta property="{name}" content="{escape(value, quote=True)}" />' for name, value in meta.items()),
    ]
    if pagename in _HIDDEN:
        tags.append('<meta name="robots" content="noindex" />')
    context["metatags"] = (context.get("metatags") or "") + "\n".join(tags)
    context["theme_extra_footer"] = (
        f'<p>Text under CC BY 4.0, code under MIT. <a href="{pages.repository()}">Source</a></p>'
    )


def _write_files(app, error) -> None:
    """Sitemap, robots and the front door of the site."""
    if error is not None or app.builder.format != "html":
        return
    out, base = Path(app.outdir), pages.site_address()
    addresses = [base if name == app.config.root_doc else f"{base}{name}.html" for name in sorted(app.env.found_docs)]
    entries = "".join(f"  <url><loc>{escape(address)}</loc></url>\n" for address in addresses)
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/'
        f'schemas/sitemap/0.9">\n{entries}</urlset>\n',
        encoding="utf-8",
    )
    (out / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n", encoding="utf-8")
    (out / ".nojekyll").write_text("", encoding="utf-8")  # Pages would leave out folders that start with _
    _front_door(app, out)
    _not_found(app, out)


def _front_door(app, out: Path) -> None:
    """The landing page stands at the site's root too, its links turned to fit, so that nobody is sent on."""
    landing = out / f"{app.config.root_doc}.html"
    html = landing.read_text(encoding="utf-8")
    (out / "index.html").write_text(rebase(html, app.config.root_doc), encoding="utf-8")


def rebase(html: str, docname: str) -> str:
    """A page of the site as it must read at the site's root: relative addresses lose the way up and gain the folder."""
    folder = docname.rpartition("/")[0]
    up = "../" * docname.count("/")

    def turn(match: re.Match) -> str:
        name, address = match[1], match[2]
        if re.match(r"[a-z]+:|//|#|$", address):
            return match[0]
        if up and address.startswith(up):
            return f'{name}="{address[len(up) :]}"'
        if up and address + "/" == up:
            return f'{name}="./"'
        return f'{name}="{folder}/{address}"' if folder else match[0]

    html = re.sub(r'\b(href|src|action|data-content_root)="([^"]*)"', turn, html)
    return html.replace(f'href="{folder}/#"', 'href="#"')


def _not_found(app, out: Path) -> None:
    """A page for addresses that lead nowhere. It is shown at any depth, so it holds all that it needs in itself."""
    root = re.sub(r"^https://[^/]+", "", pages.site_address())
    identity = Path(app.confdir) / "_build" / "identity"
    template = (Path(app.confdir) / "_ext" / "templates" / "404.html").read_text(encoding="utf-8")
    html = template.replace("{colors}", (identity / "static" / "colors.css").read_text(encoding="utf-8").strip())
    html = html.replace("{mark}", (identity / "chain.svg").read_text(encoding="utf-8").strip()).replace("{root}", root)
    (out / "404.html").write_text(html, encoding="utf-8")


def setup(app):
    app.connect("config-inited", _configure, priority=420)
    app.connect("html-page-context", _context)
    app.connect("build-finished", _write_files, priority=400)  # before the table of contents writes a redirect
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
