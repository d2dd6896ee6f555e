"""The Python client of an Iconotext service.

from client import Client

with Client("http://127.0.0.1:8000") as iconotext:
    job = iconotext.submit("match", images=["cat.jpg"], texts=["a cat", "a rocket"])
    print(iconotext.wait(job.id, timeout=60).result)
    for path, job in iconotext.map("embed", Path("photos").glob("*.jpg")):
        print(path, job.result)
"""

from client.batches import Outcome
from client.errors import (
    IconotextError,
    JobFailed,
    PartlySubmitted,
    RequestRefused,
    ServiceUnreachable,
    WaitTimeout,
)
from client.models import File, Health, Job, Options, Page, Problem, System, Task, Webhook
from client.sdk import Client
from client.submissions import Submission

__all__ = [
    "Client",
    "File",
    "Health",
    "IconotextError",
    "Job",
    "JobFailed",
    "Options",
    "Outcome",
    "Page",
    "PartlySubmitted",
    "Problem",
    "RequestRefused",
    "ServiceUnreachable",
    "Submission",
    "System",
    "Task",
    "WaitTimeout",
    "Webhook",
]
