"""People in the tutorial's chat room, each with a browser of their own.

usage: chat_browsers.py FUNCTION URL CHROMIUM SCREENSHOT
"""

import json
import os
import sys
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright


@contextmanager
def people(url, chromium, errors):
    """Give a function that takes somebody through the pages into a room, and returns its page."""
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to work for root.
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=options)

        def enter(name, room):
            page = browser.new_context(viewport={"width": 640, "height": 480}).new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            page.get_by_placeholder("Your name").fill(name)
            page.get_by_role("button").click()
            expect(page.get_by_role("heading")).to_contain_text(name)
            page.get_by_role("link", name=room).click()
            expect(page.get_by_role("heading")).to_have_text(room)
            return page

        yield enter
        browser.close()


def say(page, message):
    page.get_by_placeholder("Say something").fill(message)
    page.get_by_role("button").click()


def shown(page):
    return page.locator("#messages li").all_text_contents()


def talk(url, chromium, screenshot):
    """Two talk in one room while a third is in another; a fourth comes later."""
    errors = []
    with people(url, chromium, errors) as enter:
        ann, bob, eve = enter("Ann", "topic1"), enter("Bob B", "topic1"), enter("Eve", "topic2")
        said = []
        for number in range(5):
            for page, name in ((ann, "Ann"), (bob, "Bob B")):
                say(page, f"message {number}")
                said.append(f"{name}:message {number}")
                for reader in (ann, bob):
                    expect(reader.locator("#messages li")).to_have_text(said)
        say(bob, "<b>bold?</b> ü €")
        said.append("Bob B:<b>bold?</b> ü €")
        expect(ann.locator("#messages li")).to_have_text(said)
        say(eve, "nobody here?")
        expect(eve.locator("#messages li")).to_have_count(1)
        late = enter("Dan", "topic1")
        ann.screenshot(path=screenshot)
        return {
            "said": len(said),
            "equal": shown(ann) == shown(bob) == [text.strip() for text in shown(late)] == said,
            "elsewhere": shown(eve),
            "errors": errors,
        }


def stay(url, chromium, screenshot):
    """Somebody stays in the room while nothing is said for longer than a poll lasts."""
    errors = []
    with people(url, chromium, errors) as enter:
        ann, bob = enter("Ann", "topic1"), enter("Bob", "topic1")
        polls = []
        ann.on("response", lambda response: polls.append(response.text()))
        while len(polls) < 2:
            ann.wait_for_timeout(50)
        say(bob, "still there?")
        expect(ann.locator("#messages li")).to_have_text(["Bob:still there?"])
        ann.screenshot(path=screenshot)
        return {"polls": polls[:2], "errors": errors}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
