"""Pictures as spectra: what an optimiser moves, so that all frequencies and colours are moved alike.

As in Olah, Mordvintsev and Schubert 2017, "Feature Visualization" (Distill), and its code, tensorflow/lucid
(`optvis/param`): coefficients of a real Fourier transform, scaled by 1/f as natural pictures are, in colours
that do not correlate, through a sigmoid.
"""

from __future__ import annotations

import math

import torch

#: The square root of the colours' covariance in ImageNet, one column for each uncorrelated colour: light, and
#: two of hue (lucid, `optvis/param/color.py`).
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
#: Divides what the transform gives, so that a step moves colours about as far as one on pixels would (lucid,
#: `optvis/param/spatial.py`).
_DAMPING = 4.0
#: What hues count beside light: at 1, eighty steps leave a picture nearly grey.
_HUE = 2.0
#: Falls a little faster than 1/f: fewer fine ripples.
_FALL = 1.15
#: Of the noise that a picture starts from; a hundredth of what a finished one has.
_NOISE = 0.01
#: Black and white are infinitely far away; this close to them, a pixel rounds to them.
_EDGE = 0.25 / 255


def noise(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Return the coefficients of grey with some noise, float32 of shape (3, height, width // 2 + 1, 2)."""
    return torch.randn((3, height, width // 2 + 1, 2), generator=generator) * _NOISE


def decoded(coefficients: torch.Tensor, width: int) -> torch.Tensor:
    """Return the picture, float32 of shape (3, height, width) in [0, 1], RGB."""
    height = coefficients.shape[1]
    spectrum = torch.view_as_complex(coefficients) * _scale(height, width, coefficients.device)
    colours: torch.Tensor = torch.fft.irfft2(spectrum, s=(height, width)) / _DAMPING
    return torch.einsum("rc,chw->rhw", _rgb(colours.device), colours).sigmoid()


def encoded(picture: torch.Tensor) -> torch.Tensor:
    """Return the coefficients of a picture; what `decoded` makes of them rounds to the same bytes.

    Args:
        picture: float32 of shape (3, height, width) in [0, 1], RGB.
    """
    _, height, width = picture.shape
    logits = torch.logit(picture.clamp(_EDGE, 1 - _EDGE))
    colours = torch.einsum("cr,rhw->chw", torch.linalg.inv(_rgb(picture.device)), logits)
    spectrum = torch.fft.rfft2(colours * _DAMPING) / _scale(height, width, picture.device)
    return torch.view_as_real(spectrum).contiguous()


def _rgb(device: torch.device) -> torch.Tensor:
    """Return the matrix from uncorrelated colours to RGB; its longest column, that of light, has length 1."""
    matrix = torch.tensor(_COLOURS, device=device)
    scaled: torch.Tensor = matrix / torch.linalg.vector_norm(matrix, dim=0).max()
    return scaled * torch.tensor([1.0, _HUE, _HUE], device=device)


def _scale(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return what each coefficient counts, by its frequency, shape (height, width // 2 + 1)."""
    rows = torch.fft.fftfreq(height, device=device)[:, None]
    columns = torch.fft.rfftfreq(width, device=device)[None]
    frequencies = torch.hypot(rows, columns).clamp(min=1 / max(height, width))
    scale: torch.Tensor = math.sqrt(height * width) / frequencies**_FALL
    return scale
