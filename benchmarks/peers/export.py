"""The graph that the peers serve: the very one that this service serves on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from worker.models.cache import read_checked
from worker.models.registry import load_profile

#: How `worker.models.runtimes.onnx` names what it keeps.
_KEPT = "encode_images.onnx-*.checked"


def export(folder: Path) -> Path:
    """Return the path of the graph in `folder`, exported there from the starter profile's weights.

    Raises:
        RuntimeError: the export failed, so this service would not run it either.
    """
    profile = load_profile("starter", device="cpu", cache_dir=folder, runtime="onnx")
    profile.loadings["ImageEncoder"].load({})
    for kept in folder.glob(_KEPT):
        if (graph := read_checked(kept)) is not None:
            path = folder / "encode_images.onnx"
            path.write_bytes(graph)
            return path
    raise RuntimeError(f"EfficientNet-Lite0 was not exported into {folder}: see the log above")
