"""What people write stays text: markup in prompts, labels, file names and errors does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Watch, choose, finished, photo, submit
from tests.e2e.conftest import Up

#: Each would open a dialog where it became markup, or break the policy of the page.
ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "'-alert(4)-'",
    "<iframe srcdoc='<script>parent.alert(5)</script>'></iframe>",
    "javascript:alert(6)",
    "{{constructor.constructor('alert(7)')()}}",
    "<a href=javascript:alert(8)>click</a>",
]
#: What the page has no place for, if nothing else became markup.
FOREIGN = "main img[src=x], main script, main svg, main iframe, main a[href^=javascript]"


def require_harmless(page: Page, watch: Watch) -> None:
    """Fail when something of what was written has run, or stands in the page as an element."""
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert (watch.dialogs, watch.complaints) == ([], [])
    assert page.locator(FOREIGN).count() == 0


def test_markup_in_texts_and_file_names_is_text(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "match")
    page.set_input_files("#picker", [photo(f"{text}.png") for text in ATTACKS])
    page.fill("#field-texts", "\n".join(ATTACKS))

    submit(page)

    finished(page)
    expect(page.locator(".job .matrix thead th")).to_have_text(["", *ATTACKS])
    names = page.locator(".job .matrix tbody img").evaluate_all("images => images.map(({ title }) => title)")
    assert names == [f"{text}.png" for text in ATTACKS]
    require_harmless(page, watch)


def test_markup_in_labels_is_text_in_the_result(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "classify")
    page.set_input_files("#picker", [photo()])
    page.fill("#field-labels", "\n".join(ATTACKS))

    submit(page)

    finished(page)
    shown = page.locator(".job .labels .name, .job .labels .top1").all_inner_texts()
    assert set(shown) <= set(ATTACKS)
    assert len(shown) > 1
    require_harmless(page, watch)


def test_markup_in_a_question_is_text(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "answer")
    page.set_input_files("#picker", [photo()])
    page.fill("#field-question", ATTACKS[0])
    page.fill("#field-candidates", "\n".join(ATTACKS))

    submit(page)

    finished(page)
    expect(page.locator(".job .labels")).to_contain_text("alert(")
    require_harmless(page, watch)


def test_markup_in_the_error_of_a_job_is_text(house: Up, page: Page, watch: Watch) -> None:
    page.goto(house.url)
    choose(page, "stylize")
    page.set_input_files("#picker", [photo()])
    page.fill("[id='field-style.name']", ATTACKS[0])

    submit(page)

    finished(page, "failed")
    expect(page.locator(".job .faults")).to_contain_text(ATTACKS[0])
    require_harmless(page, watch)


def test_markup_in_a_refusal_is_text(house: Up, page: Page, watch: Watch) -> None:
    def answer(route: Route) -> None:
        fault = {"pointer": f"/input/{ATTACKS[0]}", "code": "invalid_request", "detail": ATTACKS[1]}
        route.fulfill(status=422, json={"code": "invalid_request", "detail": "", "errors": [fault]})

    page.route("**/v1/jobs", answer)
    page.goto(house.url)
    choose(page, "embed")

    submit(page)

    expect(page.locator("#faults")).to_contain_text(ATTACKS[1])
    require_harmless(page, watch)


@pytest.fixture(params=[False, True], ids=["under the policy", "without the policy"])
def careless(request: pytest.FixtureRequest, browser: Browser, house: Up) -> Iterator[Page]:
    """Return a page whose script takes texts for markup."""

    def unescape(route: Route) -> None:
        script = route.fetch().text()
        careful = "element.append(...children.filter((child) => child !== null && child !== undefined));"
        assert careful in script
        wrong = (
            "for (const child of children.filter((child) => child !== null && child !== undefined)) "
            "typeof child === 'string' ? element.insertAdjacentHTML('beforeend', child) "
            ": element.append(child);"
        )
        route.fulfill(body=script.replace(careful, wrong), content_type="text/javascript")

    with browser.new_context(bypass_csp=request.param) as context:
        made = context.new_page()
        made.route(re.compile(r"/static/page\.js"), unescape)
        yield made


def test_the_watch_would_notice_a_page_that_does_not_escape(house: Up, careless: Page) -> None:
    watch = Watch()
    watch.over(careless)
    careless.goto(house.url)
    choose(careless, "match")
    careless.set_input_files("#picker", [photo()])
    careless.fill("#field-texts", f"{ATTACKS[0]}\nanother")
    submit(careless)
    finished(careless)

    with pytest.raises(AssertionError):
        require_harmless(careless, watch)

    assert watch.dialogs or watch.complaints
