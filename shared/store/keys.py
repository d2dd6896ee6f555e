"""Who may call: the keys, and what each tenant may have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import encoded, now
from shared.errors import NotFound
from shared.jobs import TenantId
from shared.keys import Key, KeyId, NewKey, Scope
from shared.store.edge import Edge, milliseconds
from shared.store.rows import Row, loaded, moment
from shared.store.statements import Statement
from shared.tables import api_keys as keys
from shared.tables import tenants


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """What a tenant may have; None: what the service allows everybody."""

    requests_per_minute: int | None = None
    jobs_per_minute: int | None = None
    #: That may wait to be started.
    queued_jobs: int | None = None
    #: Of its uploads and of what its jobs made.
    stored_bytes: int | None = None


_NO_QUOTAS = Quotas()
_QUOTA_NAMES = tuple(Quotas.__dataclass_fields__)


class Keys(Edge):
    """The keys of all tenants. Whoever may call these methods needs none: they are not a tenant's."""

    def add_key(
        self, new: NewKey, tenant: TenantId, *, name: str, scopes: Collection[Scope], lives: timedelta | None
    ) -> Key:
        """Store what is kept of a new key, and return what is known of it.

        Args:
            name: for people: who holds it.
            lives: how long it is good; None: until it is revoked.
        """
        values = {
            "id": new.id,
            "tenant": tenant,
            "name": name,
            "hash": new.hash,
            "scopes": encoded(sorted(scope.value for scope in scopes)),
            "lives_ms": None if lives is None else milliseconds(lives),
        }
        row = self._database.write(lambda connection: _ADD.run(connection, values).mappings().one())
        return _key_of(row)

    def find_key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """Return what is known of a key, good or not, and the hash that is kept of it."""
        with self._database.read() as connection:
            row = _FIND.run(connection, {"wanted": key_id}).mappings().one_or_none()
        return None if row is None else (_key_of(row), row["hash"])

    def keys(self, tenant: TenantId | None = None) -> list[Key]:
        """Return the keys of one tenant, or of all, the oldest first."""
        query = select(*_COLUMNS).order_by(keys.c.created_at, keys.c.id)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        with self._database.read() as connection:
            return [_key_of(row) for row in connection.execute(query).mappings()]

    def revoke_key(self, key_id: KeyId) -> Key:
        """Make a key good for nothing, for good, and return it; one that is revoked already stays so.

        Raises:
            NotFound: there is no such key.
        """
        values = {"wanted": key_id}
        row = self._database.write(
            lambda connection: _REVOKE.run(connection, values).mappings().one_or_none()
        )
        if row is None:
            raise NotFound(f"there is no key {key_id}")
        return _key_of(row)

    def quotas(self, tenant: TenantId) -> Quotas:
        """Return what a tenant may have."""
        with self._database.read() as connection:
            row = _QUOTAS.run(connection, {"wanted": tenant}).mappings().one_or_none()
        return _NO_QUOTAS if row is None else _quotas_of(row)

    def all_quotas(self) -> dict[TenantId, Quotas]:
        """Return the quotas of every tenant that has some of its own."""
        with self._database.read() as connection:
            rows = connection.execute(select(tenants).order_by(tenants.c.name)).mappings().all()
        return {TenantId(row["name"]): _quotas_of(row) for row in rows}

    def set_quotas(self, tenant: TenantId, quotas: Quotas) -> None:
        """Replace what a tenant may have."""
        values = {"name": tenant} | {name: getattr(quotas, name) for name in _QUOTA_NAMES}
        self._database.write(lambda connection: _SET_QUOTAS.run(connection, values).close())


def _key_of(row: Row) -> Key:
    return Key(
        id=KeyId(row["id"]),
        tenant=TenantId(row["tenant"]),
        name=row["name"],
        scopes=[Scope(scope) for scope in loaded(row["scopes"])],
        created_at=moment(row["created_at"]),
        expires_at=None if row["expires_at"] is None else moment(row["expires_at"]),
        revoked_at=None if row["revoked_at"] is None else moment(row["revoked_at"]),
        is_good=bool(row["is_good"]),
    )


def _quotas_of(row: Row) -> Quotas:
    return Quotas(**{name: row[name] for name in _QUOTA_NAMES})


_GOOD = (keys.c.revoked_at.is_(None)) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now())
_COLUMNS = [
    *(keys.c[name] for name in ("id", "tenant", "name", "hash", "scopes")),
    *(keys.c[name] for name in ("created_at", "expires_at", "revoked_at")),
    _GOOD.label("is_good"),
]


def _added(_: str) -> ClauseElement:
    given: dict[str, Any] = {name: bindparam(name) for name in ("id", "tenant", "name", "hash", "scopes")}
    moments = {"created_at": now(), "expires_at": now() + cast(bindparam("lives_ms"), BigInteger)}
    return (
        insert(keys)
        .values(given | moments)
        .returning(
            *_COLUMNS[:-1],
            # A new one is; SQLite's RETURNING does not know what it has just computed.
            literal_column("1").label("is_good"),
        )
    )


def _revoked(_: str) -> ClauseElement:
    return (
        update(keys)
        .where(keys.c.id == bindparam("wanted"))
        # Revoked twice, it was revoked the first time.
        .values(revoked_at=func.coalesce(keys.c.revoked_at, now()))
        .returning(*_COLUMNS[:-1], literal_column("0").label("is_good"))
    )


def _set_quotas(dialect: str) -> ClauseElement:
    made = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(tenants)
    given: dict[str, Any] = {name: bindparam(name) for name in ("name", *_QUOTA_NAMES)}
    added = made.values(given)
    return added.on_conflict_do_update(
        index_elements=["name"], set_={name: added.excluded[name] for name in _QUOTA_NAMES}
    )


_ADD = Statement(_added)
_FIND = Statement(lambda _: select(*_COLUMNS).where(keys.c.id == bindparam("wanted")))
_REVOKE = Statement(_revoked)
_QUOTAS = Statement(lambda _: select(tenants).where(tenants.c.name == bindparam("wanted")))
_SET_QUOTAS = Statement(_set_quotas)
