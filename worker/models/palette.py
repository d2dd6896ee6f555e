"""The basic colour terms, and how much of each some pixels hold.

The eleven terms of Berlin and Kay (1969), and beige: what is neither brown nor yellow nor white is common in
photographs. A pixel has the name of the nearest of some sixty example colours, by distance in CIELAB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import Pixels, Scored

#: Colours that people call so, 0xRRGGBB: light, full and dark ones. Chosen by eye on photographs, where a
#: light grey is mostly white in the shade: a polar bear, snow.
_EXAMPLES: Mapping[str, Sequence[int]] = {
    "black": (0x000000, 0x1C1C1C, 0x14141E, 0x1E1814),
    "grey": (0x555555, 0x808080, 0xA0A0A0, 0x6E7682, 0x88827C, 0x3C3C3E),
    "white": (0xFFFFFF, 0xECECEC, 0xD2D2D2, 0xFAF5F0, 0xEBE1D7, 0xD7DCE6, 0xC8D0DC),
    "red": (0xFF0000, 0xD2201E, 0xA01414, 0x78101A, 0xE04638, 0xB43A30),
    "orange": (0xFF8C00, 0xF06E1E, 0xFFAA46, 0xE85A1E, 0xD87820),
    "yellow": (0xFFE600, 0xFADC50, 0xDCBE1E, 0xFFF596, 0xE6C83C),
    "green": (0x009600, 0x3CB43C, 0x78C83C, 0x14501E, 0x5A7832, 0xA8D26E, 0x96B45A, 0x008C5A, 0x405A28),
    "blue": (
        0x0000FF,
        0x1E50C8,
        0x4682DC,
        0x82B4EB,
        0x141E5A,
        0x283C78,
        0xAACDEB,
        0x00789B,
        0x00B4D2,
        0x3C6482,
    ),
    "purple": (0x800080, 0x5A1E8C, 0xA05ABE, 0xBE96D7, 0x4B285A),
    "pink": (0xFF96BE, 0xFF69B4, 0xFABEC8, 0xDC508C, 0xEBA5A8),
    "brown": (0x8C501E, 0x643C19, 0x3C230F, 0xAA6E3C, 0x784632, 0x966E50, 0x50372A),
    "beige": (0xE1CDAA, 0xD2BE96, 0xBEAA82, 0xF0E1C3, 0xE6D2BE, 0xC8AF96),
}
#: Every name there is.
NAMES: tuple[str, ...] = tuple(_EXAMPLES)
#: What else people write.
SYNONYMS: Mapping[str, str] = {
    "gray": "grey",
    "violet": "purple",
    "golden": "yellow",
    "crimson": "red",
    "scarlet": "red",
    "tan": "beige",
}
#: Linear sRGB to CIE XYZ under D65, and D65's white (IEC 61966-2-1).
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)
_EDGE = 6 / 29


def colours(pixels: Pixels, weights: NDArray[np.float32] | None = None) -> list[Scored]:
    """Return every name with its share of some pixels, largest first; the shares sum to 1.

    Args:
        pixels: of any shape (..., 3), at least one.
        weights: of shape (...), how much each counts, not negative; where they sum to 0 all count alike.
    """
    rows = pixels.reshape(-1, 3)
    counted = np.ones(len(rows)) if weights is None else weights.reshape(-1).astype(np.float64)
    if counted.sum() <= 0:
        counted = np.ones(len(rows))
    # Photographs repeat their colours: at 5 bits a channel no name changes that any eye would notice.
    codes, back = np.unique(_codes(rows), return_inverse=True)
    masses = np.bincount(back.reshape(-1), weights=counted, minlength=len(codes))
    shares = np.bincount(_nearest(_decoded(codes)), weights=masses, minlength=len(NAMES)) / counted.sum()
    return [(NAMES[index], min(float(shares[index]), 1.0)) for index in np.argsort(-shares, kind="stable")]


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB of sRGB values in [0, 255], shape (..., 3): L in [0, 100], a and b around 0."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > _EDGE**3, np.cbrt(xyz), xyz / (3 * _EDGE**2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _codes(rows: Pixels) -> NDArray[np.int64]:
    bits = (rows >> 3).astype(np.int64)
    codes: NDArray[np.int64] = bits[:, 0] << 10 | bits[:, 1] << 5 | bits[:, 2]
    return codes


def _decoded(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the colours in the middle of what each code covers; black and white stay so."""
    bits = np.stack([codes >> 10, codes >> 5 & 31, codes & 31], axis=-1)
    return bits * (255.0 / 31.0)


def _nearest(rgb: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place in `NAMES` of each colour's name."""
    examples = [(place, code) for place, name in enumerate(NAMES) for code in _EXAMPLES[name]]
    known = lab(
        np.array([[code >> 16, code >> 8 & 255, code & 255] for _, code in examples], dtype=np.float64)
    )
    far = np.square(lab(rgb)[:, None] - known[None]).sum(axis=-1)
    names: NDArray[np.int64] = np.array([place for place, _ in examples])[far.argmin(axis=1)]
    return names
