"""GPT-2 (Radford et al. 2019) as a writer of captions, from image features by way of a prefix.

The folder holds GPT-2 as transformers saves it, and may hold `prefix.safetensors`, a projection trained as
ClipCap's (`classic_prefix.TrainedPrefix`). Without it a projection is fitted on the names of the image
encoder's classes, once, and the model's grade is `starter`: it names, and GPT-2 makes up the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models import checkpoints
from worker.models.cache import cached_tensors
from worker.models.capabilities import (
    Caption,
    CaptionRequest,
    ImageEncoder,
    ImageFeatures,
    ModelCard,
    Pixels,
    Scored,
)
from worker.models.classic_prefix import FittedPrefix, Prefix, TrainedPrefix, fit_prefix
from worker.models.classic_writing import go_on
from worker.models.conse import LinearClassifier
from worker.models.placing import card_at, dtype_of
from worker.models.sources import Source
from worker.models.tokens import Tokens

#: Goes up whenever `fit_prefix` computes something else from the same weights.
_VERSION = 1
_TRAINED = "prefix.safetensors"
#: How a sentence begins when nobody says otherwise.
_BEGINNING = "a photo of"
_EVIDENCE = 5
#: Cut before tokenising, so that the tokenizer's work is bounded.
_MAX_CHARS_PER_TOKEN = 64


class Begun(NamedTuple):
    """A `CaptionRequest` whose beginning is tokens."""

    image: Pixels
    tokens: Tokens
    beginning: str
    max_tokens: int


class Gpt2Captioner:
    """A `Captioner` that `Prepares`."""

    def __init__(
        self, card: ModelCard, network: Any, tokenizer: Tokenizer, images: ImageEncoder, prefix: Prefix
    ) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself.
            network: a `GPT2LMHeadModel` of transformers.
            tokenizer: nobody changes it any more.
            images: what looks at the pictures, on the same device thread.
            prefix: from its features to the network's embeddings.
        """
        self._card = card
        self._network = network
        self._device = torch.device(card.device)
        self._tokenizer = tokenizer
        self._images = images
        self._prefix = prefix
        self._room = int(network.config.n_positions) - prefix.length
        self._ends = _ends(tokenizer, network.config.eos_token_id)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._images.view

    def warm_up(self) -> None:
        black = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.caption([CaptionRequest(image=black, prompt=None, max_tokens=2)])

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return requests with their beginnings as tokens, for `caption`; any thread may call it."""
        return [self._begun(one) for one in items] if method == "caption" else items

    def caption(self, requests: Sequence[CaptionRequest | Begun]) -> list[Caption]:
        """Return a sentence for each picture: it ends with a full stop, a line, GPT-2's end or `max_tokens`.

        Of a beginning that leaves no room for a sentence, GPT-2 reads the end.
        """
        if not requests:
            return []
        begun = [one if isinstance(one, Begun) else self._begun(one) for one in requests]
        seen = self._images.encode_images([one.image for one in begun])
        tokens = go_on(
            self._network,
            self._beginnings(begun, seen),
            [min(one.max_tokens, self._room // 2) for one in begun],
            self._ends,
        )
        return [
            Caption(text=one.beginning + self._text(written), evidence=self._evidence(features))
            for one, written, features in zip(begun, tokens, seen, strict=True)
        ]

    def _begun(self, request: CaptionRequest) -> Begun:
        beginning = _BEGINNING if request.prompt is None else request.prompt.rstrip()
        room = self._room - min(request.max_tokens, self._room // 2)
        ids = self._tokenizer.encode(beginning[-room * _MAX_CHARS_PER_TOKEN :]).ids[-room:]
        return Begun(request.image, Tokens(ids), beginning, request.max_tokens)

    @torch.inference_mode()
    def _beginnings(self, begun: Sequence[Begun], seen: Sequence[ImageFeatures]) -> list[torch.Tensor]:
        """Return for each picture the prefix and the embedded beginning, (T, E)."""
        embed = self._network.transformer.wte
        prefixes = self._prefix.project(seen).to(self._device, embed.weight.dtype)
        texts = [torch.tensor(one.tokens.ids, dtype=torch.long, device=self._device) for one in begun]
        return [torch.cat([prefix, embed(ids)]) for prefix, ids in zip(prefixes, texts, strict=True)]

    def _text(self, tokens: Sequence[int]) -> str:
        """Return what was written on its first line, without what no one can read."""
        line = self._tokenizer.decode(tokens, skip_special_tokens=True).partition("\n")[0]
        # A limit may cut a character of several tokens in two, and GPT-2 knows every byte, control codes too.
        whole = line.rstrip("\N{REPLACEMENT CHARACTER}")
        return "".join(character for character in whole if character.isprintable()).rstrip()

    def _evidence(self, features: ImageFeatures) -> list[Scored]:
        best = np.argsort(-features.probabilities, kind="stable")[:_EVIDENCE]
        return [
            (self._images.vocabulary[index], min(float(features.probabilities[index]), 1.0)) for index in best
        ]


def load(source: Source) -> Gpt2Captioner:
    """Load the writer from a folder as transformers saves it, over an ImageEncoder."""
    images = source.over.get("ImageEncoder")
    if not isinstance(images, ImageEncoder):
        raise BadConfiguration(f"{source.card.id} is built over an ImageEncoder")
    folder = source.require_folder()
    # In bf16 the likeliest token may change with the batch, and then the whole sentence does.
    dtype = dtype_of(source, on_gpu=torch.float32)
    tokenizer = checkpoints.shared_tokenizer(folder)
    network = checkpoints.network(folder, GPT2LMHeadModel, dtype, source.card.device)
    prefix, grade = _prefix(source, folder, images, network, tokenizer)
    card = dataclasses.replace(card_at(source.card, dtype), grade=grade)
    return Gpt2Captioner(card, network.to(card.device), tokenizer, images, prefix)


def _prefix(
    source: Source, folder: Path, images: ImageEncoder, network: Any, tokenizer: Tokenizer
) -> tuple[Prefix, Any]:
    """Return the projection, and the grade that the model has with it."""
    if (folder / _TRAINED).is_file():
        dims = images.dim, int(network.config.n_embd)
        return TrainedPrefix(checkpoints.tensors(folder, _TRAINED), dims), source.card.grade
    if not isinstance(images, LinearClassifier):
        raise BadConfiguration(
            f"{source.card.id} has no {_TRAINED}; to fit one, its ImageEncoder needs a linear last layer"
        )
    inputs = (_VERSION, source.card.revision, images.card.revision, list(images.vocabulary))
    maps = cached_tensors(
        source.place.cache_dir,
        "prefix",
        inputs,
        lambda: fit_prefix(images.class_weights(), _embedded(images.vocabulary, network, tokenizer)),
    )
    return FittedPrefix(maps), "test" if source.card.grade == "test" else "starter"


def _embedded(names: Sequence[str], network: Any, tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Return each name as GPT-2 embeds it within a sentence, the mean over its tokens, (V, E)."""
    embeddings = network.transformer.wte.weight.detach().float().cpu().numpy()
    # Within a sentence a word's first token carries the space before it.
    encoded = tokenizer.encode_batch([f" {name}" for name in names])
    return np.stack([embeddings[one.ids].mean(axis=0) for one in encoded])


def _ends(tokenizer: Tokenizer, end: int | None) -> frozenset[int]:
    """Return the tokens that end a sentence: GPT-2's end, a full stop, and whatever breaks the line."""
    texts = {
        number: tokenizer.decode([number], skip_special_tokens=False)
        for number in tokenizer.get_vocab(with_added_tokens=False).values()
    }
    found = {number for number, text in texts.items() if "\n" in text or text.strip() == "."}
    return frozenset(found if end is None else {*found, end})
