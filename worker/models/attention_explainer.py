"""Where a picture shows a text, by the attention of the network that compares the two.

Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers". In each layer of the picture's tower, attention A counts as far as more of it would raise the
logit y: mean over heads of max(0, dy/dA * A) (eq. 5). Relevance R begins as the identity and gathers it layer
by layer, R <- R + A' R (eq. 6); the row of the token that stands for the picture says what each patch did.

Built over a loaded CLIP or SigLIP, with whose weights it runs. Gradients exist in here and nowhere else.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models.capabilities import Explanation, ExplanationRequest, ModelCard, Scored
from worker.models.finite import require_finite
from worker.models.preprocessing import pixel_values
from worker.models.sources import Source
from worker.models.towers import Towers

_TEXTS_AT_ONCE = 256
#: What the attention of a batch and its gradient may take, in bytes; all layers' is in memory at once.
_ATTENTION_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the picture's tower made of a batch, with the graph that leads there."""

    #: (N, D), unit length.
    vectors: torch.Tensor
    #: One per layer, first to last: (N, heads, tokens, tokens).
    layers: Sequence[torch.Tensor]
    #: (N, heads, 1, tokens) of a pooling head's one query; None: the first token stands for the picture.
    head: torch.Tensor | None


class AttentionExplainer:
    """An `Explainer`."""

    def __init__(self, card: ModelCard, encoder: Towers) -> None:
        """Stand over an encoder; its vision network is copied, its weights are shared."""
        self._card = card
        self._encoder = encoder
        self._network = encoder.network
        self._vision = _twin(encoder.network.vision_model)
        self._device = torch.device(card.device)
        self._max_words = int(encoder.network.config.text_config.max_position_embeddings)
        sizes = encoder.network.config.vision_config
        self._side = int(sizes.image_size // sizes.patch_size)
        self._map_bytes = (
            2 * 4 * sizes.num_hidden_layers * sizes.num_attention_heads * (self._side**2 + 1) ** 2
        )

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._encoder.region_view

    @property
    def batch_limits(self) -> Mapping[str, int]:
        """Return how many pictures' attention fits into a gibibyte."""
        return {"explain": max(1, _ATTENTION_BYTES // self._map_bytes)}

    def warm_up(self) -> None:
        black = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.explain([ExplanationRequest(image=black, text="a cat")])

    def explain(self, requests: Sequence[ExplanationRequest]) -> list[Explanation]:
        """Return each pair's explanation: a cell of heat for each patch, a weight for each word.

        A word's weight is what the cosine loses when the text is read without it.
        """
        if not requests:
            return []
        texts = [_without_each(one.text.split(), self._max_words) for one in requests]
        vectors = self._read([[one.text, *rests] for one, rests in zip(requests, texts, strict=True)])
        images, heats = self._look(requests, np.stack([rows[0] for rows in vectors]))
        return [
            _explanation(one, rows @ image, heat)
            for one, rows, image, heat in zip(requests, vectors, images, heats, strict=True)
        ]

    def _read(self, groups: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return the vectors of each group's texts, float32 of shape (texts, D)."""
        texts = [text for group in groups for text in group]
        vectors = [
            vector
            for first in range(0, len(texts), _TEXTS_AT_ONCE)
            for vector in self._encoder.embed_texts(texts[first : first + _TEXTS_AT_ONCE])
        ]
        ends = np.cumsum([len(group) for group in groups])
        return np.split(np.stack(vectors), ends[:-1])

    def _look(
        self, requests: Sequence[ExplanationRequest], texts: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the pictures' vectors, (N, D), and their heat, (N, rows, columns)."""
        with torch.inference_mode(False), torch.enable_grad():
            pixels = pixel_values(
                [one.image for one in requests],
                self._encoder.preprocessing,
                self._device,
                self._network.dtype,
            )
            seen = self._see(pixels.requires_grad_(True))
            # Pictures do not see each other: the gradient of the sum is that of each.
            cosines = (seen.vectors * torch.from_numpy(texts).to(self._device)).sum()
            logits = self._network.logit_scale.float().exp() * cosines
            relevance = _relevance(seen, logits)
        vectors = seen.vectors.detach().cpu().numpy()
        heat = _normalised(relevance[:, -(self._side**2) :]).reshape(-1, self._side, self._side)
        heats: NDArray[np.float32] = heat.cpu().numpy()
        require_finite(vectors, heats)
        return vectors, heats

    def _see(self, pixels: torch.Tensor) -> _Seen:
        seen = self._vision(pixel_values=pixels, output_attentions=True)
        if hasattr(self._vision, "head"):
            pooled, head = _pooled(self._vision.head, seen.last_hidden_state)
        else:
            pooled, head = self._network.visual_projection(seen.pooler_output), None
        vectors = torch.nn.functional.normalize(pooled.float(), dim=-1)
        return _Seen(vectors, seen.attentions, head)


def load(source: Source) -> AttentionExplainer:
    """Return the explainer over the loaded joint encoder.

    Raises:
        BadConfiguration: that is neither a CLIP nor a SigLIP.
    """
    encoder = source.over.get("JointEncoder")
    if not isinstance(encoder, Towers):
        raise BadConfiguration(
            f"{source.card.id} is built over a JointEncoder with gradients, which is a CLIP or a SigLIP"
        )
    card = dataclasses.replace(source.card, device=encoder.card.device, dtype=encoder.card.dtype)
    return AttentionExplainer(card, encoder)


def _twin(vision: Any) -> Any:
    """Return the same network over the same weights, that tells its attention: the fast kernels do not."""
    shared = {id(tensor): tensor for tensor in (*vision.parameters(), *vision.buffers())}
    twin = copy.deepcopy(vision, shared)
    twin.set_attn_implementation("eager")
    return twin


def _pooled(head: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what SigLIP's pooling head makes of the last layer's tokens, and its attention.

    The head computes the same by a kernel that keeps the attention to itself.
    """
    attention = head.attention
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    queried = head.probe.expand(len(tokens), -1, -1), tokens, tokens
    queries, keys, values = (
        torch.nn.functional.linear(given, weight, bias)
        .reshape(*given.shape[:2], attention.num_heads, -1)
        .transpose(1, 2)
        for given, weight, bias in zip(queried, weights, biases, strict=True)
    )
    shares = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])).softmax(dim=-1)
    mixed = attention.out_proj((shares @ values).transpose(1, 2).flatten(2))
    pooled = mixed + head.mlp(head.layernorm(mixed))
    return pooled[:, 0], shares


def _relevance(seen: _Seen, logits: torch.Tensor) -> torch.Tensor:
    """Return what each token did for the picture's logit, float32 of shape (N, tokens).

    Only one row of R is asked for, so the product of all (1 + A') is taken from the last layer down.
    """
    maps = [*seen.layers, *([] if seen.head is None else [seen.head])]
    gradients = torch.autograd.grad(logits, maps)
    counted = [
        (gradient * attention).detach().float().clamp(min=0).mean(dim=1)
        for gradient, attention in zip(gradients, maps, strict=True)
    ]
    if seen.head is None:
        row = torch.zeros_like(counted[-1][:, :1])
        row[:, :, 0] = 1.0
    else:
        row = counted.pop()
    for layer in reversed(counted):
        row = row + row @ layer
    return row[:, 0]


def _normalised(relevance: torch.Tensor) -> torch.Tensor:
    """Return rows from 0 to 1, as the authors draw them; one that is the same everywhere is all 0."""
    least, most = relevance.aminmax(dim=1, keepdim=True)
    spread = most - least
    return torch.where(spread > 0, (relevance - least) / spread.where(spread > 0, 1.0), 0.0)


def _without_each(words: Sequence[str], limit: int) -> list[str]:
    """Return the text without each of its words; the encoder reads no word beyond the limit."""
    return [" ".join([*words[:place], *words[place + 1 :]]) for place in range(min(len(words), limit))]


def _explanation(
    request: ExplanationRequest, cosines: NDArray[np.float32], heat: NDArray[np.float32]
) -> Explanation:
    """Return the explanation; the first cosine is the whole text's, then come those without each word."""
    score, *rests = (float(cosine) for cosine in cosines.clip(-1.0, 1.0))
    words = request.text.split()
    weights = [score - rest for rest in rests] + [0.0] * (len(words) - len(rests))
    tokens: list[Scored] = list(zip(words, weights, strict=True))
    return Explanation(score=score, heat=heat, tokens=tokens)
