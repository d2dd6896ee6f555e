"""The tables, as the newest migration leaves them.

Every time is an integer: milliseconds since 1970-01-01 UTC on the database's clock (`shared.database.now`).
Wide columns stand last, so that SQLite reads a row's narrow ones without walking its overflow pages.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

# Python's None is SQL's NULL: a JSON `null` is nobody's result.
_Json = JSON(none_as_null=True)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # A worker may claim it: queued, or waiting for its next attempt (to the user: still running).
    Column("claimable", Boolean, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    # Start tag of the fair queue of its pool and priority (`shared.store.fairness`).
    Column("vtime", BigInteger, nullable=False),
    # Not claimed before this moment.
    Column("run_after", BigInteger, nullable=False),
    # The fence: the number of claims so far, which only grows.
    Column("attempt", Integer, nullable=False),
    # The budget: a claim takes one, a release gives it back.
    Column("tries_left", Integer, nullable=False),
    Column("alone", Boolean, nullable=False),
    # Both set exactly while a worker holds the job.
    Column("worker", Text),
    Column("lease_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    # When it last began to wait: its creation, requeue or release.
    Column("queued_at", BigInteger, nullable=False),
    # Missed while queued, the job expires.
    Column("start_by", BigInteger),
    # The first claim.
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("timeout_ms", BigInteger),
    Column("retain_ms", BigInteger, nullable=False),
    Column("fraction", Float, nullable=False),
    Column("stage", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("error_retryable", Boolean),
    Column("batch_size", Integer),
    Column("result_file", Text),
    # In the database these came after the wide ones, to `webhook`; whoever reads them reads those too.
    # What a running job looks like so far:
    Column("preview", Text),
    # Its result may answer later jobs of its tenant, under the key that its worker settled it with.
    Column("cache", Boolean, nullable=False, server_default=false()),
    Column("cache_key", Text),
    Column("cached_from", Text),
    # How often its user had it run: a retry begins another one, with all its attempts.
    Column("generation", Integer, nullable=False, server_default="1"),
    # When the present one was asked for; the first one was at `created_at`.
    Column("retried_at", BigInteger),
    # Of its input's JSON and the files that it names: what it weighs while it waits.
    Column("input_bytes", BigInteger, nullable=False, server_default="0"),
    # Of its result and artifacts in the blobs: what it weighs once it ended.
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    # The request that submitted it, for the logs.
    Column("request_id", Text),
    # Whom to tell of its end, `{"url", "events"}`; NULL: nobody.
    Column("webhook", _Json),
    Column("labels", _Json, nullable=False),
    Column("timings_ms", _Json, nullable=False),
    Column("artifacts", _Json, nullable=False),
    Column("provenance", _Json, nullable=False),
    Column("input", _Json, nullable=False),
    Column("result", _Json),
    # A claim steps over what earlier claims left in the index until it is vacuumed: do so early. Room on the
    # page lets a heartbeat's new row version stay beside the old one (HOT).
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.01, "fillfactor": 80},
)


def _partial(name: str, *columns: Column[Any], where: str, sqlite_where: str = "") -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(sqlite_where or where))


# The claim walks this one from its start, in its order. SQLite uses a partial index only for a query that
# says the index's condition in the same words, and SQLAlchemy says `= 1` there.
_partial(
    "jobs_claim_idx",
    jobs.c.pool,
    jobs.c.priority,
    jobs.c.vtime,
    jobs.c.id,
    where="claimable",
    sqlite_where="claimable = 1",
)
# How many wait, and what they weigh, by tenant: answered from the index alone.
_partial("jobs_queued_idx", jobs.c.tenant, jobs.c.input_bytes, where="state = 'queued'")
# What the files of ended jobs weigh, by tenant: from the index alone.
_partial("jobs_stored_idx", jobs.c.tenant, jobs.c.stored_bytes, where="stored_bytes > 0")
# Few rows at most: jobs that may have killed their workers, which run by themselves.
_partial(
    "jobs_suspect_idx",
    jobs.c.pool,
    jobs.c.priority,
    jobs.c.vtime,
    jobs.c.id,
    where="claimable AND alone",
    sqlite_where="claimable = 1 AND alone = 1",
)
# Not over `lease_until`: PostgreSQL can then renew a lease without touching any index (HOT).
_partial("jobs_held_idx", jobs.c.id, where="worker IS NOT NULL")
_partial(
    "jobs_start_by_idx",
    jobs.c.start_by,
    where="claimable AND start_by IS NOT NULL",
    sqlite_where="claimable = 1 AND start_by IS NOT NULL",
)
_partial("jobs_expires_at_idx", jobs.c.expires_at, where="expires_at IS NOT NULL")
# The id last, which is its order in time: the newest answer is found without looking at the others.
_partial("jobs_cache_idx", jobs.c.tenant, jobs.c.cache_key, jobs.c.id, where="cache_key IS NOT NULL")
Index("jobs_list_idx", jobs.c.tenant, jobs.c.created_at, jobs.c.id)
Index("jobs_list_state_idx", jobs.c.tenant, jobs.c.state, jobs.c.created_at, jobs.c.id)

# Which blobs a job refers to; a blob that no row here and in `files` names may be deleted.
job_files = Table(
    "job_files",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("file", Text, primary_key=True),
    # input, result or artifact.
    Column("role", Text, primary_key=True),
)
# Who names a blob, and who made it.
Index("job_files_use_idx", job_files.c.file, job_files.c.role, job_files.c.job_id)

# What each tenant uploaded. Hashes come in no order: every tree of them costs a submit a page of its own.
files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("created_at", BigInteger, nullable=False),
    # When it is next asked whether anybody still needs it.
    Column("review_at", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
Index("files_review_at_idx", files.c.review_at)
# What a tenant's uploads weigh: from the index alone.
Index("files_tenant_idx", files.c.tenant, files.c.bytes)

# Submits that may come again: the same key answers the same job for a day.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # SHA-256 of what was submitted with it.
    Column("fingerprint", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("idempotency_keys_created_at_idx", idempotency_keys.c.created_at)

# What is to be told to whom: written with the move that it tells of, delivered later.
deliveries = Table(
    "deliveries",
    metadata,
    # `webhook-id` of the message, the same at every try.
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    # The endpoint; NULL: the job's own URL.
    Column("webhook", Text),
    Column("url", Text, nullable=False),
    # job.succeeded, job.failed, job.canceled or job.expired.
    Column("event", Text, nullable=False),
    # Not a foreign key: what is to be told outlives the job.
    Column("job_id", Text, nullable=False),
    # pending, delivered or failed.
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # When it is tried (again), or, while one tries, taken for lost; NULL once it ended.
    Column("next_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    # JSON as it is sent, the same bytes at every try.
    Column("body", Text, nullable=False),
    # One entry for each try.
    Column("log", _Json, nullable=False),
    # Whose it is to take it: few messages are on their way to one host at a time.
    Column("lane", Text, nullable=False, server_default=""),
)
_partial("deliveries_next_at_idx", deliveries.c.next_at, where="next_at IS NOT NULL")
Index("deliveries_job_id_idx", deliveries.c.job_id)
_partial("deliveries_webhook_idx", deliveries.c.webhook, deliveries.c.id, where="webhook IS NOT NULL")
_partial("deliveries_ended_at_idx", deliveries.c.ended_at, where="ended_at IS NOT NULL")

# Where a tenant wants to be told of its jobs' ends. No secret is kept: `shared.signing` derives it.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Names of events.
    Column("events", _Json, nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    # In words; NULL while enabled.
    Column("disabled_because", Text),
    # How often its secret was made; each has its own.
    Column("rotation", Integer, nullable=False),
    # When the present secret took over; NULL for the first.
    Column("rotated_at", BigInteger),
    # The first of the tries that failed since the last that did not.
    Column("failing_since", BigInteger),
    Column("created_at", BigInteger, nullable=False),
)
Index("webhooks_tenant_idx", webhooks.c.tenant, webhooks.c.id)

# Who may call. Of a key only its hash is kept (`shared.keys`).
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    # SHA-256 of the whole key, in hex.
    Column("hash", Text, nullable=False),
    Column("scopes", _Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

# Quotas of tenants that have some of their own; NULL: the service's.
tenants = Table(
    "tenants",
    metadata,
    Column("name", Text, primary_key=True),
    Column("requests_per_minute", BigInteger),
    Column("jobs_per_minute", BigInteger),
    # That may wait to be started.
    Column("queued_jobs", BigInteger),
    # Of uploads and of what jobs made.
    Column("stored_bytes", BigInteger),
)

# Classifiers made by `train`.
heads = Table(
    "heads",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("info", _Json, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

leaders = Table(
    "leaders",
    metadata,
    Column("role", Text, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
)

# The finish tag of each tenant's newest job, per pool and priority (`shared.store.fairness`).
tenant_clocks = Table(
    "tenant_clocks",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("priority", SmallInteger, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("vtime", BigInteger, nullable=False),
)
# The largest of a queue, however many tenants it has served.
Index("tenant_clocks_vtime_idx", tenant_clocks.c.pool, tenant_clocks.c.priority, tenant_clocks.c.vtime)
