"""A job as its owner sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from shared.blobs import BlobStore
from shared.jobs import FileId, Job, JobState, Json

_COMPACT = (",", ":")


def whole(job: Job, blobs: BlobStore, *, eta_s: float | None = None) -> bytes:
    """Return the job's JSON with its result, which may be read from the blobs.

    Args:
        eta_s: in how many seconds it may begin.

    Raises:
        BlobsUnavailable: the result is kept there, and cannot be read now.
    """
    return b"".join(_read(_pieces(job, eta_s), blobs))


def accepted(job: Job, blobs: BlobStore, *, is_replay: bool) -> bytes:
    """Return what became of one submit of a batch, which may have come before; raises as `whole` does."""
    status = b"200" if is_replay or job.state.is_terminal else b"202"
    return b'{"status":' + status + b',"job":' + whole(job, blobs) + b"}"


def refused(problem: Json) -> bytes:
    """Return what became of one submit of a batch that was not accepted."""
    return _dump({"status": problem["status"], "problem": problem})


def several(jobs: Sequence[Job | None], blobs: BlobStore) -> tuple[Iterable[bytes], int]:
    """Return the JSON of jobs with their results in pieces, and its length in bytes.

    A result that is kept in the blobs is read when its turn comes: a thousand large ones need no memory.

    Raises:
        NotFound, BlobsUnavailable: a result is kept there, and is gone or cannot be read now.
    """
    pieces: list[bytes | FileId] = [b'{"jobs":[']
    for place, job in enumerate(jobs):
        pieces += [b"," if place else b"", *_pieces(job)]
    pieces.append(b"]}")
    if all(isinstance(piece, bytes) for piece in pieces):
        text = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        return [text], len(text)
    size = sum(len(piece) if isinstance(piece, bytes) else blobs.size(piece) for piece in pieces)
    return _read(pieces, blobs), size


def _pieces(job: Job | None, eta_s: float | None = None) -> list[bytes | FileId]:
    if job is None:
        return [b"null"]
    head = _dump(summary(job, eta_s=eta_s))[:-1] + b',"result":'
    # The result goes last: a large one is JSON already and is not parsed again.
    return [head, _dump(job.result) if job.result_file is None else job.result_file, b"}"]


def _read(pieces: Sequence[bytes | FileId], blobs: BlobStore) -> Iterator[bytes]:
    for piece in pieces:
        yield piece if isinstance(piece, bytes) else blobs.read(piece)


def listing(jobs: Sequence[Job], next_page: str | None) -> bytes:
    """Return one page of jobs as JSON, without their results and previews."""
    return _dump({"jobs": [summary(job, with_preview=False) for job in jobs], "next_page_token": next_page})


def summary(job: Job, *, with_preview: bool = True, eta_s: float | None = None) -> Json:
    """Return the job as JSON, all but its result."""
    return {
        "id": job.id,
        "task": job.task,
        "status": job.state.value,
        "version": job.version,
        "attempt": job.attempt,
        "generation": job.generation,
        "priority": job.priority.label,
        "progress": {
            "fraction": float(job.progress.fraction),
            "stage": job.progress.stage,
            "message": job.progress.message,
            "preview": job.progress.preview or None if with_preview else None,
        },
        "queue": {"position": job.position, "eta_s": eta_s} if job.state is JobState.QUEUED else None,
        "error": _error(job),
        "artifacts": _artifacts(job),
        "provenance": job.provenance or None,
        "timings_ms": dict(job.timings_ms),
        "batch": None if job.batch_size is None else {"size": job.batch_size},
        "labels": dict(job.labels),
        "cached_from": job.cached_from,
        "created_at": rfc3339(job.created_at),
        "retried_at": rfc3339(job.retried_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "expires_at": rfc3339(job.expires_at),
        "links": {"self": href(job), "cancel": f"{href(job)}/cancel", "events": f"{href(job)}/events"},
    }


def href(job: Job) -> str:
    """Return the path of a job."""
    return f"/v1/jobs/{job.id}"


def rfc3339(moment: datetime | None) -> str | None:
    """Return a moment in UTC, to the millisecond."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(job: Job) -> Json | None:
    if job.error is None:
        return None
    return {"code": job.error.code, "message": job.error.message, "retryable": job.error.retryable}


def _artifacts(job: Job) -> list[Json]:
    return [
        {
            "name": artifact.name,
            "media_type": artifact.media_type,
            "bytes": artifact.bytes,
            "href": f"{href(job)}/artifacts/{quote(artifact.name, safe='')}",
        }
        for artifact in job.artifacts
    ]


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=_COMPACT, allow_nan=False).encode()
