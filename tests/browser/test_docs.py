"""The reader at `/docs`: all of it comes from us, under the same strict policy as the rest."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.e2e.conftest import Up


def read(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(".opblock-summary").first.wait_for()


def unfold(page: Page, operation: str) -> None:
    page.locator(f"[id$='-{operation}'] .opblock-summary-control").click()
    page.locator(f"[id$='-{operation}'] .opblock-body").wait_for()


def test_the_reader_shows_every_operation_and_asks_nobody_else(house: Up, page: Page, watch: Watch) -> None:
    read(page, f"{house.url}/docs")
    unfold(page, "create_job")

    document = page.request.get(f"{house.url}/openapi.json").json()
    known = sum(len(item) for item in (document["paths"] | document["webhooks"]).values())
    expect(page.locator(".opblock")).to_have_count(known)
    assert watch.origins() == {house.url}
    assert (watch.dialogs, watch.complaints) == ([], [])


def test_the_reader_can_try_an_operation(house: Up, page: Page, watch: Watch) -> None:
    read(page, f"{house.url}/docs")
    unfold(page, "livez")

    page.locator("[id$='-livez'] .try-out__btn").click()
    page.locator("[id$='-livez'] .execute").click()

    expect(page.locator("[id$='-livez'] .live-responses-table")).to_contain_text('"status": "ok"')
    assert watch.complaints == []


def test_the_type_of_a_problem_leads_to_its_meaning(house: Up, page: Page) -> None:
    problem = page.request.get(f"{house.url}/v1/jobs/job_{'0' * 32}").json()

    read(page, f"{house.url}{problem['type']}")

    row = page.locator(f"#{problem['code']}")
    expect(row).to_be_in_viewport()
    expect(row).to_contain_text("404")
