"""Tiny checkpoints of what writes about pictures, BLIP and chat models, as transformers saves them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    CLIPImageProcessor,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.parity.tiny_weights import seeded

SIDE = 32
_WORDS = """
a an the photo picture of in on with and is are there what who where how many which colour animal this that
it not no yes red green blue white black cat dog horse boat house tree door cup bridge sea sky man woman
child sits stands runs two three one water grass table old young small large behind before ? . ,
"""
WORDS = re.findall(r"\S+", _WORDS)
_LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_END = "<end_of_utterance>"
_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}"
    "{{ part['text'] }}{% endif %}{% endfor %}" + _END + "\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def tiny_blip_captioner(folder: Path, seed: int = 11) -> None:
    """Save a BLIP that captions."""
    _save_blip(folder, BlipForConditionalGeneration, seed)


def tiny_blip_vqa(folder: Path, seed: int = 12) -> None:
    """Save a BLIP that answers."""
    _save_blip(folder, BlipForQuestionAnswering, seed)


def tiny_smolvlm(folder: Path, seed: int = 13, *, split: bool = False) -> None:
    """Save a SmolVLM of the first generation: an Idefics3 over a Llama.

    Args:
        folder: where to.
        seed: of the weights.
        split: whether its processor cuts larger pictures into tiles.
    """
    words = _chat_tokenizer("<fake_token_around_image>", "<global-img>", *_places())
    text = {**_LAYERS, "model_type": "llama", "num_key_value_heads": 2, "vocab_size": len(words)}
    text |= {"max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = Idefics3Config(
        vision_config={**_LAYERS, "image_size": SIDE, "patch_size": 8},
        text_config=text,
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    sides = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    images = Idefics3ImageProcessor(**sides, do_image_splitting=split)
    processor = Idefics3Processor(images, words, image_seq_len=4, chat_template=_CHAT)
    _save_chat(folder, seeded(Idefics3ForConditionalGeneration(config), seed), processor)


def tiny_llava(folder: Path, seed: int = 14) -> None:
    """Save a LLaVA 1.5: a CLIP's eyes before a Llama."""
    words = _chat_tokenizer()
    text = {**_LAYERS, "model_type": "llama", "num_key_value_heads": 2, "vocab_size": len(words)}
    vision = {**_LAYERS, "model_type": "clip_vision_model", "image_size": SIDE, "patch_size": 8}
    config = LlavaConfig(
        vision_config=vision,
        text_config={**text, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_CHAT,
        num_additional_image_tokens=1,
    )
    _save_chat(folder, seeded(LlavaForConditionalGeneration(config), seed), processor)


def _save_blip(folder: Path, kind: Any, seed: int) -> None:
    words = _blip_tokenizer(folder)
    text = {**_LAYERS, "encoder_hidden_size": 32, "vocab_size": len(words), "max_position_embeddings": 64}
    text |= {"bos_token_id": words.bos_token_id, "sep_token_id": words.sep_token_id, "pad_token_id": 0}
    config = BlipConfig(
        text_config=text, vision_config={**_LAYERS, "image_size": SIDE, "patch_size": 8}, projection_dim=16
    )
    network = seeded(kind(config), seed)
    # So that some sentences end early, and others of their batch go on.
    network.text_decoder.cls.predictions.bias.data[words.sep_token_id] += 4
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _blip_tokenizer(folder: Path) -> Any:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *("##" + letter for letter in letters)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *pieces, *WORDS]
    unique = list(dict.fromkeys(tokens))
    words = BertTokenizer(vocab={token: number for number, token in enumerate(unique)})
    # As BLIP's authors have it: [DEC] begins what the decoder writes.
    words.add_special_tokens({"bos_token": "[DEC]"})
    return words


def _chat_tokenizer(*more: str) -> Any:
    special = ["<pad>", "<|im_start|>", _END, "<image>", *more]
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<|im_start|>",
        eos_token=_END,
        additional_special_tokens=["<image>", *more],
        padding_side="left",
    )


def _places() -> list[str]:
    return [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]


def _save_chat(folder: Path, network: Any, processor: Any) -> None:
    # As in BLIP above: where it speaks for the end, it does so loudly.
    network.lm_head.weight.data[2] *= 3
    network.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
