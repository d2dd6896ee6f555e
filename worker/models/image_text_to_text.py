"""A chat model that sees: it captions and answers. SmolVLM (Marafioti et al. 2025), LLaVA (Liu et al. 2023).

Its own processor decides how a picture and a chat become its input. A manifest's `options` may hold
`ask_caption` and `ask_answer`, the words that it is asked with, `{question}` in the latter; `max_tokens`, its
longest answer; and `images`, a table for its image processor, `{do_image_splitting = false}`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from shared.errors import BadConfiguration, ModelUnavailable
from worker.media.views import View
from worker.models import checkpoints
from worker.models.answers import chosen, found
from worker.models.capabilities import Caption, CaptionRequest, ModelCard, Pixels, Question, Scored
from worker.models.finite import require_finite
from worker.models.greedy import Surety
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import preprocessing_of
from worker.models.sources import Source
from worker.models.words import Words, on_device, padded

#: Of a question, a prompt or a candidate; what is longer is cut.
_MOST_TOKENS = 256
_CANDIDATES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How the model is asked, and how long it may answer."""

    ask_caption: str = "Describe the image in one sentence."
    ask_answer: str = "{question} Answer briefly."
    max_tokens: int = 20
    #: For its image processor.
    images: Mapping[str, Any] = field(default_factory=dict)


