"""The media room: children that decode, and the pool that keeps them.

The children import this package too, so it loads nothing by itself: `Decoder` comes when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.media.decoder import Decoder

__all__ = ["Decoder"]


def __getattr__(name: str) -> Any:
    if name == "Decoder":
        from worker.media.decoder import Decoder  # noqa: PLC0415  see above

        return Decoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
