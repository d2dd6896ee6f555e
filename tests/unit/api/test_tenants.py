"""The tenant matrix: two tenants, every route, every verb. What is foreign is unknown, to the last byte.

It is generated from the URL map: a route without a row here fails.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from werkzeug.test import TestResponse

from api.scopes import SCOPES
from shared.caching import result_key
from shared.jobs import DEFAULT_POOL, Artifact, FileId, Success, TenantId, WorkerId
from shared.keys import Scope, new_key
from shared.schemas import catalogue
from shared.tables import (
    api_keys,
    deliveries,
    files,
    heads,
    idempotency_keys,
    job_files,
    jobs,
    metadata,
    webhooks,
)
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import base64_png, png

WORKER = WorkerId("worker-1")
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Stand for what exists nowhere.
UNKNOWN = {
    "job_id": "job_" + "9" * 32,
    "file_id": "9" * 64,
    "name": "nine",
    "webhook_id": "wh_" + "9" * 32,
    "delivery_id": "msg_" + "9" * 32,
    "filename": "page.js",
}


@dataclass(frozen=True)
class Row:
    """What a route is, and what a caller may send to it."""

    #: `named`: its path names a tenant's thing. `own`: it answers with the caller's things. `body`: what it
    #: is sent may name a tenant's thing. `nobody`: it holds nothing of any tenant.
    kind: str
    bodies: Mapping[str, Any] = field(default_factory=dict)


#: By endpoint, as in `api.scopes`.
ROWS: Mapping[str, Row] = {
    "batches.create_jobs": Row("body"),
    "batches.get_jobs": Row("body"),
    "deliveries.get_deliveries": Row("named"),
    "files.create_file": Row("own"),
    "files.delete_file": Row("named"),
    "files.get_file": Row("named"),
    "files.get_file_content": Row("named"),
    "heads.delete_head": Row("named"),
    "heads.list_heads": Row("own"),
    "health.livez": Row("nobody"),
    "health.readyz": Row("nobody"),
    "jobs.cancel_job": Row("named"),
    "jobs.create_job": Row("body"),
    "jobs.delete_job": Row("named"),
    "jobs.get_artifact": Row("named"),
    "jobs.get_job": Row("named"),
    "jobs.list_jobs": Row("own"),
    "jobs.retry_job": Row("named"),
    "streams.get_job_events": Row("named"),
    "system.get_metrics": Row("nobody"),
    "system.get_system": Row("nobody"),
    "tasks.list_tasks": Row("own"),
    "web.docs": Row("nobody"),
    "web.openapi": Row("nobody"),
    "web.page": Row("nobody"),
    "web.reader": Row("nobody"),
    "web.static": Row("nobody"),
    "webhooks.create_webhook": Row("own"),
    "webhooks.delete_webhook": Row("named"),
    "webhooks.get_default_secret": Row("own"),
    "webhooks.get_webhook": Row("named"),
    "webhooks.get_webhook_secret": Row("named"),
    "webhooks.list_webhook_deliveries": Row("named"),
    "webhooks.list_webhooks": Row("own"),
    "webhooks.redeliver": Row("named"),
    "webhooks.rotate_webhook_secret": Row("named"),
    "webhooks.test_webhook": Row("named"),
    "webhooks.update_webhook": Row("named", {"PATCH": {"description": "taken over"}}),
}


@dataclass(frozen=True)
class Tenant:
    """One of the two, and one of each thing that is its own."""

    name: TenantId
    bearer: Mapping[str, str]
    #: A word that stands in everything of it.
    mark: str
    #: Path arguments that name its things.
    ids: Mapping[str, str]
    #: The file that its job made.
    made: str
    #: More jobs, by what they are: only what waits can be canceled, only what did not succeed can be retried.
    queued: str = ""
    canceled: str = ""

    @property
    def traces(self) -> list[str]:
        """Return what nobody else may ever be answered."""
        named = (value for name, value in self.ids.items() if name != "filename")
        return [self.mark, self.queued, self.canceled, self.made, *named]

    @property
    def namings(self) -> list[Mapping[str, str]]:
        """Return the path arguments once for each of its jobs."""
        return [{**self.ids, "job_id": job} for job in (self.ids["job_id"], self.queued, self.canceled)]


@pytest.fixture
def house(make_api: Callable[..., Api]) -> Api:
    return make_api(require_keys=True, webhooks=True)


@pytest.fixture
def pair(house: Api) -> tuple[Tenant, Tenant]:
    alpha, beta = _furnished(house, "alpha"), _furnished(house, "beta")
    # Only now: of what waits, a worker takes what is next.
    return _with_more_jobs(house, alpha), _with_more_jobs(house, beta)


def _furnished(api: Api, mark: str) -> Tenant:
    store, owner = api.services.store, TenantId(f"tenant-of-{mark}")
    made = new_key()
    store.add_key(made, owner, name=mark, scopes=list(Scope), lives=None)
    bearer = {"Authorization": f"Bearer {made.token}"}
    engine = create_engine(f"sqlite:///{api.folder / 'jobs.db'}")
    with engine.begin() as connection:
        connection.execute(insert(heads).values(tenant=owner, name=f"head-{mark}", created_at=0))
    engine.dispose()
    hook = api.client.post("/v1/webhooks", json={"url": f"https://example.org/{mark}"}, headers=bearer)
    assert hook.status_code == 201, hook.get_json()
    # Pictures of their own: the same bytes would have the same id for both.
    picture = png(3 if mark == "alpha" else 4, 5)
    uploaded = api.client.post("/v1/files", data=picture, content_type="image/png", headers=bearer)
    done = _submitted(api, bearer, mark, key=f"key-{mark}")
    [claim] = store.claim(WORKER, [DEFAULT_POOL])
    assert claim.id == done
    file = FileId(("a" if mark == "alpha" else "b") * 64)
    artifact = Artifact(name=f"artifact-{mark}", file=file, media_type="image/png", bytes=1)
    store.succeed(claim, Success(result={"dim": 1, "mark": mark}, artifacts=[artifact]))
    told = api.client.get(f"/v1/jobs/{done}/deliveries", headers=bearer).get_json()["deliveries"]
    ids = {
        "job_id": done,
        "file_id": uploaded.get_json()["id"],
        "webhook_id": hook.get_json()["id"],
        "delivery_id": told[0]["id"],
        "filename": "page.js",
    }
    return Tenant(name=owner, bearer=bearer, mark=mark, ids=ids, made=file)


def _with_more_jobs(api: Api, tenant: Tenant) -> Tenant:
    queued, canceled = (
        _submitted(api, tenant.bearer, tenant.mark, key=f"{what}-{tenant.mark}")
        for what in ("queued", "canceled")
    )
    done = api.client.post(f"/v1/jobs/{canceled}/cancel", headers=dict(tenant.bearer))
    assert done.get_json()["status"] == "canceled"
    return replace(tenant, queued=queued, canceled=canceled)


def _submitted(api: Api, bearer: Mapping[str, str], mark: str, key: str) -> str:
    body = {"task": "embed", "input": {"texts": [f"prompt of {mark}"]}, "labels": {"who": mark}}
    response = api.client.post("/v1/jobs", json=body, headers={**bearer, "Idempotency-Key": key})
    assert response.status_code == 202, response.get_json()
    return str(response.get_json()["id"])


def _names(rule: Any, ids: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return a route's arguments; `name` is an artifact's or a head's."""
    given = dict(ids)
    if "name" in rule.arguments and "name" not in ids:
        given["name"] = f"artifact-{mark}" if "job_id" in rule.arguments else f"head-{mark}"
    return {name: given[name] for name in rule.arguments}


