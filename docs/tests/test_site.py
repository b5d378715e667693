"""The site in a browser: its links, its scripts, its width, its search, dark and light."""

from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

#: A telephone of the narrow kind.
PHONE = {"width": 360, "height": 740}


class Links(HTMLParser):
    """Collects where a page leads, and the names of its places."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        for name in ("href", "src"):
            if name in found and tag != "link":
                self.links.append(found[name])


def pages(site):
    """Return the pages of the site, by their paths."""
    return {str(path.relative_to(site)): path for path in sorted(site.rglob("*.html"))}


def test_no_link_is_broken(site):
    found = {name: Links(path.read_text()) for name, path in pages(site).items()}
    assert len(found) > 60
    broken = []
    for name, page in found.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            path, place = urldefrag(urljoin(f"/{name}", link))
            target = unquote(urlsplit(path).path.lstrip("/")) or "index.html"
            if not (site / target).is_file() or (
                place and target in found and unquote(place) not in found[target].places
            ):
                broken.append((name, link))
    assert not broken


def test_nothing_is_fetched_from_elsewhere(site):
    elsewhere = [
        (name, link)
        for name, path in pages(site).items()
        for link in Links(path.read_text()).links
        if urlsplit(link).path.endswith((".js", ".css", ".svg", ".png")) and urlsplit(link).netloc
    ]
    assert not elsewhere


@pytest.fixture
def page(browser):
    """A page as wide as a telephone; its errors are in `page.errors`."""
    made = browser.new_page(viewport=PHONE)
    errors = []

    def note(message):
        # The browser asks for that one by itself, whatever a page says.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            errors.append(f"{message.text} {message.location['url']}")

    made.on("console", note)
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made, errors
    made.close()


def test_pages_fit_a_telephone_without_errors(site, address, page):
    shown, errors = page
    wide = []
    for name in pages(site):
        shown.goto(f"{address}/{name}")
        width = shown.evaluate("document.scrollingElement.scrollWidth")
        if width > PHONE["width"]:
            wide.append((name, width))
    assert not wide
    assert not errors


def test_search_finds_a_name(address, page):
    shown, errors = page
    shown.goto(f"{address}/search.html?q=joinall")
    shown.wait_for_selector("#search-results li", timeout=60_000)
    assert "joinall" in shown.inner_text("#search-results")
    assert not errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_reader_chooses_dark_or_light(scheme, address, browser):
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"{address}/explanation/performance.html")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in colour[4:-1].split(",")[:3]) / 3
    assert (brightness > 128) == (scheme == "light")
    # The charts are there, and not empty.
    sizes = page.evaluate("[...document.querySelectorAll('article img')].map(i => i.naturalWidth)")
    assert len(sizes) >= 5
    assert min(sizes) > 300
    page.close()
