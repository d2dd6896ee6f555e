"""What writes about pictures writes as plain transformers does, alone and in a mixed batch of eight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
)

from tests.parity import tiny_language
from tests.parity.tiny_weights import noisy
from worker.models import blip, image_text_to_text
from worker.models.blip import BlipAnswerer, BlipCaptioner
from worker.models.capabilities import (
    UNKNOWN,
    Answerer,
    Captioner,
    CaptionRequest,
    ModelCard,
    Pixels,
    Question,
    Scored,
)
from worker.models.image_text_to_text import ImageTextToText
from worker.models.runtimes.network import Place
from worker.models.sources import Source

TOLERANCE = 1e-4
CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
LOCAL: dict[str, Any] = {"local_files_only": True}
PICTURES = noisy(tiny_language.SIDE, 8)
CHAT_MODELS = ["smolvlm", "smolvlm in tiles", "llava"]


def tiles(folder: Path) -> None:
    tiny_language.tiny_smolvlm(folder, split=True)


MAKERS: dict[str, Callable[[Path], None]] = {
    "captioner": tiny_language.tiny_blip_captioner,
    "vqa": tiny_language.tiny_blip_vqa,
    "smolvlm": tiny_language.tiny_smolvlm,
    "smolvlm in tiles": tiles,
    "llava": tiny_language.tiny_llava,
}
REQUESTS = [
    CaptionRequest(picture, prompt, max_tokens)
    for picture, prompt, max_tokens in zip(
        PICTURES,
        [None, "a photo of", "the", "a red cat sits on the old house and", None, "日本 cat", "", "a"],
        [5, 20, 3, 10, 1, 24, 12, 7],
        strict=True,
    )
]
QUESTIONS = [
    Question(picture, text, candidates)
    for picture, text, candidates in zip(
        PICTURES,
        [
            "what is this?",
            "how many cats are there in this old picture of a house?",
            "",
            "is it red",
            "日本",
            "what \x00 is \x1b[31m this",
            "where is the woman with the dog who stands behind the small house on the grass",
            "who?",
        ],
        [
            (),
            ("one", "two", "three red dogs"),
            (),
            ("yes", "no"),
            ("a", "", "日本"),
            (),
            (),
            tuple("abcdefgh"),
        ],
        strict=True,
    )
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp("checkpoint") for name in MAKERS}
    for name, folder in made.items():
        MAKERS[name](folder)
    return made


def source(folder: Path, capability: str, **options: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(
        capability=capability, card=CARD, weights=None, folder=folder, over={}, place=place, options=options
    )


def assert_same_answers(found: Sequence[Scored], expected: Sequence[Scored]) -> None:
    assert [answer for answer, _ in found] == [answer for answer, _ in expected]
    np.testing.assert_allclose(
        [score for _, score in found], [score for _, score in expected], atol=TOLERANCE
    )
    assert all(0 <= score <= 1 for _, score in found)


def surest_first(answers: Sequence[Scored]) -> list[Scored]:
    return sorted(answers, key=lambda one: -one[1])


def shares(logarithms: Sequence[float]) -> list[float]:
    return torch.tensor(logarithms, dtype=torch.float64).softmax(dim=0).tolist()


class PlainBlip:
    """BLIP as its documentation calls it, one picture at a time."""

    def __init__(self, folder: Path, kind: Any) -> None:
        self.network = kind.from_pretrained(folder, **LOCAL).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        self.images = AutoImageProcessor.from_pretrained(folder, **LOCAL)

    def inputs(self, image: Pixels, text: str | None) -> dict[str, torch.Tensor]:
        inputs = dict(self.images(images=Image.fromarray(image), return_tensors="pt"))
        if text is not None:
            inputs |= self.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        return inputs

    @torch.inference_mode()
    def caption(self, request: CaptionRequest) -> str:
        inputs = self.inputs(request.image, request.prompt or None)
        (ids,) = self.network.generate(
            **inputs, max_new_tokens=request.max_tokens, do_sample=False, num_beams=1
        )
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @torch.inference_mode()
    def answer(self, question: Question, beams: int = 3) -> list[Scored]:
        inputs = self.inputs(question.image, question.text)
        if question.candidates:
            logarithms = [self.logarithm(inputs, text) for text in question.candidates]
            return surest_first(list(zip(question.candidates, shares(logarithms), strict=True)))
        rows = self.network.generate(
            **inputs,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,
            max_new_tokens=20,
            do_sample=False,
        )
        texts = [self.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
        return surest_first([(text, float(np.exp(self.logarithm(inputs, text)))) for text in texts if text])

    def logarithm(self, inputs: dict[str, torch.Tensor], text: str) -> float:
        """Return the loss that the network is trained with, turned round, summed over the answer's tokens."""
        labels = self.tokenizer(text, return_tensors="pt").input_ids
        labels[:, 0] = self.tokenizer.bos_token_id
        return -float(self.network(**inputs, labels=labels).loss) * (labels.shape[1] - 1)


