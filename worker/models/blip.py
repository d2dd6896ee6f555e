"""BLIP (Li et al. 2022): a picture to a sentence, or a question about it to an answer.

Two checkpoints of one family: `BlipForConditionalGeneration` captions, `BlipForQuestionAnswering` answers.
For answers a manifest's `options` may hold `beams`, how many of them are looked for, and `max_tokens`, the
longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from worker.media.views import View
from worker.models import checkpoints
from worker.models.answers import chosen, found
from worker.models.capabilities import Caption, CaptionRequest, ModelCard, Pixels, Question, Scored
from worker.models.finite import require_finite
from worker.models.greedy import Surety
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import Preprocessing, pixel_values, preprocessing
from worker.models.sources import Source
from worker.models.words import Words, bounded, on_device, padded

#: As BLIP's authors look for answers (`num_beams=3` in their VQA).
_BEAMS = 3
_ANSWER_TOKENS = 20
#: Candidates whose likelihoods are computed at once.
_CANDIDATES_AT_ONCE = 128


class _Blip:
    """What both have: a picture's encoder, and a text decoder that looks at what it is given."""

    def __init__(self, card: ModelCard, network: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
        self._card = card
        self._network = network
        self._preprocessing = preprocessing
        self._device = torch.device(card.device)
        self._words = Words(tokenizer)
        self._text: Any = network.config.text_config
        # A half for what is given, a half for what is written, whoever shares the batch.
        self._half = int(self._text.max_position_embeddings) // 2

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._preprocessing.view

    def _black(self) -> Pixels:
        return np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)

    def _seen(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Return what the picture encoder says of each patch, (N, patches, F)."""
        values = pixel_values(images, self._preprocessing, self._device, self._network.dtype)
        seen: torch.Tensor = self._network.vision_model(pixel_values=values).last_hidden_state
        return seen

    def _moved(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        return [on_device(tensor, self._device) for tensor in tensors]

    def _generated(self, ids: torch.Tensor, **options: Any) -> torch.Tensor:
        """Return the decoder's ids, without sampling, on the CPU."""
        written: torch.Tensor = self._network.text_decoder.generate(
            input_ids=ids,
            eos_token_id=self._text.sep_token_id,
            pad_token_id=self._text.pad_token_id,
            do_sample=False,
            **options,
        )
        return written.cpu()


class BlipCaptioner(_Blip):
    """A `Captioner`: the likeliest next word, again and again. It gives no account: no evidence."""

    def warm_up(self) -> None:
        self.caption([CaptionRequest(self._black(), "a photo of", 8)])

    @torch.inference_mode()
    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        """Return a sentence for each picture; `max_tokens` counts those that follow its prompt.

        All are written to the longest of the batch and cut each at its own. A prompt is cut at half of the
        decoder's positions.
        """
        if not requests:
            return []
        begun = [
            [self._text.bos_token_id, *self._words.ids(one.prompt or "", self._half - 1)] for one in requests
        ]
        limits = [min(one.max_tokens, self._half) for one in requests]
        ids, mask = self._moved(*padded(begun, self._text.pad_token_id, "left"))
        seen = self._seen([one.image for one in requests])
        surety = Surety()
        written = self._generated(
            ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            max_new_tokens=max(limits),
            num_beams=1,
            logits_processor=[surety],
        )
        # Numbers that are none would still be written down as words.
        surety.logarithms()
        return [
            Caption(text=self._words.text([*start[1:], *row[ids.shape[1] :][:limit].tolist()]))
            for start, row, limit in zip(begun, written, limits, strict=True)
        ]


class BlipAnswerer(_Blip):
    """An `Answerer`. An answer's confidence is its probability: the product of its tokens' and its end's.

    Freely it gives what beam search finds, as far as the beams differ. Of candidates it computes each one's
    probability, and then that of each given that it is one of them.
    """

    def __init__(
        self,
        card: ModelCard,
        network: Any,
        tokenizer: Any,
        preprocessing: Preprocessing,
        *,
        beams: int = _BEAMS,
        max_tokens: int = _ANSWER_TOKENS,
    ) -> None:
        super().__init__(card, network, tokenizer, preprocessing)
        for layer in network.text_decoder.bert.encoder.layer:
            layer.crossattention.self.register_forward_pre_hook(_heed_mask, with_kwargs=True)
        self._beams = beams
        self._max_tokens = min(max_tokens, self._half)
        self._questions = self._words.limited(2 * self._half)

    def warm_up(self) -> None:
        black = self._black()
        self.answer([Question(black, "what is this?", ()), Question(black, "what is this?", ("a cat", "x"))])

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question]) -> list[Sequence[Scored]]:
        """Return for each question its candidates, or what beam search finds, surest first."""
        if not questions:
            return []
        asked, mask = self._asked(questions)
        free = [index for index, one in enumerate(questions) if not one.candidates]
        ids = dict(zip(free, self._searched(asked, mask, free), strict=True))
        ids |= {
            index: [self._words.ids(text, self._half) for text in one.candidates]
            for index, one in enumerate(questions)
            if one.candidates
        }
        likelihoods = self._likelihoods(asked, mask, ids)
        return [
            chosen(one.candidates, likelihoods[index])
            if one.candidates
            else found([self._words.text(row) for row in ids[index]], likelihoods[index])
            for index, one in enumerate(questions)
        ]

    def _asked(self, questions: Sequence[Question]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the question encoder, which sees the picture, says of each token, and their mask."""
        rows = [self._questions.encode(bounded(one.text, 2 * self._half)).ids for one in questions]
        ids, mask = self._moved(*padded(rows, self._text.pad_token_id))
        encoded = self._network.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=self._seen([one.image for one in questions]),
        )
        return encoded.last_hidden_state, mask

    def _searched(
        self, asked: torch.Tensor, mask: torch.Tensor, free: Sequence[int]
    ) -> list[list[list[int]]]:
        """Return the ids that beam search finds for some of the questions."""
        if not free:
            return []
        start = torch.full((len(free), 1), self._text.bos_token_id, device=self._device)
        written = self._generated(
            start,
            encoder_hidden_states=asked[list(free)],
            encoder_attention_mask=mask[list(free)],
            num_beams=self._beams,
            num_return_sequences=self._beams,
            # The sum of logarithms, so that the surest is the most probable; no penalty for being short.
            length_penalty=0.0,
            max_new_tokens=self._max_tokens,
        )
        rows = [self._until_end(row) for row in written[:, 1:].tolist()]
        return [rows[first : first + self._beams] for first in range(0, len(rows), self._beams)]

    def _until_end(self, row: list[int]) -> list[int]:
        end = self._text.sep_token_id
        return row[: row.index(end)] if end in row else row

    def _likelihoods(
        self, asked: torch.Tensor, mask: torch.Tensor, answers: dict[int, list[list[int]]]
    ) -> dict[int, list[float]]:
        """Return each answer's logarithmic probability by its question's place."""
        rows = [(index, row) for index, of_one in answers.items() for row in of_one]
        likelihoods: dict[int, list[float]] = {index: [] for index in answers}
        for first in range(0, len(rows), _CANDIDATES_AT_ONCE):
            part = rows[first : first + _CANDIDATES_AT_ONCE]
            places = [index for index, _ in part]
            scores = self._scored(asked[places], mask[places], [row for _, row in part])
            for place, score in zip(places, scores, strict=True):
                likelihoods[place].append(score)
        return likelihoods

    def _scored(self, asked: torch.Tensor, mask: torch.Tensor, rows: Sequence[Sequence[int]]) -> list[float]:
        text = self._text
        ids, kept = self._moved(*padded([[text.bos_token_id, *row] for row in rows], text.pad_token_id))
        wanted, _ = padded([[*row, text.sep_token_id] for row in rows], text.pad_token_id)
        logits = self._network.text_decoder(
            input_ids=ids,
            attention_mask=kept,
            encoder_hidden_states=asked,
            encoder_attention_mask=mask,
            use_cache=False,
        ).logits
        of_each = logits.float().log_softmax(dim=-1).gather(2, on_device(wanted, self._device).unsqueeze(2))
        sums = (of_each.squeeze(2) * kept).sum(dim=1).cpu().numpy()
        require_finite(sums)
        scores: list[float] = sums.tolist()
        return scores


def _heed_mask(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Have cross-attention leave out the padding of shorter questions.

    Transformers 5.23 hands the mask over as `attention_mask` and reads it as `encoder_attention_mask`, and so
    looks at padding too.
    """
    return args, {**kwargs, "encoder_attention_mask": kwargs.get("attention_mask")}


def load(source: Source) -> BlipCaptioner | BlipAnswerer:
    """Load a captioner or an answerer, whichever capability is asked for, from the checkpoint's folder.

    Raises:
        ModelUnavailable: files are missing or broken, or the checkpoint is of the other kind.
    """
    folder = checkpoints.folder_of(source)
    checkpoints.config(folder, "blip")
    dtype = dtype_of(source)
    answers = source.capability == "Answerer"
    kind = BlipForQuestionAnswering if answers else BlipForConditionalGeneration
    network = checkpoints.network(folder, kind, dtype, source.card.device)
    parts = card_at(source.card, dtype), network, checkpoints.tokenizer(folder), preprocessing(folder)
    if not answers:
        return BlipCaptioner(*parts)
    return BlipAnswerer(
        *parts,
        beams=int(source.options.get("beams", _BEAMS)),
        max_tokens=int(source.options.get("max_tokens", _ANSWER_TOKENS)),
    )
