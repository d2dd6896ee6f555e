"""How many requests may hold a thread while they wait, and how many of them may be one tenant's."""

from __future__ import annotations

import threading
from collections import Counter

from shared.jobs import TenantId

#: A tenant may hold so many times what is free: alone it gets four fifths of all, two get four ninths each,
#: and somebody new always finds some (dynamic thresholds: Choudhury and Hahne 1998).
_SHARE = 4


class Seats:
    """Taken and left; thread-safe."""

    def __init__(self, count: int) -> None:
        """Take how many there are."""
        self._count = count
        self._lock = threading.Lock()
        self._held: Counter[TenantId] = Counter()

    def take(self, owner: TenantId) -> bool:
        """Take one for a tenant, and return whether there was one for it."""
        with self._lock:
            free = self._count - self._held.total()
            if free <= 0 or self._held[owner] >= _SHARE * free:
                return False
            self._held[owner] += 1
            return True

    def leave(self, owner: TenantId) -> None:
        """Leave one that was taken."""
        with self._lock:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def taken(self) -> int:
        """Return how many are taken."""
        with self._lock:
            return self._held.total()
