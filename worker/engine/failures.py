"""What a device's failures mean, told without importing torch: a failure of torch has imported it."""

from __future__ import annotations

import gc
import sys

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "failed to allocate memory",
    # cuBLAS and cuDNN say it as a CUDA error, which is otherwise sticky.
    "status_alloc_failed",
)
_STICKY = ("cuda error", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a smaller batch may succeed: host, CUDA and ONNX Runtime memory alike."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # ONNX Runtime's own errors are plain exceptions.
    from_runtime = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return from_runtime and _says(error, _OUT_OF_MEMORY)


def is_sticky(error: BaseException) -> bool:
    """Return whether every later call would fail as well: only a new process gets the device back."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and _says(error, _STICKY)


def release_memory() -> None:
    """Give cached memory back to the device; call it outside the `except`, whose traceback keeps tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return any(phrase in str(error).lower() for phrase in phrases)
