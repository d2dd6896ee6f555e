"""The media room: children that decode, and the pool that keeps them.

The children import this package too, so it loads nothing by itself: its names come when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.media.decoder import Decoder, Picture

__all__ = ["Decoder", "Picture"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from worker.media import decoder  # noqa: PLC0415  see above

        return getattr(decoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
