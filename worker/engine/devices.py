"""Which device this process uses."""

from __future__ import annotations

from shared.errors import BadConfiguration


def choose_device(wanted: str) -> str:
    """Return the device to load models on: `cpu` or `cuda:<index>`.

    Args:
        wanted: `auto` takes the first CUDA device, or else the CPU.

    Raises:
        BadConfiguration: the wanted device is not on this machine.
    """
    import torch  # noqa: PLC0415  # seconds to import: whoever only names the engine must not pay for it

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if count else "cpu"
    if wanted == "cuda":
        wanted = "cuda:0"
    if wanted == "cpu" or wanted in {f"cuda:{index}" for index in range(count)}:
        return wanted
    have = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
    raise BadConfiguration(
        f"ICONOTEXT_DEVICE={wanted}: there is no such device here; this machine has {have}"
    )
