"""What keys and quotas promise: found by id, kept as a hash, good until revoked or expired, nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from shared.database import Database
from shared.errors import NotFound
from shared.jobs import TenantId
from shared.keys import Key, KeyId, NewKey, Scope, is_same, new_key
from shared.store import JobStore, Quotas
from shared.tables import api_keys

ACME, OTHER = TenantId("acme"), TenantId("other")


def _add(store: JobStore, tenant: TenantId = ACME, lives: timedelta | None = None) -> tuple[NewKey, Key]:
    made = new_key()
    return made, store.add_key(made, tenant, name="ci", scopes=[Scope.SUBMIT, Scope.READ], lives=lives)


def test_a_new_key_is_found_by_its_id(store: JobStore) -> None:
    made, added = _add(store)

    found = store.find_key(made.id)

    assert found == (added, made.hash)
    assert (added.tenant, added.name, set(added.scopes)) == (ACME, "ci", {Scope.SUBMIT, Scope.READ})
    assert (added.is_good, added.expires_at, added.revoked_at) == (True, None, None)


def test_nothing_of_a_row_is_a_key(store: JobStore, database: Database) -> None:
    made, _ = _add(store)

    with database.read() as connection:
        row = connection.execute(select(api_keys)).one()
    secret = made.token.removeprefix(f"ik_{made.id}_")
    assert not any(secret in str(value) for value in row)
    assert is_same(row.hash, made.token)
    assert not is_same(row.hash, made.token[:-1] + ("A" if made.token[-1] != "A" else "B"))


def test_an_unknown_key_is_none(store: JobStore) -> None:
    assert store.find_key(KeyId("0" * 16)) is None


def test_a_revoked_key_is_good_no_more_and_stays_so(
    store: JobStore, later: Callable[[timedelta], None]
) -> None:
    made, _ = _add(store)
    beside, _ = _add(store)

    gone = store.revoke_key(made.id)
    later(timedelta(minutes=5))
    again = store.revoke_key(made.id)

    assert not gone.is_good
    assert gone.revoked_at is not None
    assert again.revoked_at is not None
    # Time passed, and it did not become revoked later.
    assert again.revoked_at < gone.revoked_at
    found = store.find_key(made.id)
    assert found is not None
    assert not found[0].is_good
    kept = store.find_key(beside.id)
    assert kept is not None
    assert kept[0].is_good


def test_an_unknown_key_cannot_be_revoked(store: JobStore) -> None:
    with pytest.raises(NotFound):
        store.revoke_key(KeyId("0" * 16))


def test_a_key_expires_on_the_clock_of_the_database(
    store: JobStore, later: Callable[[timedelta], None]
) -> None:
    made, added = _add(store, lives=timedelta(days=1))
    assert added.expires_at == added.created_at + timedelta(days=1)
    later(timedelta(hours=23))
    before = store.find_key(made.id)
    later(timedelta(hours=2))
    after = store.find_key(made.id)

    assert before is not None
    assert after is not None
    assert (before[0].is_good, after[0].is_good) == (True, False)


def test_keys_are_listed_of_one_tenant_or_of_all(store: JobStore) -> None:
    (one, _), (two, _) = _add(store), _add(store, OTHER)

    assert [key.id for key in store.keys(ACME)] == [one.id]
    assert {key.id for key in store.keys(None)} == {one.id, two.id}


def test_a_tenant_without_quotas_has_none_of_its_own(store: JobStore) -> None:
    assert store.quotas(ACME) == Quotas()
    assert store.all_quotas() == {}


def test_quotas_are_replaced_whole(store: JobStore) -> None:
    store.set_quotas(ACME, Quotas(jobs_per_minute=5, stored_bytes=2**40))
    store.set_quotas(OTHER, Quotas(queued_jobs=7))

    store.set_quotas(ACME, Quotas(jobs_per_minute=6))

    assert store.quotas(ACME) == Quotas(jobs_per_minute=6)
    assert store.all_quotas() == {ACME: Quotas(jobs_per_minute=6), OTHER: Quotas(queued_jobs=7)}