def _send(api: Api, rule: Any, verb: str, caller: Tenant, names: Mapping[str, str]) -> TestResponse:
    path = api.app.url_map.bind("localhost").build(rule.endpoint, names)
    body = ROWS[rule.endpoint].bodies.get(verb)
    return api.client.open(path, method=verb, headers=dict(caller.bearer), json=body)


def _told(response: TestResponse) -> tuple[str, dict[str, str]]:
    """Return an answer's body and headers, without what differs between any two requests."""
    body = re.sub(r"req_[0-9a-f]{24}|nonce[-=\"]+[\w-]+", "", response.get_data(as_text=True))
    headers = {
        name: value
        for name, value in response.headers.items()
        # A refusal names what was asked for, whose length differs.
        if name not in {"X-Request-Id", "Date", "Content-Security-Policy", "Content-Length"}
    }
    response.close()
    return body, headers


def _rules(api: Api) -> Iterator[Any]:
    yield from api.app.url_map.iter_rules()


def _everything_of(api: Api, owner: Tenant) -> str:
    """Return all rows of a tenant, as text."""
    engine = create_engine(f"sqlite:///{api.folder / 'jobs.db'}")
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        for table in (jobs, files, webhooks, deliveries, heads, idempotency_keys, api_keys):
            rows = connection.execute(select(table).where(table.c.tenant == owner.name))
            found[table.name] = sorted(str(row) for row in rows)
        links = connection.execute(select(job_files).where(job_files.c.job_id == owner.ids["job_id"]))
        found[job_files.name] = sorted(str(row) for row in links)
    engine.dispose()
    return json.dumps(found, indent=1)


