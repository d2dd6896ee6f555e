"""Jobs and their artifacts as files, under names that stay inside the folder."""

from __future__ import annotations

import json
import mimetypes
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from client.errors import RequestRefused
from client.flows import Flow, work
from client.models import Artifact, Job

#: What separates folders somewhere, or no file's name may hold somewhere.
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
#: File systems take 255 bytes, at most four to a character; the rest is room for what we add.
_LONGEST = 50


def save_job(job: Job, folder: Path, download: Callable[[str], Flow[bytes]]) -> Flow[list[Path]]:
    """Write a job as JSON and its artifacts into a folder, and return the files, the job's first.

    Each file appears whole or not at all; what was there under its name is replaced.

    Args:
        download: returns the content behind an artifact's `href`.

    Raises:
        RequestRefused: the folder cannot be written to.
    """
    text = json.dumps(job.to_json(), indent=2, ensure_ascii=False) + "\n"
    saved = [folder / f"{safe_name(job.id)}.json"]
    yield from work(partial(_write, saved[0], text.encode()))
    for artifact, name in zip(job.artifacts, _names(job), strict=True):
        content = yield from download(artifact.href)
        saved.append(folder / name)
        yield from work(partial(_write, saved[-1], content))
    return saved


def safe_name(name: str) -> str:
    """Return a file's name without what leads out of a folder or hides it there."""
    base = _UNFIT.sub("_", name.replace("\\", "/").rstrip("/").rpartition("/")[2]).strip(". ")
    stem, suffix = Path(base).stem, Path(base).suffix
    return f"{stem[:_LONGEST]}{suffix[:_LONGEST]}" or "artifact"


def _names(job: Job) -> Iterator[str]:
    """Yield a name for each artifact, no two alike, even where case does not count."""
    taken = {f"{safe_name(job.id)}.json".casefold()}
    for artifact in job.artifacts:
        name = Path(_with_suffix(artifact))
        number = 1
        unique = str(name)
        while unique.casefold() in taken:
            number += 1
            unique = f"{name.stem}-{number}{name.suffix}"
        taken.add(unique.casefold())
        yield unique


def _with_suffix(artifact: Artifact) -> str:
    name = safe_name(artifact.name)
    return name if Path(name).suffix else name + (mimetypes.guess_extension(artifact.media_type) or "")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".iconotext-", delete=False) as part:
            part_path = Path(part.name)
            try:
                part.write(content)
                part.close()
                # A temporary file is its owner's alone; these are made to be looked at.
                part_path.chmod(0o644)
                part_path.replace(path)
            except BaseException:
                with suppress(OSError):
                    part_path.unlink()
                raise
    except OSError as error:
        raise RequestRefused(f"cannot write to {path.parent}: {error.strerror}", code="unwritable") from error
