"""A film on one page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.direct import plain
from worker.models.capabilities import Pixels
from worker.stages.contact_sheet import MOST_CELLS, clock, contact_sheet

RED, BLUE = (200, 20, 20), (20, 20, 200)


def page(pictures: list[Pixels], total: int | None = None) -> Image.Image:
    starts = [float(index) for index in range(len(pictures))]
    sheet = Image.open(io.BytesIO(contact_sheet(pictures, starts, total or len(pictures))))
    assert sheet.format == "JPEG"
    return sheet.convert("RGB")


def share(sheet: Image.Image, colour: tuple[int, int, int]) -> float:
    """Return how much of the page has this colour, nearly."""
    return float((np.abs(np.asarray(sheet).astype(int) - colour).max(axis=2) < 25).mean())


@pytest.mark.parametrize("count", [1, 4, 5, 6, MOST_CELLS])
def test_every_picture_is_on_the_page(count: int) -> None:
    sheet = page([plain(RED, 240, 100)] * count)

    assert share(sheet, RED) * sheet.width * sheet.height == pytest.approx(count * 24_000, rel=0.05)


def test_pictures_stand_in_order() -> None:
    sheet = np.asarray(page([plain(RED, 240, 100), plain(BLUE, 240, 100)]))
    half = sheet.shape[1] // 2

    assert share(Image.fromarray(sheet[:, :half]), RED) > 0.5
    assert share(Image.fromarray(sheet[:, half:]), BLUE) > 0.5


def test_what_is_left_out_is_counted() -> None:
    pictures = [plain(RED, 240, 100)] * MOST_CELLS

    assert page(pictures, total=1234).height > page(pictures).height


def test_upright_pictures_keep_their_shape() -> None:
    sheet = page([plain(RED, 135, 240)] * 2)

    assert share(sheet, RED) * sheet.width * sheet.height == pytest.approx(2 * 135 * 240, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "read"),
    [(0.0, "0:00.0"), (7.48, "0:07.5"), (59.96, "1:00.0"), (61.0, "1:01.0"), (3723.0, "1:02:03.0")],
)
def test_times_are_written_as_people_read_them(seconds: float, read: str) -> None:
    assert clock(seconds) == read
