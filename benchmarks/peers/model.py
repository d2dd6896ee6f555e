"""The model that every peer serves, on nothing but numpy, Pillow and ONNX Runtime.

Imported by the peers' servers in their own environments, so nothing but this package is imported here. The
preprocessing is that of `worker/media/images.py` for an upright JPEG; `python -m benchmarks.peers` refuses to
time a side whose vector differs from this service's.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers import variables

_SIDE = 224
_CROP = 0.875
_DRAFT_GAP = 1.5
_REDUCING_GAP = 3.0

Pixels = NDArray[np.uint8]


def decode(content: bytes) -> Pixels:
    """Return the centre of a JPEG, bicubic, uint8 of shape (224, 224, 3)."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        left, top, right, bottom = _kept(image.size)
        scale = _DRAFT_GAP * _SIDE / (right - left), _DRAFT_GAP * _SIDE / (bottom - top)
        image.draft(None, (math.ceil(image.width * scale[0]), math.ceil(image.height * scale[1])))
        picture = image.convert("RGB") if image.mode != "RGB" else image
        view = picture.resize(
            (_SIDE, _SIDE), Image.Resampling.BICUBIC, box=_kept(picture.size), reducing_gap=_REDUCING_GAP
        )
        return np.asarray(view)


def _kept(size: tuple[int, int]) -> tuple[float, float, float, float]:
    kept = min(size) / _SIDE * _CROP * _SIDE
    left, top = (size[0] - kept) / 2, (size[1] - kept) / 2
    return left, top, left + kept, top + kept


class Model:
    """One session on the exported graph; thread-safe."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get(variables.THREADS, "1"))
        options.inter_op_num_threads = 1
        # A waiting thread that spins takes a core from the process that decodes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ[variables.MODEL]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        # The pooled features come first; what follows are class probabilities, computed on this side too.
        self._output = self._session.get_outputs()[0].name
        self.encode([np.zeros((_SIDE, _SIDE, 3), np.uint8)])

    def embed(self, contents: Sequence[bytes]) -> list[str]:
        """Return what `encode` does for the files of pictures."""
        return self.encode([decode(content) for content in contents])

    def encode(self, pictures: Sequence[Pixels]) -> list[str]:
        """Return each picture's unit vector as base64 of little-endian float32."""
        (pooled,) = self._session.run([self._output], {self._input: np.stack(pictures)})
        vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return [base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") for row in vectors]
