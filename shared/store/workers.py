"""Who is alive, and who leads."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_, select

from shared.database import now
from shared.jobs import Json, WorkerId
from shared.store.edge import Edge, milliseconds
from shared.tables import leaders, workers


class Workers(Edge):
    """Worker processes, as they announce themselves."""

    def announce(self, worker: WorkerId, info: Json) -> None:
        """Say that a worker is alive, and what it is; again and again."""
        alive = self._database.insert(workers).values(id=worker, info=info, seen_at=now())
        with self._database.begin() as connection:
            connection.execute(
                alive.on_conflict_do_update(
                    index_elements=["id"], set_={"info": alive.excluded.info, "seen_at": now()}
                )
            )

    def withdraw(self, worker: WorkerId) -> None:
        """Say that a worker leaves; what it led, another may lead at once."""
        with self._database.begin() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker))
            connection.execute(delete(leaders).where(leaders.c.worker == worker))

    def workers(self, *, seen_within: timedelta) -> list[tuple[WorkerId, Json]]:
        """Return the workers that announced themselves lately, by id."""
        recent = (
            select(workers.c.id, workers.c.info)
            .where(workers.c.seen_at >= now() - milliseconds(seen_within))
            .order_by(workers.c.id)
        )
        with self._database.read() as connection:
            return [(worker, info) for worker, info in connection.execute(recent)]

    def lead(self, role: str, worker: WorkerId, ttl: timedelta) -> bool:
        """Take or renew the lead in a role, and return whether this worker has it, for `ttl` from now."""
        term = self._database.insert(leaders).values(
            role=role, worker=worker, lease_until=now() + milliseconds(ttl)
        )
        won = term.on_conflict_do_update(
            index_elements=["role"],
            set_={"worker": term.excluded.worker, "lease_until": term.excluded.lease_until},
            where=or_(leaders.c.worker == worker, leaders.c.lease_until < now()),
        ).returning(leaders.c.role)
        with self._database.begin() as connection:
            return connection.scalars(won).one_or_none() is not None
