"""A film on one page: a small picture of each shot, with its number and when it begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worker.media.encode import jpeg
from worker.media.views import View
from worker.models.capabilities import Pixels

#: What `contact_sheet` takes.
CELL_VIEW = View(width=240, height=240, fit="inside")
#: Pictures on a page: more are counted.
MOST_CELLS = 40
_COLUMNS = 5
_GAP = 8
_LINE = 18
_PAPER = (250, 250, 248)
_INK = (40, 40, 40)


def contact_sheet(pictures: Sequence[Pixels], starts_s: Sequence[float], total: int) -> bytes:
    """Return a JPEG of the shots' pictures in a grid.

    Args:
        pictures: of the first shots, at least one and at most `MOST_CELLS`, in `CELL_VIEW`.
        starts_s: when each of these begins.
        total: how many shots there are.
    """
    cell = max(one.shape[1] for one in pictures), max(one.shape[0] for one in pictures) + _LINE
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    more = total - len(pictures)
    size = (
        _GAP + columns * (cell[0] + _GAP),
        _GAP + rows * (cell[1] + _GAP) + (_LINE + _GAP if more else 0),
    )
    page = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_LINE - 5)
    for index, (picture, start_s) in enumerate(zip(pictures, starts_s, strict=True)):
        left = _GAP + index % columns * (cell[0] + _GAP)
        top = _GAP + index // columns * (cell[1] + _GAP)
        draw.text((left, top), f"{index + 1}   {clock(start_s)}", _INK, font)
        page.paste(Image.fromarray(picture), (left, top + _LINE))
    if more:
        draw.text((_GAP, size[1] - _GAP - _LINE), f"and {more:,} more", _INK, font)
    return jpeg(np.asarray(page))


def clock(seconds: float) -> str:
    """Return a time as people read it: `0:07.5`, `1:02:03.0`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    ahead = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{ahead}:{rest // 10:02}.{rest % 10}"
