"""Makes tiny tokenizers and text encoders with transformers and records what they compute.

    python make_text_goldens.py [--output fixtures]
    python make_text_goldens.py --output FOLDER --clip_vocabulary bpe_simple_vocab_16e6.txt.gz

The first makes what is committed. The second makes goldens of CLIP's tokenizer with its full
vocabulary, every code point of Unicode among the texts; README.md beside this file says where the
vocabulary is from and how the test is run on it.
"""

import argparse
import collections
import gzip
import io
import json
import shutil
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel,
                          T5Tokenizer)

from text_corpus import CASES, TRAINING

CLIP_LENGTH = 77
CLIP_MERGES = 300
T5_PIECES = 400
EXTRA_IDS = 20
IDS_KEPT = 160


def byte_letters() -> dict[int, str]:
    """Printable stand-ins of the 256 bytes, as GPT-2's byte-level BPE has them."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {b: chr(256 + i) for i, b in enumerate(others)}


def train_bpe(text: str, count: int) -> list[tuple[str, str]]:
    letters = byte_letters()
    words = collections.Counter()
    for word in text.lower().split():
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
            symbols = []
            for symbol in word:
                if symbols and (symbols[-1], symbol) == best:
                    symbols[-1] += symbol
                else:
                    symbols.append(symbol)
            merged[tuple(symbols)] += times
        words = merged
    return merges


def added_token(content: str, special: bool = True, **flags) -> dict:
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False,
                special=special) | flags


def write_json(path: Path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_clip_tokenizer(folder: Path, merges: list[tuple[str, str]]):
    """The files that FLUX.1's tokenizer/ has."""
    letters = [*byte_letters().values()]
    tokens = sorted(letters) + [letter + "</w>" for letter in sorted(letters)]
    tokens += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    assert len(vocabulary) == len(tokens)
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    start, end = len(tokens) - 2, len(tokens) - 1
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(start): added_token("<|startoftext|>", normalized=True),
                                 str(end): added_token("<|endoftext|>")},
        "bos_token": "<|startoftext|>", "clean_up_tokenization_spaces": True,
        "do_lower_case": True, "eos_token": "<|endoftext|>", "errors": "replace",
        "model_max_length": CLIP_LENGTH, "pad_token": "<|endoftext|>",
        "tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"})
    write_json(folder / "special_tokens_map.json", {
        "bos_token": added_token("<|startoftext|>", normalized=True), "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"})


def train_unigram(pieces: int, **rules) -> bytes:
    """As T5's: pad 0, end 1, unknown 2, no beginning of sequence, no dummy prefix left out."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING.splitlines()), model_writer=model, model_type="unigram",
        vocab_size=pieces, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, minloglevel=2, **rules)
    return model.getvalue()


def write_t5_tokenizer(folder: Path, model: bytes):
    """The files that FLUX.1's tokenizer_2/ has, without tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    added = {"0": added_token("<pad>"), "1": added_token("</s>"), "2": added_token("<unk>")}
    for i in range(EXTRA_IDS):
        added[str(pieces + i)] = added_token(f"<extra_id_{EXTRA_IDS - 1 - i}>", lstrip=True,
                                             rstrip=True)
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": True, "added_tokens_decoder": added,
        "additional_special_tokens": [f"<extra_id_{i}>" for i in range(EXTRA_IDS)],
        "clean_up_tokenization_spaces": True, "eos_token": "</s>", "extra_ids": EXTRA_IDS,
        "legacy": True, "model_max_length": 512, "pad_token": "<pad>",
        "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer", "unk_token": "<unk>"})


def all_code_points() -> list[dict]:
    """Every code point between letters, 64 to a text."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    return [dict(name=f"code points {points[i]:x}",
                 text=" ".join(f"A{chr(point)}b" for point in points[i:i + 64]))
            for i in range(0, len(points), 64)]


def digest(ids: list[int]) -> int:
    """Changes with every id and every place."""
    value = 0
    for token in ids:
        value = (value * 31 + token + 1) % 2**31
    return value


def record(folder: Path, tokenizer, cases: list[dict]):
    """One case a line; of many ids the first, how many there are, and a digest of all."""
    lines = []
    for case in cases:
        ids = tokenizer(case["text"] * case.get("repeat", 1)).input_ids
        lines.append(json.dumps(case | dict(ids=ids[:IDS_KEPT], count=len(ids),
                                            digest=digest(ids))))
    special = dict(pad=tokenizer.pad_token_id, end=tokenizer.eos_token_id,
                   size=len(tokenizer), length_max=tokenizer.model_max_length)
    (folder / "goldens.json").write_text(
        json.dumps(special)[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n")


def record_clip(folder: Path, cases: list[dict]):
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    record(folder, tokenizer, cases)
    for case in CASES:  # how the pipelines pad and cut
        text = case["text"] * case.get("repeat", 1)
        ids = tokenizer(text).input_ids
        padded = tokenizer(text, padding="max_length", max_length=CLIP_LENGTH,
                           truncation=True).input_ids
        expected = ids[:CLIP_LENGTH]
        expected[-1] = tokenizer.eos_token_id
        assert padded == expected + [tokenizer.pad_token_id] * (CLIP_LENGTH - len(expected))


def record_t5(folder: Path, cases: list[dict]):
    record(folder, T5Tokenizer.from_pretrained(folder / "tokenizer"), cases)


def make_tokenizers(output: Path):
    clip = output / "text_clip_bpe"
    write_clip_tokenizer(clip / "tokenizer", train_bpe(TRAINING, CLIP_MERGES))
    record_clip(clip, CASES)

    # T5's own rules of normalization, nmt_nfkc.
    t5 = output / "text_t5_unigram"
    write_t5_tokenizer(t5 / "tokenizer",
                       train_unigram(T5_PIECES, normalization_rule_name="nmt_nfkc"))
    record_t5(t5, CASES)

    # What transformers 5 saves of a tokenizer, tokenizer.json and tokenizer_config.json only.
    clip_json = output / "text_clip_json"
    CLIPTokenizer.from_pretrained(clip / "tokenizer").save_pretrained(clip_json / "tokenizer")
    record_clip(clip_json, CASES)
    t5_json = output / "text_t5_json"
    write_t5_tokenizer(t5_json / "slow",
                       train_unigram(T5_PIECES // 2, normalization_rule_name="identity",
                                     user_defined_symbols=["<sep>"]))
    T5Tokenizer.from_pretrained(t5_json / "slow").save_pretrained(t5_json / "tokenizer")
    shutil.rmtree(t5_json / "slow")
    record_t5(t5_json, CASES)


def make_full_clip(output: Path, vocabulary: Path):
    lines = gzip.open(vocabulary, "rt", encoding="utf-8").read().split("\n")
    # The file goes on beyond what CLIP uses.
    merges = [tuple(line.split()) for line in lines[1:49152 - 256 - 2 + 1]]
    folder = output / "text_clip_bpe"
    write_clip_tokenizer(folder / "tokenizer", merges)
    record_clip(folder, CASES + all_code_points())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    parser.add_argument("--clip_vocabulary", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.clip_vocabulary is not None:
        make_full_clip(arguments.output, arguments.clip_vocabulary)
        return
    make_tokenizers(arguments.output)


if __name__ == "__main__":
    main()
