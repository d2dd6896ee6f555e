"""Debian's Chromium before a running service, and a watch over what happens in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Error,
    FilePayload,
    Page,
    Request,
    sync_playwright,
)

from tests.e2e.conftest import Up, end

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: On a machine that does much else.
_PATIENCE_MS = 60_000


@dataclass
class Watch:
    """What happened in a page."""

    dialogs: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def over(self, page: Page) -> None:
        """Write down what happens from now on."""
        page.on("dialog", self._dismiss)
        page.on("console", self._listen)
        page.on("pageerror", self._catch)
        page.on("request", self._note)

    def origins(self) -> set[str]:
        """Return whom requests went to; what a page holds itself went to nobody."""
        urls = (urlsplit(request.url) for request in self.requests)
        return {f"{url.scheme}://{url.netloc}" for url in urls if url.scheme not in {"data", "blob"}}

    def _note(self, request: Request) -> None:
        self.requests.append(request)

    def _catch(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _listen(self, message: ConsoleMessage) -> None:
        # A refusal by status is the service's, and no fault of the page.
        if message.type in {"error", "warning"} and "responded with a status of 4" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        words = "there is no chromium on the PATH; `apt-get install chromium` brings it"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Return a browser with a profile of its own; a module's, since asyncio runs nowhere else meanwhile."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, headless=True, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page that knows nothing of those before it."""
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        context.set_default_timeout(_PATIENCE_MS)
        yield context.new_page()


@pytest.fixture
def watch(page: Page) -> Watch:
    made = Watch()
    made.over(page)
    return made


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that asks nobody for a key."""
    started = Up(tmp_path_factory.mktemp("browsed") / "data")
    try:
        yield started.wait_until_ready()
    finally:
        end([started])


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that asks everybody for one."""
    started = Up(tmp_path_factory.mktemp("guarded") / "data", env={"ICONOTEXT_REQUIRE_KEYS": "true"})
    started.env["ICONOTEXT_DATA_DIR"] = str(started.data_dir)
    try:
        yield started.wait_until_ready()
    finally:
        end([started])


def photo(name: str = "red.png") -> FilePayload:
    """Return a red picture of this name, as a person chooses it."""
    image = pytest.importorskip("PIL.Image")
    content = BytesIO()
    image.new("RGB", (64, 48), (220, 30, 30)).save(content, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": content.getvalue()}


def choose(page: Page, task: str) -> None:
    """Choose a task, once it can be chosen."""
    page.locator(f"#tasks label:has(input[value={task}]:enabled)").click()


def submit(page: Page) -> None:
    """Submit what the form holds."""
    page.locator("#go").click()


def finished(page: Page, status: str = "succeeded") -> None:
    """Return when the job on top has ended, in this way."""
    page.locator(f".job:first-child .pill.{status}").wait_for()


def is_drawn(page: Page, selector: str) -> bool:
    """Return whether a picture is there and was decoded, after waiting for that."""
    found = page.locator(selector)
    found.wait_for()
    drawn = "image => image.decode().then(() => image.naturalWidth > 0)"
    return bool(found.evaluate(drawn))
