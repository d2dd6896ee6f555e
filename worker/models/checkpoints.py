"""A checkpoint in a folder, as transformers saves it: config, tokenizer, weights. Nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from shared.errors import BadConfiguration, ModelUnavailable
from worker.models.placing import rounded
from worker.models.sources import Source

#: Code that comes with a checkpoint is never run, and no file is looked for on a hub.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
#: What transformers looks for first, and so the only weight file that a manifest's sha256 may speak for.
_WEIGHTS = "model.safetensors"


def folder_of(source: Source) -> Path:
    """Return the checkpoint's folder: the one that the manifest names, or that of its verified weights.

    Raises:
        BadConfiguration: it names neither, or weights under a name that transformers would not read.
    """
    if source.folder is not None or source.weights is None:
        return source.require_folder()
    if source.weights.name != _WEIGHTS:
        raise BadConfiguration(f"{source.card.id}: the weight file must be {_WEIGHTS}")
    return source.weights.parent


def config(folder: Path, *kinds: str) -> Any:
    """Return the checkpoint's configuration.

    Args:
        folder: holds `config.json`.
        kinds: the `model_type`s that the caller can run; none: any that transformers knows.

    Raises:
        ModelUnavailable: it is missing, broken, of another kind, or one that only code of its own can run.
    """
    with _readable(folder, "config.json"):
        found = AutoConfig.from_pretrained(folder, **LOCAL)
    if kinds and found.model_type not in kinds:
        raise ModelUnavailable(
            f"{folder.name} holds a checkpoint of kind {found.model_type!r}; "
            f"this backend runs {', '.join(kinds)}"
        )
    return found


def tokenizer(folder: Path) -> Any:
    """Return the checkpoint's tokenizer; threads must not share it, its `backend_tokenizer` they may.

    Raises:
        ModelUnavailable: its files are missing or broken, or it has no fast backend.
    """
    with _readable(folder, "tokenizer"):
        found = AutoTokenizer.from_pretrained(folder, **LOCAL)
    if not found.is_fast:
        raise ModelUnavailable(
            f"the tokenizer in {folder.name} has no tokenizer.json, which is the fast form"
        )
    return found


def network(folder: Path, kind: Any, dtype: torch.dtype, device: str, **options: Any) -> Any:
    """Return the checkpoint's network, ready to answer: in evaluation mode, nothing to be trained.

    Args:
        folder: holds `model.safetensors`, or its parts and their index. Pickles are never loaded.
        kind: an Auto class, or an architecture's own: whatever has `from_pretrained`.
        dtype: of the weights.
        device: as torch names it.
        options: handed to `from_pretrained`; attention is sdpa where the architecture has it.

    Raises:
        ModelUnavailable: weights are missing, broken, too few, of other shapes, or not safetensors.
    """
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"{folder.name} holds no .safetensors; weights in other files (.bin, .pt, .pth) may hold code, "
            "and are not loaded"
        )
    # Bars, which no log needs, and a table of weights left out on purpose; too few are an error here.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with _readable(folder, "weights"):
        loaded, told = _loaded(folder, kind, options)
    if lacking := sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])}):
        raise ModelUnavailable(
            f"the weights in {folder.name} are not those of {type(loaded).__name__}: {len(lacking)} are "
            f"missing or of another shape, {', '.join(lacking[:3])} among them"
        )
    return rounded(loaded, dtype).to(device).eval().requires_grad_(False)


def shared_tokenizer(folder: Path) -> Tokenizer:
    """Return a copy of the checkpoint's tokenizer that neither cuts nor pads; threads may share it.

    Transformers' own class sets padding and truncation anew at each call, which threads must not share.
    """
    found = Tokenizer.from_str(tokenizer(folder).backend_tokenizer.to_str())
    found.no_padding()
    found.no_truncation()
    return found


def tensors(folder: Path, file: str = _WEIGHTS, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return a safetensors file's tensors by name, on the CPU; only those whose names begin so are read.

    Raises:
        ModelUnavailable: it is missing, or not safetensors.
    """
    with _readable(folder, file), safe_open(folder / file, framework="pt") as stored:
        names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118  # no dict
        return {name: stored.get_tensor(name) for name in names}


def said(folder: Path, file: str) -> dict[str, Any]:
    """Return what a JSON file of the checkpoint says; nothing where it is not there.

    Raises:
        ModelUnavailable: it is not JSON.
    """
    path = folder / file
    if not path.is_file():
        return {}
    with _readable(folder, file):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def _loaded(folder: Path, kind: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    # In float32 always, and rounded later: for another precision transformers changes torch's default one
    # meanwhile, and that is the same for all threads, the device thread at its work among them.
    settled = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "output_loading_info": True,
        # Told with the missing ones, in words of our own.
        "ignore_mismatched_sizes": True,
        **LOCAL,
        **options,
    }
    try:
        found: tuple[Any, dict[str, Any]] = kind.from_pretrained(
            folder, **{"attn_implementation": "sdpa", **settled}
        )
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        found = kind.from_pretrained(folder, **{"attn_implementation": "eager", **settled})
    return found


@contextmanager
def _readable(folder: Path, what: str) -> Iterator[None]:
    """Name what transformers raises at files that are missing or broken: nearly anything."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelUnavailable(
            f"{what} of the checkpoint in {folder.name} cannot be read: {error}"
        ) from error
