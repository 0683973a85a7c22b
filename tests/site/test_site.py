"""The built site in a real browser: offline, quiet, readable in every mode, reachable by keyboard, and light."""

import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup

from .conftest import ROOT, SITE, all_pages

PAGES = all_pages()
ENTROPY = "chapters/information-theory/entropy.html"
AXE = next(iter((ROOT / "_build" / "vendor").rglob("axe.min.js")), None)
KILOBYTE = 1000


def test_the_site_is_built():
    assert PAGES, f"no site in {SITE}: run `make test`, or `make serve` once, to build it"
    assert ENTROPY in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_page_is_offline_and_quiet(visit, page):
    """No request leaves the site, none fails, and the browser's console has no error."""
    seen = visit(page)
    assert seen.foreign() == []
    if page != "404.html":
        assert seen.failures == []
        assert seen.complaints == []


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(visit, page):
    seen = visit(page, viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True)
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{page} is {width} pixels wide on a phone of 390"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(visit, page, theme):
    """axe-core finds nothing serious or critical."""
    assert AXE is not None, "axe-core is missing from _build/vendor: run `make test`, which fetches it"
    seen = visit(page, theme=theme)
    seen.page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    report = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [
        f"{violation['id']} ({violation['impact']}): {node['html'][:160]} | {node.get('failureSummary', '')[:200]}"
        for violation in report["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert bad == []


def test_mathematics_is_typeset(visit):
    page = visit(ENTROPY).page
    assert page.locator("mjx-container").count() > 20
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert "\\frac" not in page.locator("main").inner_text()


def test_slider_changes_the_picture(visit):
    page = visit(ENTROPY).page
    page.locator(".widget-place").first.scroll_into_view_if_needed()
    frame = page.locator(".jupyter-widgets [role=img]:visible").first
    frame.wait_for()
    before = frame.get_attribute("aria-label")
    handle = page.locator("[role=slider]").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    after = page.locator(".jupyter-widgets [role=img]:visible").first
    assert after.get_attribute("aria-label") != before


def test_quiz_answers(visit):
    """A wrong choice is explained, the right one confirmed, a number judged within its tolerance."""
    page = visit(ENTROPY).page
    number = page.locator(".cr-question:has(input[inputmode=decimal])").first
    verdicts = []
    for answer in ("17", "2.585"):
        number.locator("input").fill(answer)
        number.get_by_role("button").click()
        verdicts.append(number.locator("[aria-live]").inner_text())
    assert "Not yet" in verdicts[0] and "Right" in verdicts[1]

    choices = page.locator(".cr-question:has(input[type=radio])").first
    said = []
    for radio in choices.locator("input[type=radio]").all():
        radio.check()
        choices.get_by_role("button").click()
        said.append(choices.locator("[aria-live]").inner_text())
    assert len(set(said)) == len(said) > 2  # each choice has feedback of its own
    assert sum(text.startswith("Right") for text in said) == 1


def test_search_finds_entropy(visit):
    page = visit("search.html?q=entropy").page
    page.locator("#search-results li a, .search li a").first.wait_for()
    links = page.locator("#search-results a, .search a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert any("information-theory/entropy.html" in (link or "") for link in links)


def test_dark_mode(visit):
    """The switch darkens the page and swaps every figure for its dark variant."""
    page = visit(ENTROPY, theme="light").page
    luminance = """() => { const c = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number);
                           return (0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]) / 255 }"""
    assert page.evaluate(luminance) > 0.9
    light = page.locator("main img.cr-light:visible").count()
    assert light > 0 and page.locator("main img.cr-dark:visible").count() == 0
    button = page.locator("button.theme-switch-button:visible").first
    for _ in range(3):  # the theme cycles through auto, dark and light
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(luminance) < 0.1
    assert page.locator("main img.cr-dark:visible").count() == light
    assert page.locator("main img.cr-light:visible").count() == 0


def test_unknown_address_shows_the_404_page_with_working_links(visit, address):
    seen = visit("chapters/nowhere/at/all.html")
    assert "404" in seen.page.content() or "not found" in seen.page.content().lower()
    home = seen.page.locator("main a, article a").first.get_attribute("href")
    assert home
    missing = [failure for failure in seen.failures if "nowhere" not in failure]
    assert missing == [], "the 404 page must find its own styles at any depth"


def _weights(urls, address):
    """Gzipped bytes of each file of the site that was asked for."""
    sizes = {}
    for url in set(urls):
        if not url.startswith(address):
            continue
        path = SITE / unquote(urlsplit(url).path.removeprefix("/chainrule/"))
        path = path / "index.html" if path.is_dir() else path
        raw = path.read_bytes()
        # Photographs in the frames of a slider stand in the page itself; they are figures, which count apart.
        raw = re.sub(rb"data:image/[a-z+]+;base64,[A-Za-z0-9+/=%\\n]+", b"", raw) if path.suffix == ".html" else raw
        sizes[url] = len(raw) if path.suffix in (".woff", ".woff2", ".png", ".jpg") else len(gzip.compress(raw, 6))
    return sizes


def test_pages_are_light(visit, address):
    """The first page weighs under 1.5 MB gzipped; a further page adds under 150 kB besides its figures."""
    seen = visit("index.html")
    first = _weights(seen.requests, address)
    assert sum(first.values()) < 1500 * KILOBYTE, sorted(first.items(), key=lambda item: -item[1])[:8]
    known = set(first)
    # One page with mathematics and widgets comes next, as for a reader; what it loads is shared by the others.
    first_with_widgets = True
    for page in [ENTROPY, *PAGES]:
        seen.requests.clear()
        seen.open(page)
        if first_with_widgets:
            # Their scripts come when the browser is idle, and must not be counted with the next page.
            seen.page.locator(".widget-place").first.scroll_into_view_if_needed()
            seen.page.locator(".jupyter-widgets [role=img]:visible").first.wait_for()
        new = {url: size for url, size in _weights(seen.requests, address).items() if url not in known}
        known |= set(new)
        if first_with_widgets:  # brings the scripts that the other pages share
            assert sum(new.values()) < 1500 * KILOBYTE, sorted(new.items(), key=lambda item: -item[1])[:8]
            first_with_widgets = False
            continue
        weight = sum(size for url, size in new.items() if "/_images/" not in url)
        assert weight < 150 * KILOBYTE, (page, sorted(new.items(), key=lambda item: -item[1])[:8])


def test_widget_scripts_only_where_there_are_widgets(visit):
    for page in PAGES:
        html = (SITE / page).read_text(encoding="utf-8")
        has_widget = "application/vnd.jupyter.widget-view+json" in html
        loads = bool(re.search(r"<script[^>]+/widgets\.js", html))
        assert loads == has_widget, page


def _targets(page: str) -> tuple[set[str], list[str]]:
    soup = BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")
    names = {tag["name"] for tag in soup.find_all("a", attrs={"name": True})}
    ids = {tag["id"] for tag in soup.find_all(id=True)} | names
    links = [tag.get("href") or tag.get("src") for tag in soup.find_all(["a", "link", "img", "script"])]
    return ids, [link for link in links if link]


def test_internal_links_lead_somewhere():
    found = {page: _targets(page) for page in PAGES}
    broken = []
    for page, (_, links) in found.items():
        if page == "404.html":
            continue
        for link in links:
            if urlsplit(link).scheme or link.startswith(("//", "data:", "#top")):
                continue
            target, fragment = urldefrag(urljoin("/" + page, link))
            target = unquote(urlsplit(target).path).lstrip("/")
            if not (SITE / target).exists():
                broken.append(f"{page} -> {link}")
            elif fragment and target in found and unquote(fragment) not in found[target][0] and "search" not in target:
                broken.append(f"{page} -> {link} (no such place)")
    assert broken == []


def test_images_have_alternative_text():
    bare = []
    for page in PAGES:
        soup = BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")
        main = soup.find("main") or soup
        bare += [f"{page}: {img.get('src')}" for img in main.find_all("img") if not (img.get("alt") or "").strip()]
    assert bare == []


def test_launch_buttons_have_targets():
    """Each Colab link names a notebook that the build made, and the download is a valid notebook with outputs."""
    seen = 0
    for page in PAGES:
        soup = BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")
        for link in soup.find_all("a", href=re.compile("colab.research.google.com")):
            path = link["href"].split("/blob/notebooks/", 1)[1]
            notebook = json.loads((SITE / "notebooks" / path).read_text(encoding="utf-8"))
            assert any(cell.get("outputs") for cell in notebook["cells"]), path
            seen += 1
    assert seen >= 6


def test_every_page_is_in_the_sitemap_with_a_card():
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    for page in PAGES:
        if Path(page).name in ("404.html", "search.html", "genindex.html", "py-modindex.html"):
            continue
        if page == "chapters/index.html":  # the landing page, which stands at the site's root
            continue
        assert f"/{page}<" in sitemap or (page == "index.html" and "/<" in sitemap), page
        soup = BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")
        for name in ("og:title", "og:description", "og:image"):
            tag = soup.find("meta", property=name)
            assert tag and tag["content"].strip(), (page, name)