class ImageTextToText:
    """A `Captioner` and an `Answerer`. It writes the likeliest next token, again and again.

    A caption comes without evidence. A free answer comes alone, without alternatives; its confidence is the
    mean probability of its tokens and its end, the geometric one, so that a long answer is not unsure because
    it is long. Of candidates it computes each one's probability, and then that of each given that it is one
    of them.
    """

    def __init__(self, card: ModelCard, network: Any, processor: Any, manner: Manner) -> None:
        """Take over a network that is on its device, and its processor, which only the device thread uses."""
        self._card = card
        self._network = network
        self._processor = processor
        self._manner = manner
        self._device = torch.device(card.device)
        self._words = Words(processor.tokenizer)
        self._pad = int(processor.tokenizer.pad_token_id or 0)
        self._ends = _ends(network.generation_config.eos_token_id, processor.tokenizer.eos_token_id)
        self._marks = _marks(processor)
        self._view = preprocessing_of(processor.image_processor).view

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._view

    def warm_up(self) -> None:
        side = min(self.view.width, self.view.height)
        black = np.zeros((side, side, 3), dtype=np.uint8)
        self.caption([CaptionRequest(black, None, 4)])
        self.answer([Question(black, "What is this?", ()), Question(black, "What is this?", ("a cat", "x"))])

    @torch.inference_mode()
    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        """Return a sentence for each picture; `max_tokens` counts those that follow its prompt.

        All are written to the longest of the batch and cut each at its own.
        """
        if not requests:
            return []
        begun = [self._plain(one.prompt or "") for one in requests]
        chats = [self._chat(self._manner.ask_caption, start) for start in begun]
        written, _ = self._written(
            [one.image for one in requests], chats, max(one.max_tokens for one in requests)
        )
        texts = [
            self._words.raw_text(row[: one.max_tokens]) for row, one in zip(written, requests, strict=True)
        ]
        return [Caption(text=f"{start}{text}".strip()) for start, text in zip(begun, texts, strict=True)]

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question]) -> list[Sequence[Scored]]:
        """Return for each question its candidates, surest first, or its one answer."""
        answers: dict[int, Sequence[Scored]] = {}
        free = [index for index, one in enumerate(questions) if not one.candidates]
        if free:
            asked = [questions[index] for index in free]
            chats = [self._asked(one) for one in asked]
            rows, scores = self._written([one.image for one in asked], chats, self._manner.max_tokens)
            for index, row, score in zip(free, rows, scores, strict=True):
                answers[index] = found([self._words.text(row)], [score])
        for index, one in enumerate(questions):
            if one.candidates:
                answers[index] = chosen(one.candidates, self._likelihoods(one))
        return [answers[index] for index in range(len(questions))]

    def _written(
        self, images: Sequence[Pixels], chats: Sequence[str], most: int
    ) -> tuple[list[list[int]], list[float]]:
        """Return what the model says in each chat, up to its end, and the mean logarithm of its tokens."""
        inputs, surety = self._inputs(images, chats), Surety()
        said = self._network.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=most,
            pad_token_id=self._pad,
            logits_processor=[surety],
        )
        rows = said[:, inputs["input_ids"].shape[1] :].tolist()
        lengths = [self._length(row) for row in rows]
        lines = zip(surety.logarithms(), lengths, strict=True)
        # Its end is one of an answer's tokens: before it the model could have gone on.
        scores = [float(line[: length + 1].mean()) for line, length in lines]
        return [row[:length] for row, length in zip(rows, lengths, strict=True)], scores

    def _likelihoods(self, question: Question) -> list[float]:
        """Return each candidate's logarithmic probability: of its tokens, and of any end after them.

        Picture and question are read once; each candidate goes on from there.
        """
        inputs = self._inputs([question.image], [self._asked(question)])
        read = self._network(**inputs, use_cache=True)
        first = read.logits[:, -1:]
        rows = [self._candidate(text) for text in question.candidates]
        scores: list[float] = []
        for start in range(0, len(rows), _CANDIDATES_AT_ONCE):
            part = rows[start : start + _CANDIDATES_AT_ONCE]
            scores += self._followed(part, first, read.past_key_values, inputs["attention_mask"])
        return scores

    def _followed(
        self, rows: Sequence[Sequence[int]], first: torch.Tensor, cache: Any, mask: torch.Tensor
    ) -> list[float]:
        ids, kept = (on_device(one, self._device) for one in padded(rows, self._pad))
        branches = copy.deepcopy(cache)
        branches.batch_repeat_interleave(len(rows))
        logits = self._network(
            input_ids=ids,
            attention_mask=torch.cat([mask.expand(len(rows), -1), kept], dim=1),
            past_key_values=branches,
        ).logits
        chances = torch.cat([first.expand(len(rows), -1, -1), logits], dim=1).float().log_softmax(dim=-1)
        of_words = chances[:, :-1].gather(2, ids.unsqueeze(2)).squeeze(2) * kept
        lengths = kept.sum(dim=1)
        of_end = chances[torch.arange(len(rows), device=self._device), lengths][:, self._ends].logsumexp(
            dim=1
        )
        sums = (of_words.sum(dim=1) + of_end).cpu().numpy()
        require_finite(sums)
        scores: list[float] = sums.tolist()
        return scores

    def _inputs(self, images: Sequence[Pixels], chats: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return what the network takes, on its device; shorter chats are padded in front."""
        inputs = self._processor(
            text=list(chats),
            images=[[Image.fromarray(image)] for image in images],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            **self._manner.images,
        )
        return {
            name: on_device(
                value.to(self._network.dtype) if value.is_floating_point() else value, self._device
            )
            for name, value in inputs.items()
        }

    def _chat(self, text: str, begun: str = "") -> str:
        """Return the chat as the checkpoint's template writes it, the model's turn begun."""
        content = [{"type": "image"}, {"type": "text", "text": text}]
        chat: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return f"{chat}{self._gap(chat)}{begun}" if begun else chat

    def _asked(self, question: Question) -> str:
        return self._chat(self._manner.ask_answer.format(question=self._plain(question.text)))

    def _candidate(self, text: str) -> list[int]:
        """Return a candidate's tokens as they follow the model's turn."""
        plain = self._plain(text)
        return self._words.ids(f"{self._gap(self._chat(''))}{plain}", _MOST_TOKENS)

    def _plain(self, text: str) -> str:
        """Return a caller's text as words only: its marks would end turns, or stand for pictures."""
        text = self._words.cut(text, _MOST_TOKENS)
        while any(mark in text for mark in self._marks):
            for mark in self._marks:
                text = text.replace(mark, " ")
        return text.strip()

    @staticmethod
    def _gap(chat: str) -> str:
        """Return what stands between `Assistant:` and its first word; a template may have put it there."""
        return "" if chat[-1:].isspace() else " "

    def _length(self, row: Sequence[int]) -> int:
        return next((place for place, token in enumerate(row) if token in self._ends), len(row))


def load(source: Source) -> ImageTextToText:
    """Return the model that another capability has loaded, or load it from the checkpoint's folder.

    Raises:
        ModelUnavailable: files are missing or broken, its processor needs a package that is not installed,
            or it has no chat template.
    """
    loaded = source.over.values()
    if shared := next((model for model in loaded if isinstance(model, ImageTextToText)), None):
        return shared
    folder = checkpoints.folder_of(source)
    processor = _processor(folder)
    dtype = dtype_of(source)
    network = checkpoints.network(folder, AutoModelForImageTextToText, dtype, source.card.device)
    manner = _manner(source)
    return ImageTextToText(card_at(source.card, dtype), network, processor, manner)


def _manner(source: Source) -> Manner:
    known = [one.name for one in fields(Manner)]
    if unknown := sorted(set(source.options) - set(known)):
        raise BadConfiguration(f"{source.card.id}: there is no option {unknown[0]}; use {', '.join(known)}")
    return Manner(**source.options)


def _processor(folder: Path) -> Any:
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, **checkpoints.LOCAL)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelUnavailable(f"{folder.name}: its processor cannot be used: {error}") from error
    if not getattr(processor, "chat_template", None):
        raise ModelUnavailable(f"{folder.name}: its processor has no chat template, so it cannot be asked")
    return processor


def _ends(*tokens: int | Sequence[int] | None) -> list[int]:
    """Return the tokens that end a turn, of the first of these that names any."""
    named = next(token for token in tokens if token is not None)
    return [named] if isinstance(named, int) else list(named)


def _marks(processor: Any) -> list[str]:
    """Return the texts that mean more than they say: ends of turns, places of pictures; longest first."""
    tokens = processor.tokenizer.added_tokens_decoder.values()
    marks = {token.content for token in tokens if token.special} | {str(processor.image_token)}
    return sorted((mark for mark in marks if mark.strip()), key=len, reverse=True)
