"""What the service runs on, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from client.models import System, Worker

_UNITS = ("B", "kB", "MB", "GB", "TB")


def system_view(system: System) -> RenderableType:
    """Return the workers as a table, and under it what waits for them."""
    parts: list[RenderableType] = [
        _workers(system) if system.workers else Text("no worker ready", style="red")
    ]
    parts += [
        Text(f"{worker.host}:{worker.pid} lacks {capability}: {reason}", style="yellow")
        for worker in system.workers
        for capability, reason in worker.missing.items()
    ]
    parts.append(Text(f"queued: {_pairs(system.backlog) or 'nothing'}"))
    if system.scaling:
        parts.append(Text(f"scaling: {_pairs(system.scaling)}", style="dim"))
    return Group(*parts)


def _workers(system: System) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("worker", "device", "profile", "pools"):
        table.add_column(name, no_wrap=True)
    for name in ("slots", "memory", "items", "batches"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("resident models")
    for worker in system.workers:
        table.add_row(
            f"{worker.host}:{worker.pid}",
            worker.device,
            worker.profile,
            ",".join(worker.pools),
            str(worker.slots or ""),
            size(worker.memory_bytes),
            _count(worker.items),
            _count(sum(count for sizes in worker.batches.values() for count in sizes.values())),
            ", ".join(_residents(worker)),
        )
    return table


def _residents(worker: Worker) -> list[str]:
    return [
        " ".join(filter(None, (str(entry.get("id", "?")), size(entry.get("bytes")))))
        for entry in worker.models
        if entry.get("resident", True)
    ]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} ({_pairs(value)})" if isinstance(value, Mapping) else f"{name} {value}"
        for name, value in values.items()
        if value is not None
    )


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def size(value: object) -> str:
    """Return bytes in the unit that leaves one to three digits before the point."""
    if not isinstance(value, int | float):
        return ""
    number, units = float(value), list(_UNITS)
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g} {units[0]}" if number < 1000 else f"{number:,.0f} {units[0]}"
