"""The article's own head: a text attends over a picture's cells, and both together are classified."""

from __future__ import annotations

import torch


class FusionHead(torch.nn.Module):
    """Text vectors (N, T) and cells (N, C, I) to logits (N, labels).

    One query, the text's, over keys and values, the cells' (scaled dot-product attention, Vaswani et al.
    2017); the query and what it finds, side by side, go through two layers. The projections are what the
    article leaves out: a text vector and a feature map differ in length, and neither can multiply the other.

    Args:
        text: T.
        image: I.
        dim: of query, keys and values.
        hidden: of the layer between.
        labels: how many.
    """

    def __init__(self, *, text: int, image: int, dim: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.query = torch.nn.Linear(text, dim)
        self.key = torch.nn.Linear(image, dim)
        self.value = torch.nn.Linear(image, dim)
        self.classifier = torch.nn.Sequential(
            torch.nn.Linear(2 * dim, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, labels)
        )

    def forward(self, texts: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        query = self.query(texts)[:, None]
        found = torch.nn.functional.scaled_dot_product_attention(query, self.key(cells), self.value(cells))
        logits: torch.Tensor = self.classifier(torch.cat([query, found], dim=-1)[:, 0])
        return logits
