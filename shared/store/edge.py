"""What every room of the store stands on."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import count, islice
from typing import TypeVar

from sqlalchemy import select

from shared.database import Database

Item = TypeVar("Item")


class Edge:
    """The database, and the terms on which jobs are claimed."""

    def __init__(self, database: Database, *, lease: timedelta, max_attempts: int) -> None:
        """Take a database that is `upgrade`d.

        Args:
            database: stays the caller's to close.
            lease: how long a claim holds without a heartbeat.
            max_attempts: claims a job may use up before it fails.
        """
        self._database = database
        self._lease_ms = milliseconds(lease)
        self._max_attempts = max_attempts
        self._turns = count()
        #: Set when a worker of this process ended a job whose end is to be told; whoever waits clears it.
        self.booked = threading.Event()

    def ping(self) -> None:
        """Return when the database answers.

        Raises:
            StoreUnavailable: it does not.
        """
        with self._database.read() as connection:
            connection.execute(select(1))


def milliseconds(length: timedelta) -> int:
    """Return a length of time as the tables hold it."""
    return length // timedelta(milliseconds=1)


def chunks(items: Iterable[Item], size: int = 500) -> Iterator[list[Item]]:
    """Yield the items in lists short enough for one statement's parameters on either database."""
    pending = iter(items)
    while chunk := list(islice(pending, size)):
        yield chunk
