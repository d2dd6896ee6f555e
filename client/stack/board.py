"""What `iconotext up` shows: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class Board:
    """The state of each part of the stack while it starts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, tuple[str, bool]] = {}
        self._began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, part: str, words: str, *, ready: bool = False) -> None:
        """Say how one part stands; nothing is repeated."""
        if self._rows.get(part) == (words, ready):
            return
        self._rows[part] = (words, ready)
        if self._live is None:
            spent = time.monotonic() - self._began
            self._console.print(f"{spent:6.1f} s  {part:<9} {words}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for part, (words, ready) in self._rows.items():
            mark = Text("✔", style="green") if ready else Spinner("dots")
            table.add_row(mark, Text(part, style="bold"), Text(words))
        return table
