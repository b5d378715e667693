"""The tutorial's chat room, used by people with a browser each."""

import os

import pytest
import requests
from playwright.sync_api import expect, sync_playwright

CHAT = "tutorial_ja/29_chat_server/chat_server"


@pytest.fixture
def address(served):
    with served(CHAT) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def enter(address, require_program):
    """Take somebody through the pages into a room: `enter(name, room)` returns the room's page."""
    # Chromium's sandbox refuses to work for root.
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    errors = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=require_program("chromium"), args=options
        )

        def enter(name, room):
            page = browser.new_context(viewport={"width": 640, "height": 480}).new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            page.get_by_placeholder("Your name").fill(name)
            page.get_by_role("button").click()
            expect(page.get_by_role("heading")).to_contain_text(name)
            page.get_by_role("link", name=room).click()
            expect(page.get_by_role("heading")).to_have_text(room)
            return page

        yield enter
        browser.close()
    assert errors == []


def say(page, message):
    page.get_by_placeholder("Say something").fill(message)
    page.get_by_role("button").click()


def shown(page):
    return expect(page.locator("#messages li"))


def test_two_see_each_others_messages(enter, tmp_path):
    ann, bob, eve = enter("Ann", "topic1"), enter("Bob B", "topic1"), enter("Eve", "topic2")
    said = []
    for number in range(3):
        for page, name in ((ann, "Ann"), (bob, "Bob B")):
            say(page, f"message {number}")
            said.append(f"{name}:message {number}")
            for reader in (ann, bob):
                shown(reader).to_have_text(said, timeout=60_000)
    say(bob, "<b>bold?</b> ü €")
    said.append("Bob B:<b>bold?</b> ü €")
    shown(ann).to_have_text(said, timeout=60_000)
    say(eve, "nobody here?")
    shown(eve).to_have_text(["Eve:nobody here?"], timeout=60_000)
    # A member who joins later sees the earlier messages.
    shown(enter("Dan", "topic1")).to_have_text(said, timeout=60_000)
    shown(ann).to_have_text(said, timeout=60_000)
    ann.screenshot(path=tmp_path / "chat.png")


def test_a_poll_ends_when_nothing_is_said_for_long(enter):
    ann, bob = enter("Ann", "topic1"), enter("Bob", "topic1")
    with ann.expect_response("**/poll/Ann") as poll:
        pass
    assert poll.value.text() == "[]"
    say(bob, "still there?")
    shown(ann).to_have_text(["Bob:still there?"], timeout=60_000)


def test_messages_wait_for_who_polls_later(address):
    for name in ("ann", "bob"):
        assert requests.get(f"{address}/topic1/{name}", timeout=30).status_code == 200
    for number in range(3):
        said = requests.post(f"{address}/put/topic1/ann", data={"message": number}, timeout=30)
        assert said.status_code == 200
    for name in ("ann", "bob"):
        polled = [requests.post(f"{address}/poll/{name}", timeout=30).json() for _ in range(3)]
        assert polled == ["ann:0", "ann:1", "ann:2"]
