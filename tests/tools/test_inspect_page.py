"""The page of a view in headless Chromium: what it shows, on a phone and in the dark, and kills."""

import pytest
from inspect_support import PROGRAM, program

SOURCE = PROGRAM.replace('print("ready"', 'from gevent import inspect; print("ready"').replace(
    "gevent.sleep(60)", "print(inspect.open_view().url, flush=True); gevent.sleep(60)"
)
ENDED = "The program does not answer: it has ended."


@pytest.fixture(scope="module")
def browser(require_program):
    chromium = require_program("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not here")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox refuses to work for root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def expect():
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not here")
    return lambda what: sync_api.expect(what)


@pytest.fixture
def opened(browser):
    """Open a page; its problems are in the attribute `problems`."""

    def open_page(url, **options):
        page = browser.new_page(**options)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda one: page.problems.append(one.text) if one.type == "error" else None,
        )
        page.goto(url)
        return page

    return open_page


def rows_of_consumers(page):
    return page.locator("#greenlets tbody tr").filter(has_text="Queue.get on <Queue")


def test_shows_and_outlives_the_program(opened, expect):
    with program(SOURCE, GEVENT_INSPECT="tcp:127.0.0.1:0") as process:
        page = opened(process.stdout.readline().strip())
        expect(page.locator("#pid")).to_have_text(f"process {process.pid}", timeout=60_000)
        expect(rows_of_consumers(page)).to_have_count(3)
        # They are below what spawned them.
        main = page.locator("#greenlets details").filter(has_text="the main greenlet")
        assert main.evaluate("one => one.style.marginLeft") == "0rem"
        consumer = rows_of_consumers(page).first.locator("details")
        assert consumer.evaluate("one => one.style.marginLeft") == "1rem"
        # Those of HTTP are for programs that serve it.
        expect(page.locator("#charts figure:visible")).to_have_count(9)
        expect(page.locator("#waits span").filter(has_text="Queue.get")).to_have_count(1)
        charted = "document.querySelector('polyline').getAttribute('points').split(' ').length > 1"
        page.wait_for_function(charted, timeout=60_000)
        rows_of_consumers(page).first.locator("summary").click()
        expect(rows_of_consumers(page).first.locator("pre")).to_contain_text("in consumer")
        assert page.problems == []
        process.kill()
        expect(page.locator("#gone")).to_have_text(ENDED, timeout=60_000)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_on_a_phone(opened, expect, scheme):
    with program(SOURCE, GEVENT_INSPECT="tcp:127.0.0.1:0") as process:
        url = process.stdout.readline().strip()
        page = opened(url, viewport={"width": 360, "height": 640}, color_scheme=scheme)
        expect(rows_of_consumers(page)).to_have_count(3, timeout=60_000)
        rows_of_consumers(page).first.locator("summary").click()
        expect(rows_of_consumers(page).first.locator("pre")).to_contain_text("in consumer")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
        assert ground == "light dark"
        assert page.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        assert page.problems == []


def test_kills_after_a_question(opened, expect):
    with program(SOURCE, GEVENT_INSPECT="tcp:127.0.0.1:0") as process:
        page = opened(process.stdout.readline().strip())
        expect(rows_of_consumers(page)).to_have_count(3, timeout=60_000)
        questions = []

        def refuse(dialog):
            questions.append(dialog.message)
            dialog.dismiss()

        page.once("dialog", refuse)
        rows_of_consumers(page).first.locator("summary").click()
        rows_of_consumers(page).first.locator("button").click()
        assert questions[0].startswith("Kill Greenlet 'a consumer' consumer (")
        page.once("dialog", lambda dialog: dialog.accept())
        rows_of_consumers(page).first.locator("button").click()
        expect(rows_of_consumers(page)).to_have_count(2, timeout=60_000)


def test_offers_no_kill_where_that_is_forbidden(opened, expect):
    with program(SOURCE, GEVENT_INSPECT="tcp:127.0.0.1:0", GEVENT_INSPECT_KILL="no") as process:
        page = opened(process.stdout.readline().strip())
        expect(rows_of_consumers(page)).to_have_count(3, timeout=60_000)
        expect(page.locator("#greenlets button")).to_have_count(0)


def test_wrong_token(opened, expect):
    with program(SOURCE, GEVENT_INSPECT="tcp:127.0.0.1:0") as process:
        url = process.stdout.readline().strip()
        page = opened(url.partition("=")[0] + "=wrong")
        expect(page.locator("body")).to_have_text("wrong token")