def _require_unknown(
    api: Api, rule: Any, verb: str, pair: tuple[Tenant, Tenant], naming: Mapping[str, str]
) -> None:
    """Fail where one tenant learns from a route that a thing of the other one exists."""
    victim, caller = pair
    foreign = _names(rule, naming, victim.mark)
    response = _send(api, rule, verb, caller, foreign)
    status = response.status_code
    body, headers = _told(response)
    where = f"{verb} {rule.rule} -> {status}"
    if ROWS[rule.endpoint].kind == "named":
        other = _send(api, rule, verb, caller, _names(rule, UNKNOWN, ""))
        assert status == other.status_code, where
        if verb in (rule.methods or ()) and verb != "OPTIONS":
            assert status == 404, where
        for name, value in foreign.items():
            body = body.replace(value, UNKNOWN[name])
        assert (body, headers) == _told(other), where
    assert status < 500, where
    for trace in victim.traces:
        assert trace not in body, where
        assert trace not in str(headers), where


def test_every_route_has_a_row(house: Api) -> None:
    assert {rule.endpoint for rule in _rules(house)} == ROWS.keys() == SCOPES.keys()


def test_every_table_that_holds_a_tenants_things_is_looked_at(house: Api) -> None:
    held = {table.name for table in metadata.tables.values() if "tenant" in table.c}

    assert held == {
        "jobs", "files", "webhooks", "deliveries", "heads", "idempotency_keys", "api_keys",
        # How fair the queue was to it; no route reads it.
        "tenant_clocks",
    }  # fmt: skip


