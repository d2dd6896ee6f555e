"""The Python client of an Iconotext service.

from client import Client

with Client("http://127.0.0.1:8000") as iconotext:
    job = iconotext.submit("match", images=["cat.jpg"], texts=["a cat", "a rocket"])
    print(iconotext.wait(job.id, timeout=60).result)
"""

from client.errors import IconotextError, JobFailed, RequestRefused, ServiceUnreachable, WaitTimeout
from client.models import File, Health, Job, Options, Page, Problem, Task
from client.sdk import Client

__all__ = [
    "Client",
    "File",
    "Health",
    "IconotextError",
    "Job",
    "JobFailed",
    "Options",
    "Page",
    "Problem",
    "RequestRefused",
    "ServiceUnreachable",
    "Task",
    "WaitTimeout",
]
