"""The job store: every job, file and worker, and each move a job makes.

edge       what all rooms share: the database and the terms of a claim
statements a statement, compiled once
rows       a table's row as a value, and back
moves      the columns that a job's move sets, and the fence around them
endings    the ways a claim ends
beats      the heartbeat
fairness   whose turn it is
answers    jobs that another one's result answers at submit
backlogs   how much waits
idempotency submits that come again
generations an ended job, once more
submits    create, get, versions, list, cancel, retry
claims     claim, heartbeat, and the five ways a claim ends
messages   what is to be told of a job's end
deliveries messages on their way
webhooks   endpoints, that are told of every end
upkeep     leases and deadlines
retention  what is forgotten, and when
files      uploads, artifacts, heads
keys       who may call, and what each tenant may have
workers    who is alive, and who leads
"""

from __future__ import annotations

from shared.store.backlogs import Backlogs, Load
from shared.store.claims import Claims, Heartbeat
from shared.store.deliveries import Deliveries, Delivery, DeliveryLog, DeliveryState, MessageId, Try
from shared.store.files import Files, StoredFile
from shared.store.keys import Keys, Quotas
from shared.store.retention import Retention
from shared.store.submits import Submits
from shared.store.upkeep import Upkeep
from shared.store.webhooks import MOST_WEBHOOKS, Change, Endpoint, WebhookId, Webhooks
from shared.store.workers import Workers

__all__ = [
    "MOST_WEBHOOKS",
    "Change",
    "Delivery",
    "DeliveryLog",
    "DeliveryState",
    "Endpoint",
    "Heartbeat",
    "JobStore",
    "Load",
    "MessageId",
    "Quotas",
    "StoredFile",
    "Try",
    "WebhookId",
]


class JobStore(Submits, Backlogs, Claims, Deliveries, Upkeep, Retention, Files, Keys, Webhooks, Workers):
    """All that the service knows, in one SQL database; thread-safe, and safe in many processes.

    Every method is one transaction, and every moment in it is the database's. Besides what each says:

    Raises:
        StoreUnavailable: the database cannot be reached, is locked or is full; the same call may work later.
    """
