"""The page at `/` does what it is for, in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, choose, finished, is_drawn, photo, submit
from tests.e2e.conftest import Up


def test_a_job_from_the_page_shows_its_result(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "match")
    page.set_input_files("#picker", [photo()])
    page.fill("#field-texts", "a red door\na blue sea")

    submit(page)

    finished(page)
    cells = page.locator(".job .matrix td")
    expect(cells).to_have_count(2)
    expect(cells.first).to_have_class("best")
    assert is_drawn(page, ".job .matrix th img")
    assert (watch.dialogs, watch.complaints) == ([], [])


def test_a_job_from_the_page_shows_the_picture_that_it_made(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "stylize")
    page.set_input_files("#picker", [photo()])
    page.fill("[id='field-style.name']", "blue")

    submit(page)

    finished(page)
    assert is_drawn(page, ".job .result img[alt=image]")
    assert (watch.dialogs, watch.complaints) == ([], [])


def test_a_closed_page_finds_its_jobs_again(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "embed")
    page.fill("#field-texts", "kept")
    submit(page)
    finished(page)

    page.reload()
    page.locator("#recent button").first.click()

    finished(page)
    assert (watch.dialogs, watch.complaints) == ([], [])


def test_a_fault_is_told_where_it_was_made(house: Up, page: Page) -> None:
    page.goto(house.url)
    choose(page, "match")
    page.fill("#field-texts", "a red door")

    submit(page)

    expect(page.locator("#faults")).to_contain_text("images")


def test_the_page_asks_nobody_else(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    page.locator("#tasks input:enabled").first.wait_for(state="attached")

    assert watch.origins() == {house.url}