def test_what_is_foreign_is_unknown_and_stays_as_it_was(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, _ = pair
    before = _everything_of(house, victim)

    for rule in _rules(house):
        namings = victim.namings if "job_id" in rule.arguments else victim.namings[:1]
        for verb, naming in itertools.product(VERBS, namings):
            _require_unknown(house, rule, verb, pair, naming)

    assert _everything_of(house, victim) == before


def test_its_own_things_are_there_for_each(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    for tenant in pair:
        for rule in _rules(house):
            row, verb = ROWS[rule.endpoint], "GET"
            if row.kind in {"named", "own"} and verb in rule.methods and "artifact" not in rule.rule:
                response = _send(house, rule, verb, tenant, _names(rule, tenant.ids, tenant.mark))
                assert response.status_code == 200, f"{verb} {rule.rule}"
                response.close()


def test_a_body_cannot_name_what_is_foreign(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, caller = pair

    def outcomes(ids: Mapping[str, str], head: str) -> list[Any]:
        picture = {"file": ids["file_id"]}
        submits = [
            {"task": "embed", "input": {"images": [picture]}},
            {"task": "classify", "input": {"image": {"data": base64_png()}, "head": head}},
        ]
        answers = [house.client.post("/v1/jobs", json=one, headers=dict(caller.bearer)) for one in submits]
        answers.append(house.client.post("/v1/jobs:batch", json=submits, headers=dict(caller.bearer)))
        answers.append(
            house.client.post("/v1/jobs:get", json={"ids": [ids["job_id"]]}, headers=dict(caller.bearer))
        )
        return [(one.status_code, _told(one)[0].replace(head, "")) for one in answers]

    found = outcomes(victim.ids, f"head-{victim.mark}")

    assert found == outcomes(UNKNOWN, "nine")
    assert [status for status, _ in found] == [422, 422, 207, 200]
    assert json.loads(found[-1][1]) == {"jobs": [None]}


def test_an_idempotency_key_is_its_tenants_own(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, caller = pair
    body = {"task": "embed", "input": {"texts": ["another"]}}

    def submit(tenant: Tenant) -> tuple[int, str]:
        headers = {**tenant.bearer, "Idempotency-Key": "the same"}
        response = house.client.post("/v1/jobs", json=body, headers=headers)
        return response.status_code, response.get_json()["id"]

    first, second = submit(victim), submit(caller)

    assert (first[0], second[0]) == (202, 202)
    assert first[1] != second[1]
    assert submit(caller) == (200, second[1])
    assert submit(victim) == (200, first[1])


def test_a_result_answers_nobody_else(
    house: Api, pair: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed already can be asked for, and so what somebody else once asked."""
    monkeypatch.setattr("api.caching._FRESH_S", 0.0)
    store, models = house.services.store, {"TextEncoder": {"id": "minilm", "revision": "1"}}
    store.announce(WORKER, {"pools": [DEFAULT_POOL], "models": models})
    body = {"task": "embed", "input": {"texts": ["a"], "space": "text"}, "cache": True, "priority": "high"}
    victim, caller = pair

    def submit(tenant: Tenant) -> TestResponse:
        return house.client.post("/v1/jobs", json=body, headers=dict(tenant.bearer))

    assert submit(victim).status_code == 202
    [claim] = store.claim(WORKER, [DEFAULT_POOL])
    key = result_key(claim.task, claim.input, models, catalogue()[claim.task].needs)
    store.succeed(claim, Success(result={"mark": victim.mark}, cache_key=key))

    assert submit(victim).get_json()["cached_from"] == claim.id
    assert (submit(caller).status_code, submit(caller).get_json()["cached_from"]) == (202, None)


def test_what_a_job_made_is_a_file_of_its_tenant_alone(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, caller = pair

    def statuses(asking: Tenant) -> list[int]:
        picture = {"task": "embed", "input": {"images": [{"file": victim.made}]}}
        return [
            house.client.get(f"/v1/files/{victim.made}", headers=dict(asking.bearer)).status_code,
            house.client.post("/v1/jobs", json=picture, headers=dict(asking.bearer)).status_code,
        ]

    assert statuses(victim) == [200, 202]
    assert statuses(caller) == [404, 422]


def test_what_one_keeps_fills_nobody_elses_quota(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    store, (one, other) = house.services.store, pair
    kept = store.stored_bytes(one.name), store.stored_bytes(other.name)

    house.client.post("/v1/files", data=png(9, 9), content_type="image/png", headers=dict(one.bearer))
    body = {"task": "embed", "input": {"texts": ["a"]}, "priority": "high"}
    house.client.post("/v1/jobs", json=body, headers=dict(one.bearer))
    [claim] = store.claim(WORKER, [DEFAULT_POOL])
    made = Artifact(name="large", file=FileId("c" * 64), media_type="image/png", bytes=1_000)
    store.succeed(claim, Success(result={"dim": 1}, artifacts=[made]))

    assert store.stored_bytes(one.name) > kept[0] + 1_000
    assert store.stored_bytes(other.name) == kept[1]


def test_an_end_is_told_to_its_tenants_endpoints_alone(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    for tenant in pair:
        house.client.post(f"/v1/jobs/{tenant.queued}/cancel", headers=dict(tenant.bearer))

    engine = create_engine(f"sqlite:///{house.folder / 'jobs.db'}")
    with engine.connect() as connection:
        told = connection.execute(
            select(deliveries.c.job_id, deliveries.c.webhook).where(deliveries.c.webhook.is_not(None))
        )
        found = sorted((row.job_id, row.webhook) for row in told)
    engine.dispose()

    assert found == sorted(
        (naming["job_id"], tenant.ids["webhook_id"]) for tenant in pair for naming in tenant.namings
    )


def test_a_page_token_leads_nowhere_else(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, caller = pair
    token = house.client.get("/v1/jobs?page_size=1", headers=dict(victim.bearer)).get_json()[
        "next_page_token"
    ]
    assert token

    page = house.client.get(f"/v1/jobs?page_token={token}", headers=dict(caller.bearer))

    assert page.status_code == 200
    assert all(trace not in page.get_data(as_text=True) for trace in victim.traces)


def test_the_same_picture_is_each_tenants_own(house: Api, pair: tuple[Tenant, Tenant]) -> None:
    victim, caller = pair
    content = house.client.get(f"/v1/files/{victim.ids['file_id']}/content", headers=dict(victim.bearer))
    picture = content.get_data()
    content.close()

    # Known to the other one, it is new to this one: that it exists somewhere cannot be asked.
    new = house.client.post("/v1/files", data=picture, content_type="image/png", headers=dict(caller.bearer))
    gone = house.client.delete(f"/v1/files/{victim.ids['file_id']}", headers=dict(caller.bearer))

    assert (new.status_code, gone.status_code) == (201, 204)
    kept = house.client.get(f"/v1/files/{victim.ids['file_id']}", headers=dict(victim.bearer))
    assert kept.status_code == 200
