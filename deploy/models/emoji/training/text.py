"""The tokenizers, trained on the captions, and the two small text encoders of FLUX.1's kinds."""

import collections
import io
import json
import random
import re
from pathlib import Path

import sentencepiece
import torch
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel,
                          T5Tokenizer)

from emoji_data import load_emoji, prompt_for

CLIP_LENGTH = 24  # tokens; longer prompts are cut, as FLUX.1 does after 77
T5_LENGTH = 24  # and after 512
CLIP_MERGES = 1600
T5_PIECES = 2000
CLIP_WIDTH = 96
T5_WIDTH = 192


def byte_letters() -> dict[int, str]:
    """Printable stand-ins of the 256 bytes, as byte-level BPE vocabularies write them."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {b: chr(256 + i) for i, b in enumerate(others)}


def merge_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def train_bpe(texts: list[str], count: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: the `count` merges, each of the most frequent pair left."""
    letters = byte_letters()
    words = collections.Counter()
    for text in texts:
        for word in re.findall(r"[^\W\d_]+|\d|[^\s\w]+", text.lower()):
            symbols = [letters[byte] for byte in word.encode()]
            words[(*symbols[:-1], symbols[-1] + "</w>")] += 1
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        merged = collections.Counter()
        for word, times in words.items():
            merged[merge_pair(word, best)] += times
        words = merged
    return merges


def write_json(path: Path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_clip_tokenizer(folder: Path, merges: list[tuple[str, str]]):
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(byte_letters().values())
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    assert len(vocabulary) == len(tokens)
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {
        "bos_token": "<|startoftext|>", "do_lower_case": True, "eos_token": "<|endoftext|>",
        "model_max_length": CLIP_LENGTH, "pad_token": "<|endoftext|>",
        "tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"})


def write_t5_tokenizer(folder: Path, texts: list[str]):
    """Unigram pieces; upper and lower case are one (nmt_nfkc_cf)."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="unigram",
        vocab_size=T5_PIECES, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0,
        normalization_rule_name="nmt_nfkc_cf", num_threads=1, minloglevel=2)
    (folder / "spiece.model").write_bytes(model.getvalue())
    write_json(folder / "tokenizer_config.json", {
        "additional_special_tokens": [], "eos_token": "</s>", "extra_ids": 0, "legacy": True,
        "model_max_length": T5_LENGTH, "pad_token": "<pad>", "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>"})


def train_tokenizers(args):
    emoji = [one for one in load_emoji(args.data) if not one.held_out]
    texts = [", ".join([one.caption, *one.keywords]) for one in emoji if not one.skin_tone]
    rng = random.Random(args.seed)
    texts += [prompt_for(one, rng) for one in emoji]
    write_clip_tokenizer(args.run / "tokenizer", train_bpe(texts, CLIP_MERGES))
    write_t5_tokenizer(args.run / "tokenizer_2", texts)
    clip, t5 = load_tokenizers(args.run)
    for text in ("red apple", "A RED apple", "grinning cat, smile", "man running: facing right"):
        print(text, clip.tokenize(text), t5.tokenize(text))


def load_tokenizers(run: Path) -> tuple[CLIPTokenizer, T5Tokenizer]:
    return (CLIPTokenizer.from_pretrained(run / "tokenizer"),
            T5Tokenizer.from_pretrained(run / "tokenizer_2"))


def new_clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=CLIP_WIDTH, intermediate_size=4 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=CLIP_LENGTH, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


def new_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(T5Config(
        vocab_size=len(tokenizer), d_model=T5_WIDTH, d_kv=48, d_ff=2 * T5_WIDTH, num_layers=2,
        num_heads=4, feed_forward_proj="gated-gelu", relative_attention_num_buckets=16,
        relative_attention_max_distance=32, dropout_rate=0.0))


def token_ids(tokenizer, texts: list[str], length: int) -> torch.Tensor:
    """len(texts) x length int64, padded and cut as FluxPipeline does."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=length,
                     return_tensors="pt").input_ids
