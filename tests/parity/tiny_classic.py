"""The classic profile's checkpoints, tiny, with seeded weights, in folders as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing
from torchvision.models import VGG16_Weights
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from worker.models.networks.fusion_head import FusionHead

LABELS = ("kitchen", "street", "forest", "beach", "stage")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_END = "<|endoftext|>"
#: Of VGG16's channels and of its two wide layers.
_WIDTH = 1 / 16
_CLASSES = 1000


def tiny_bert(folder: Path) -> Path:
    """Save a BERT of two layers with a masked-language head, as bert-base-uncased is published."""
    words = {word for label in _imagenet() for word in label.lower().replace("-", " ").split()}
    pieces = sorted({character for word in words for character in word})
    vocabulary = [*_SPECIAL, *pieces, *(f"##{piece}" for piece in pieces), *sorted(words - set(pieces))]
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    _seeded(BertForMaskedLM, config, seed=1).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


def tiny_gpt2(folder: Path) -> Path:
    """Save a GPT-2 of two layers over bytes, whose sentences vary with their beginnings."""
    alphabet = sorted(ByteLevel.alphabet())
    ids = {token: number for number, token in enumerate([*alphabet, _END])}
    tokenizer = Tokenizer(BPE(ids, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    config = GPT2Config(
        vocab_size=len(ids),
        n_positions=96,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=ids[_END],
        eos_token_id=ids[_END],
        # As small as GPT-2's own, all but the last token would drown in it.
        initializer_range=0.4,
    )
    _seeded(GPT2LMHeadModel, config, seed=2).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_END, eos_token=_END).save_pretrained(
        folder
    )
    return folder


def tiny_prefix(folder: Path, *, image: int = 256, embedded: int = 32, length: int = 4) -> Path:
    """Save a trained projection beside a GPT-2: from `tiny_vgg16`'s features to so many vectors."""
    random = torch.Generator().manual_seed(6)
    shapes = {"0": (48, image), "2": (length * embedded, 48)}
    tensors = {f"{name}.weight": torch.randn(shape, generator=random) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": torch.randn(shape[0], generator=random) for name, shape in shapes.items()}
    tensors["0.weight"] /= image**0.5
    save_file(tensors, folder / "prefix.safetensors")
    return folder


def tiny_vgg16(folder: Path) -> Path:
    """Save a VGG16 with a sixteenth of its channels."""
    return _saved(vgg16(), folder, architecture="vgg16")


def tiny_resnet18(folder: Path) -> Path:
    """Save a ResNet-18, which is small enough as it is."""
    return _saved(resnet18(), folder, architecture="resnet18")


def tiny_fusion_head(folder: Path, *, text: int = 32, image: int = 256) -> Path:
    """Save a head over `tiny_bert` and `tiny_vgg16`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        head = FusionHead(text=text, image=image, dim=24, hidden=16, labels=len(LABELS))
    # Of the size that trained ones have, so that the answers differ.
    state = {name: one * 3 for name, one in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    _write_config(folder, labels=list(LABELS))
    return folder


def vgg16(width: float = _WIDTH) -> VGG:
    """Return torchvision's VGG16 with seeded weights, all its layers narrowed alike."""
    layers = [layer if isinstance(layer, str) else int(layer * width) for layer in cfgs["D"]]
    channels, hidden = int(512 * width), int(4096 * width)
    with torch.device("meta"):
        network = VGG(make_layers(layers), num_classes=_CLASSES, init_weights=False)
        network.classifier[0] = torch.nn.Linear(channels * 49, hidden)
        network.classifier[3] = torch.nn.Linear(hidden, hidden)
        network.classifier[6] = torch.nn.Linear(hidden, _CLASSES)
    return _filled(network, seed=3)


def resnet18() -> ResNet:
    """Return torchvision's ResNet-18 with seeded weights."""
    with torch.device("meta"):
        network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=_CLASSES)
    return _filled(network, seed=4)


def _filled(network: Any, seed: int) -> Any:
    """Return a network in evaluation mode whose layers keep the size of what passes through them."""
    network = network.to_empty(device="cpu").eval()
    random = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.normal_(0.0, (2 / tensor[0].numel()) ** 0.5, generator=random)
        elif name.endswith(("bn1.weight", "running_var", "downsample.1.weight")):
            tensor.uniform_(0.5, 1.0, generator=random)
        elif name.endswith("bn2.weight"):
            # Residuals would add up otherwise.
            tensor.uniform_(0.1, 0.3, generator=random)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.05, generator=random)
        else:
            tensor.zero_()
    return network


def _saved(network: Any, folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    _write_config(folder, **config)
    return folder


def _write_config(folder: Path, **config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _seeded(kind: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()


def _imagenet() -> list[str]:
    names: list[str] = VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    return names
