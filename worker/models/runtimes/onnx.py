"""ONNX Runtime on the CPU: exported once from the torch network, then read from the cache without torch."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from worker.models.cache import cache_path, read_checked, write_checked
from worker.models.runtimes.network import Answers, Operation, Place, Runtime

#: Goes up whenever `export` makes something else of the same network.
_VERSION = 1
_EXPORTED_ITEMS = 2
_ERRORS_ONLY = 3
#: With it a MiniLM takes an eighth more CPU time (onnxruntime 1.32, two cores with AVX-512).
_SLOWER = ["SkipLayerNormFusion"]


class OnnxSession:
    """A `Network`."""

    runtime: Runtime = "onnx"
    dtype = "float32"

    def __init__(self, model: bytes, threads: int) -> None:
        self.fingerprint = hashlib.sha256(model).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The cores also decode pictures: a thread that waits must not burn one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory grows by what is needed, not by doubling, and no plan is kept for each shape ever seen.
        options.enable_mem_pattern = False
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        providers = [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})]
        self._session = onnxruntime.InferenceSession(
            model, options, providers=providers, disabled_optimizers=_SLOWER
        )
        self._inputs = [argument.name for argument in self._session.get_inputs()]

    def __call__(self, *batch: NDArray[Any]) -> Answers:
        return tuple(self._session.run(None, dict(zip(self._inputs, batch, strict=True))))


def open_onnx(operation: Operation, place: Place) -> OnnxSession:
    """Return the operation as an ONNX Runtime session; exports it when the cache has no whole export."""
    path = export_path(operation, place)
    model = read_checked(path)
    if model is None:
        model = export(operation)
        write_checked(path, model)
    return OnnxSession(model, place.threads)


def export_path(operation: Operation, place: Place) -> Path:
    """Return the file that holds, or will hold, the operation's graph."""
    made_by = {name: version(name) for name in ("torch", "onnxruntime")}
    inputs = [_VERSION, operation.name, operation.version, operation.revision, made_by]
    return cache_path(place.cache_dir, f"{operation.name}.onnx", inputs)


def export(operation: Operation) -> bytes:
    """Return the operation's network as an ONNX model with its weights inside; takes some seconds.

    It traces the network (TorchScript): half a second, where torch's newer exporter takes four and hundreds
    of megabytes. A trace may hold what is true of its example only, so whether the model is right for other
    batches is measured; see `parity`.
    """
    import torch  # noqa: PLC0415  # seconds to import, and a worker with a whole cache never needs it

    # The exporter leaves every part in the mode that the whole was in, and a new module is in training mode.
    module = (operation.build_for_export or operation.build)().eval()
    example = tuple(torch.from_numpy(array) for array in operation.sample(_EXPORTED_ITEMS))
    names = [f"argument_{index}" for index in range(len(example))]
    varying = {
        name: {axis: f"{name}_axis_{axis}" for axis in axes}
        for name, axes in zip(names, operation.varying, strict=True)
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # What its parts say of each other's age, and of what a trace may miss.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module, example, path, dynamo=False, input_names=names, dynamic_axes=varying, verbose=False
        )
        return path.read_bytes()