class PlainChat:
    """A chat model that sees as its documentation calls it, one picture at a time."""

    def __init__(self, folder: Path) -> None:
        self.network = AutoModelForImageTextToText.from_pretrained(folder, **LOCAL).eval()
        self.processor = AutoProcessor.from_pretrained(folder, **LOCAL)

    def chat(self, text: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return str(
            self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        )

    def inputs(self, image: Pixels, chat: str) -> Any:
        return self.processor(text=chat, images=[Image.fromarray(image)], return_tensors="pt")

    @torch.inference_mode()
    def caption(self, request: CaptionRequest) -> str:
        begun = request.prompt or ""
        inputs = self.inputs(
            request.image, self.chat("Describe the image in one sentence.") + (f" {begun}" if begun else "")
        )
        (ids,) = self.network.generate(**inputs, max_new_tokens=request.max_tokens, do_sample=False)
        new = ids[inputs["input_ids"].shape[1] :]
        return (begun + self.processor.decode(new, skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def answer(self, question: Question) -> list[Scored]:
        inputs = self.inputs(question.image, self.chat(f"{question.text} Answer briefly."))
        if question.candidates:
            logarithms = [self.logarithms(inputs, text).sum().item() for text in question.candidates]
            return surest_first(list(zip(question.candidates, shares(logarithms), strict=True)))
        said = self.network.generate(
            **inputs, max_new_tokens=20, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        ids = said.sequences[0, inputs["input_ids"].shape[1] :]
        chances = torch.stack([logits[0].log_softmax(dim=-1) for logits in said.logits])
        confidence = float(chances.gather(1, ids.unsqueeze(1)).mean().exp())
        text = self.processor.decode(ids, skip_special_tokens=True).strip()
        return [(text, confidence)] if text else [(UNKNOWN, 0.0)]

    def logarithms(self, inputs: Any, text: str) -> torch.Tensor:
        """Return those of the candidate's tokens and the end's, from one pass over the whole chat."""
        words = self.processor.tokenizer(f" {text}", return_tensors="pt", add_special_tokens=False).input_ids
        end = torch.tensor([[self.network.generation_config.eos_token_id]])
        answer = torch.cat([words, end], dim=1)
        whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], answer], dim=1)}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        chances = self.network(**whole).logits[:, -answer.shape[1] - 1 : -1].log_softmax(dim=-1)
        return chances.gather(2, answer.unsqueeze(2))


@pytest.fixture(scope="module")
def captioner(folders: dict[str, Path]) -> BlipCaptioner:
    model = blip.load(source(folders["captioner"], "Captioner"))
    assert isinstance(model, BlipCaptioner)
    return model


@pytest.fixture(scope="module")
def answerer(folders: dict[str, Path]) -> BlipAnswerer:
    model = blip.load(source(folders["vqa"], "Answerer"))
    assert isinstance(model, BlipAnswerer)
    return model


@pytest.fixture(scope="module", params=CHAT_MODELS)
def chat_folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture(scope="module")
def chat_model(chat_folder: Path) -> ImageTextToText:
    return image_text_to_text.load(source(chat_folder, "Captioner"))


@pytest.fixture(scope="module")
def plain_chat(chat_folder: Path) -> PlainChat:
    return PlainChat(chat_folder)


def test_blip_captions_as_transformers_does(captioner: BlipCaptioner, folders: dict[str, Path]) -> None:
    plain = PlainBlip(folders["captioner"], BlipForConditionalGeneration)
    expected = [plain.caption(request) for request in REQUESTS]
    assert [one.text for one in captioner.caption(REQUESTS)] == expected
    assert [captioner.caption([request])[0].text for request in REQUESTS] == expected
    assert len(set(expected)) > 5, "captions hardly differ, so this shows little"


def test_blip_answers_as_transformers_does(answerer: BlipAnswerer, folders: dict[str, Path]) -> None:
    plain = PlainBlip(folders["vqa"], BlipForQuestionAnswering)
    together = answerer.answer(QUESTIONS)
    for question, found in zip(QUESTIONS, together, strict=True):
        expected = plain.answer(question)
        assert_same_answers(found, expected)
        assert_same_answers(answerer.answer([question])[0], expected)


def test_a_chat_model_captions_as_transformers_does(
    chat_model: ImageTextToText, plain_chat: PlainChat
) -> None:
    expected = [plain_chat.caption(request) for request in REQUESTS]
    assert [one.text for one in chat_model.caption(REQUESTS)] == expected
    assert [chat_model.caption([request])[0].text for request in REQUESTS] == expected
    assert len(set(expected)) > 5, "captions hardly differ, so this shows little"


def test_a_chat_model_answers_as_transformers_does(
    chat_model: ImageTextToText, plain_chat: PlainChat
) -> None:
    together = chat_model.answer(QUESTIONS)
    for question, found in zip(QUESTIONS, together, strict=True):
        expected = plain_chat.answer(question)
        assert_same_answers(found, expected)
        assert_same_answers(chat_model.answer([question])[0], expected)


def test_pictures_of_mixed_shapes_share_a_batch(chat_folder: Path, plain_chat: PlainChat) -> None:
    """The engine asks for one shape a batch; a model that tiles gives each its own number of tiles."""
    model = image_text_to_text.load(source(chat_folder, "Captioner"))
    if model.view.fit != "inside":
        return
    wide = [np.ascontiguousarray(np.tile(picture, (1, 2, 1))) for picture in PICTURES[:4]]
    requests = [CaptionRequest(picture, None, 8) for picture in (*wide, *PICTURES[4:])]
    assert [one.text for one in model.caption(requests)] == [plain_chat.caption(one) for one in requests]


def test_each_serves_what_it_is_for(
    captioner: BlipCaptioner, answerer: BlipAnswerer, chat_model: ImageTextToText
) -> None:
    assert isinstance(captioner, Captioner)
    assert not isinstance(captioner, Answerer)
    assert isinstance(answerer, Answerer)
    assert isinstance(chat_model, Captioner)
    assert isinstance(chat_model, Answerer)
