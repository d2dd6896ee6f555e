"""A run full of secrets leaves none of them where somebody who should not know it could read it.

Nowhere in a dump of the database, in a log, on the metrics page, in `/v1/system` or in a refusal: API keys,
the secrets of webhooks and what they are derived from, the passwords of the database and of Redis.

In the database by design, and therefore only looked for in the logs (at INFO), on the metrics page and in
`/v1/system`: what jobs are about (prompts, labels, URLs of inputs), the URLs of webhooks as their owners gave
them, which may hold tokens of theirs, and idempotency keys, which open nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import httpx
import psycopg
from psycopg import sql
from sqlalchemy import create_engine, inspect, make_url, text

from shared.jobs import Json
from shared.keys import new_key
from tests.e2e.conftest import Up, eventually
from tests.sinks import Sink, reply, sink

_DATABASE_PASSWORD = "canary-password-of-the-database"
_MASTER = "canary-of-the-services-own-secret"
#: Words of callers, by where they are put.
_WORDS = {
    "prompt": "canary-prompt",
    "label": "canary-label",
    "name of a label": "canary-name",
    "broken body": "canary-body",
    "query": "canary-query",
    "idempotency key": "canary-idempotency",
    "URL of an input": "canary-input",
    "path of a webhook": "canary-path",
    "query of a webhook": "canary-token",
    "description of a webhook": "canary-description",
}
_ENV = {
    "ICONOTEXT_REQUIRE_KEYS": "true",
    "ICONOTEXT_SECRET": _MASTER,
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    "ICONOTEXT_WEBHOOK_WAITS": "0.1,0.2",
    "ICONOTEXT_WEBHOOK_TIMEOUT": "1",
    "ICONOTEXT_URL_INPUTS": "true",
    "ICONOTEXT_URL_PRIVATE": "true",
}


@dataclass
class Story:
    """What was sent to a stack, and what it must keep to itself."""

    up: Up
    http: httpx.Client
    #: By what each is.
    secrets: dict[str, str]
    #: The bodies of answers, by what was asked.
    refusals: dict[str, str] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)

    def refuse(self, what: str, status: int, answer: httpx.Response) -> None:
        """Keep a refusal; it must be one."""
        assert answer.status_code == status, answer.text
        self.refusals[f"refusal of {what}"] = answer.text

    def submit(self, words: str, hook: str = "") -> str:
        """Return the id of a new job that holds all that jobs can hold."""
        return self._submit(body(words, hook))

    def submit_url(self, url: str) -> str:
        """Return the id of a new job whose picture is at a URL."""
        return self._submit({"task": "embed", "input": {"images": [{"url": url}]}})

    def _submit(self, sent: Json) -> str:
        return str(self.http.post("/v1/jobs", json=sent).raise_for_status().json()["id"])


def body(words: str, hook: str = "") -> Json:
    made: Json = {
        "task": "embed",
        "input": {"texts": [f"{words} {_WORDS['prompt']}"]},
        "labels": {_WORDS["name of a label"]: _WORDS["label"]},
    }
    return made | ({"webhook": {"url": hook}} if hook else {})


def hook_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/{_WORDS['path of a webhook']}?t={_WORDS['query of a webhook']}"


def secret_of(token: str) -> str:
    """Return the part of an API key that may be read nowhere; its id may."""
    return token.split("_", 2)[2]


@contextmanager
def story(up: Up) -> Iterator[Story]:
    """Return a stack's story, which begins with a key that may do everything."""
    made = up.command(
        "keys", "create", "test", "--tenant", "acme", "--scopes", "submit,read,admin", "--quiet"
    )
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    keep = {
        "key": secret_of(token),
        "service's own secret": _MASTER,
        "password of the database": make_url(up.env["ICONOTEXT_DATABASE_URL"]).password or _DATABASE_PASSWORD,
        "password of Redis": str(up.valkey().connection_pool.connection_kwargs["password"]),
    }
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=up.url, headers=headers, timeout=30) as http:
        yield Story(up, http, keep)


def be_refused(told: Story) -> None:
    """Send what is refused, in every way that holds a secret."""
    http, wrong = told.http, new_key()
    told.secrets["wrong key"] = secret_of(wrong.token)
    with_wrong = {"Authorization": f"Bearer {wrong.token}"}
    told.refuse("a wrong key", 401, http.get("/v1/jobs", headers=with_wrong))
    told.refuse("a key by Basic", 401, http.get("/v1/jobs", auth=("ik", wrong.token)))
    told.refuse("a key in a URL", 400, http.get("/v1/jobs", params={"key": wrong.token}))
    told.refuse("a query", 422, http.get("/v1/jobs", params={"q": _WORDS["query"]}))
    broken = f'{{"task": "embed", "input": "{_WORDS["broken body"]}'
    json_headers = {"Content-Type": "application/json"}
    told.refuse("broken JSON", 400, http.post("/v1/jobs", content=broken, headers=json_headers))
    told.refuse("an unknown task", 422, http.post("/v1/jobs", json=body("red") | {"task": "nothing"}))
    key = {"Idempotency-Key": _WORDS["idempotency key"]}
    assert http.post("/v1/jobs", json=body("red"), headers=key).status_code == 202
    told.refuse("a key for another submit", 422, http.post("/v1/jobs", json=body("blue"), headers=key))
    with_password = f"https://user:{_DATABASE_PASSWORD}@example.org/"
    told.refuse("a URL with a password", 422, http.post("/v1/jobs", json=body("red", with_password)))


