"""The Python client of an Iconotext service.

from client import Client

with Client("http://127.0.0.1:8000") as iconotext:
    job = iconotext.submit("match", images=["cat.jpg"], texts=["a cat", "a rocket"])
    print(iconotext.wait(job.id, timeout=60).result)
    for path, job in iconotext.map("embed", Path("photos").glob("*.jpg")):
        print(path, job.result)

`AsyncClient` has the same methods, to be awaited, and the same loops, with `async for`.
"""

from client.asynchronous import AsyncClient
from client.batches import Outcome
from client.errors import (
    Conflict,
    Forbidden,
    IconotextError,
    JobFailed,
    NotFound,
    PartlySubmitted,
    RateLimited,
    RequestRefused,
    ServiceUnreachable,
    Unauthorized,
    WaitTimeout,
)
from client.models import (
    Delivery,
    File,
    Health,
    Job,
    Options,
    Page,
    Problem,
    System,
    Task,
    Webhook,
    WebhookEndpoint,
)
from client.sdk import Client
from client.submissions import Submission

__all__ = [
    "AsyncClient",
    "Client",
    "Conflict",
    "Delivery",
    "File",
    "Forbidden",
    "Health",
    "IconotextError",
    "Job",
    "JobFailed",
    "NotFound",
    "Options",
    "Outcome",
    "Page",
    "PartlySubmitted",
    "Problem",
    "RateLimited",
    "RequestRefused",
    "ServiceUnreachable",
    "Submission",
    "System",
    "Task",
    "Unauthorized",
    "WaitTimeout",
    "Webhook",
    "WebhookEndpoint",
]
