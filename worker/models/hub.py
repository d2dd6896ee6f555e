"""Repositories of the Hugging Face hub: found in its local cache, and pulled into it when somebody asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.errors import ModelUnavailable
from shared.manifests import Entry
from worker.models.folders import CHECKPOINT_FILES, require_checkpoint

_ADVICE = "`iconotext models pull` downloads it"
_OTHERWISE = (
    "try again, set HF_ENDPOINT to a mirror, or name a folder in a manifest of your own (ICONOTEXT_MANIFEST)"
)
#: For an answer of any kind.
_PATIENCE_S = 10.0


def cached_snapshot(entry: Entry) -> Path:
    """Return the folder of an entry's repository at its commit; the hub is not asked.

    Raises:
        ModelUnavailable: it was not pulled yet, or not whole; says how.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # 0.3 s that the starter can do without
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(**_wanted(entry), local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(
            f"{entry.hub} at {_short(entry)} is not in the local cache of the hub; {_ADVICE}"
        ) from error
    require_checkpoint(folder, entry.files, _ADVICE)
    return folder


def unreachable() -> str | None:
    """Return why the hub cannot be asked now; None when it answers, whatever it says.

    Its client tries six times and half a minute for each repository: too long for a machine without network.
    """
    from huggingface_hub import constants, get_session  # noqa: PLC0415

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE forbids to ask the hub; unset it, or fill the local cache by other means"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except Exception as error:  # noqa: BLE001  # its transport's errors, of which each release has others
        return f"the hub at {constants.ENDPOINT} cannot be reached: {_in_words(error)}; {_OTHERWISE}"
    return None


def pull(entry: Entry) -> Path:
    """Download what a backend reads of an entry's repository, unless it is there, and return its folder.

    Weights in safetensors, configurations and vocabularies; no pickle and no code. Progress goes to stderr.

    Raises:
        ModelUnavailable: the hub cannot be reached, or does not give it; says what to do.
    """
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415

    what = f"{entry.hub} at {_short(entry)}"
    try:
        folder = Path(snapshot_download(**_wanted(entry)))
    except errors.GatedRepoError as error:
        raise ModelUnavailable(
            f"{what} is gated: accept its terms on the hub, then set HF_TOKEN to a token of that account"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"the hub has no {entry.hub}, or it is private: HF_TOKEN may name an account that sees it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailable(f"{entry.hub} has no commit {entry.revision}; correct the manifest") from error
    except Exception as error:  # its transport's errors, of which each release has others
        raise ModelUnavailable(f"{what} cannot be pulled: {_in_words(error)}; {_OTHERWISE}") from error
    require_checkpoint(folder, entry.files, "the repository at this commit lacks it; choose another")
    return folder


def _wanted(entry: Entry) -> dict[str, Any]:
    return {
        "repo_id": entry.hub,
        "revision": entry.revision,
        "allow_patterns": list(CHECKPOINT_FILES),
        "ignore_patterns": list(entry.leave_out) or None,
    }


def _short(entry: Entry) -> str:
    return f"commit {(entry.revision or '')[:12]}"


def _in_words(error: Exception) -> str:
    """Return the transport's own words, without the advice that the hub's client wraps them in."""
    cause = error.__cause__ or error
    return next(iter(str(cause).splitlines()), "") or type(cause).__name__