def be_told(told: Story, server: Sink) -> None:
    """Have webhooks of every kind told, by a server that fails, and by none."""
    url, http = hook_url(server.port), told.http
    sent = {"url": url, "description": _WORDS["description of a webhook"]}
    hook = http.post("/v1/webhooks", json=sent).raise_for_status().json()
    path = hook["links"]["self"]
    told.secrets["webhook's secret"] = hook["secret"].removeprefix("whsec_")
    rotated = http.post(f"{path}/rotate").raise_for_status().json()["secret"]
    told.secrets["webhook's new secret"] = rotated.removeprefix("whsec_")
    default = http.get("/v1/webhooks:secret").raise_for_status().json()["secret"]
    told.secrets["tenant's secret"] = default.removeprefix("whsec_")
    http.post(f"{path}/test").raise_for_status()
    jobs = [told.submit("red", url), told.submit("fake:fail", hook_url(1)), told.submit("fake:nan")]
    jobs.append(told.submit_url(f"http://127.0.0.1:{server.port}/picture?{_WORDS['URL of an input']}"))
    for job in jobs:
        eventually(lambda job=job: http.get(f"/v1/jobs/{job}").json()["finished_at"], 30)
    eventually(lambda: is_all_told(http, [f"/v1/jobs/{job}" for job in jobs] + [path]), 30)


def is_all_told(http: httpx.Client, paths: list[str]) -> bool:
    found = [http.get(f"{path}/deliveries").raise_for_status().json()["deliveries"] for path in paths]
    return all(one["ended_at"] for some in found for one in some)


@contextmanager
def stopped(database_url: str) -> Iterator[None]:
    """Let nobody write to a database, and on PostgreSQL not even reach it."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        return
    server = url.set(database="postgres").render_as_string(hide_password=False)
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(server, autocommit=True) as connection:
        name = sql.Identifier(url.database or "")
        connection.execute(allow.format(name, sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [url.database]
        )
        yield
        connection.execute(allow.format(name, sql.SQL("true")))


def dump(database_url: str) -> str:
    """Return every row of every table, as text."""
    url = make_url(database_url)
    driver = "postgresql+psycopg" if url.get_backend_name() == "postgresql" else "sqlite"
    engine = create_engine(url.set(drivername=driver))
    lines: list[str] = []
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"')).mappings()  # noqa: S608  # our own names
            lines += [f"{table} {json.dumps(dict(row), default=str)}" for row in rows]
    engine.dispose()
    return "\n".join(lines)


def logs(up: Up) -> dict[str, str]:
    """Return what each process, and the supervisor, wrote."""
    found = {path.name: path.read_text(errors="replace") for path in (up.data_dir / "logs").iterdir()}
    return {**found, "what `iconotext up` prints": up.output}


def spilt(places: Mapping[str, str], secrets: Mapping[str, str]) -> list[str]:
    """Return which place holds which secret."""
    return [
        f"{place}: {name}"
        for place, words in places.items()
        for name, secret in secrets.items()
        if secret in words
    ]


def settings(database_url: str) -> dict[str, str]:
    """Return the settings of a stack: logs for machines on PostgreSQL, logs for people on SQLite."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return {**_ENV, "ICONOTEXT_DATABASE_URL": database_url, "ICONOTEXT_LOG_FORMAT": "human"}
    # The tests' own server asks for no password, and takes any.
    given = url.set(password=url.password or _DATABASE_PASSWORD).render_as_string(hide_password=False)
    return {**_ENV, "ICONOTEXT_DATABASE_URL": given, "ICONOTEXT_LOG_FORMAT": "json"}


def test_no_secret_is_left_where_it_could_be_read(start: Callable[..., Up], database_url: str) -> None:
    up = start(**settings(database_url)).wait_until_ready()
    with story(up) as told, sink(reply(500), reply(302), reply(500)) as server:
        be_refused(told)
        be_told(told, server)
        with stopped(database_url):
            told.refuse("a submit without a database", 503, told.http.post("/v1/jobs", json=body("red")))
        eventually(lambda: told.http.post("/v1/jobs", json=body("red")).status_code == 202, 30)
        for page in ("/metrics", "/v1/system", "/readyz"):
            told.pages[page] = told.http.get(page).raise_for_status().text
    assert up.stop() == 0, up.output
    stored, written = dump(database_url), logs(up)

    # What is looked for is what was used, and what is looked through is what was written.
    assert all(word in stored for name, word in _WORDS.items() if name not in {"broken body", "query"})
    assert "refused" in written["api.log"]
    assert "not delivered" in written["worker-1.log"]
    assert spilt({"the database": stored, **written, **told.pages, **told.refusals}, told.secrets) == []
    assert spilt({**written, **told.pages}, _WORDS) == []
