"""A service that asks for keys, from the page: who is let in, and what the others are told."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, choose, finished, is_drawn, photo, submit
from tests.e2e.conftest import Up


def make_key(up: Up, *words: str) -> str:
    made = up.command("keys", "create", "test", "--quiet", *words)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def enter(page: Page, up: Up, key: str) -> None:
    page.goto(up.url)
    page.fill("#key", key)
    page.keyboard.press("Enter")


def embed(page: Page, text: str = "a cat") -> None:
    choose(page, "embed")
    page.fill("#field-texts", text)
    submit(page)


def test_whoever_has_no_key_is_asked_for_one(guarded: Up, page: Page) -> None:
    page.goto(guarded.url)

    expect(page.locator("#door")).to_be_visible()
    expect(page.locator("#door")).to_contain_text("iconotext keys create")
    expect(page.locator("#main")).to_be_hidden()


def test_a_key_lets_in_and_brings_the_pictures(guarded: Up, page: Page, watch: Watch) -> None:
    enter(page, guarded, make_key(guarded))
    choose(page, "stylize")
    page.set_input_files("#picker", [photo()])
    page.fill("[id='field-style.name']", "blue")

    submit(page)

    finished(page)
    expect(page.locator("#door")).to_be_hidden()
    assert is_drawn(page, ".job .result img[alt=image]")
    assert (watch.dialogs, watch.complaints) == ([], [])


def test_a_key_is_sent_as_a_header_and_kept_in_its_tab_only(guarded: Up, page: Page, watch: Watch) -> None:
    key = make_key(guarded)
    enter(page, guarded, key)
    page.locator("#tasks input:enabled").first.wait_for(state="attached")

    sent = [request.headers.get("authorization") for request in watch.requests if "/v1/" in request.url]
    assert sent[-1] == f"Bearer {key}"
    assert not any(key in request.url for request in watch.requests)
    assert page.evaluate("Object.values(sessionStorage)") == [key]
    assert page.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]


def test_a_key_is_forgotten_on_request(guarded: Up, page: Page) -> None:
    enter(page, guarded, make_key(guarded))

    page.locator("#leave").click()

    expect(page.locator("#door")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ik_" + "0" * 40, "unknown, revoked or expired"),
        ("a sentence", "one word of letters and digits"),
        ("schlüssel", "one word of letters and digits"),
    ],
)
def test_whoever_has_a_wrong_key_is_told_so(guarded: Up, page: Page, key: str, words: str) -> None:
    enter(page, guarded, key)

    expect(page.locator("#door-why")).to_contain_text(words)
    expect(page.locator("#main")).to_be_hidden()


def test_a_key_that_is_revoked_meanwhile_is_asked_for_again_and_no_text_is_lost(
    guarded: Up, page: Page
) -> None:
    key = make_key(guarded)
    enter(page, guarded, key)
    choose(page, "embed")
    page.fill("#field-texts", "hours of work")
    guarded.command("keys", "revoke", key)

    expect(page.locator("#door-why")).to_contain_text("revoked")
    page.fill("#key", make_key(guarded))
    page.keyboard.press("Enter")
    expect(page.locator("#door")).to_be_hidden()

    expect(page.locator("#field-texts")).to_have_value("hours of work")


def test_a_key_that_may_not_submit_is_told_which_scope_it_needs(guarded: Up, page: Page) -> None:
    enter(page, guarded, make_key(guarded, "--scopes", "read"))

    embed(page)

    expect(page.locator("#faults")).to_contain_text("Your key may not do this.")
    expect(page.locator("#faults")).to_contain_text("submit")


def test_a_key_that_may_not_even_look_is_told_so(guarded: Up, page: Page) -> None:
    enter(page, guarded, make_key(guarded, "--scopes", "submit"))

    expect(page.locator("#door-why")).to_contain_text("read")


def test_whoever_submits_too_often_is_told_until_when_to_wait(guarded: Up, page: Page) -> None:
    key = make_key(guarded, "--tenant", "hasty")
    guarded.command("tenants", "set", "hasty", "--jobs-per-minute", "1")
    enter(page, guarded, key)
    embed(page, "once")
    finished(page)

    embed(page, "twice")

    expect(page.locator("#faults")).to_contain_text("more often than you may")
    expect(page.locator("#faults")).to_contain_text("Try again in")
