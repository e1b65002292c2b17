"""Makes a tiny random caption scorer and records what diffusers, transformers and scikit-image
compute.

    python make_scorer_goldens.py [--output fixtures]

The towers are made of diffusers' DownEncoderBlock2D and transformers' CLIPTextModel. Takes the
tokenizer that make_text_goldens.py made. Everything is seeded and single-threaded; README.md beside
this file describes every tensor.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D
from make_dit_goldens import randomise
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CONFIG = dict(_class_name="CaptionScorer", image_size=16, in_channels=3,
              block_out_channels=[8, 16, 24], layers_per_block=2, norm_num_groups=4,
              projection_dim=12)
TEXT = dict(vocab_size=814, hidden_size=16, intermediate_size=40, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=32, hidden_act="quick_gelu",
            bos_token_id=812, eos_token_id=813, pad_token_id=813)
NAMES = ["red apple", "grinning cat", "rocket", "pizza", "snowman", "a blue bicycle",
         "sleeping face with a very long nose and two hats, one green and one of straw, "
         "in the rain",
         "42 stars", "caf\u00e9 au lait", "green apple", "dog", "house in a wood"]


class ImageTower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        channels = CONFIG["block_out_channels"]
        self.conv_in = torch.nn.Conv2d(3, channels[0], 3, padding=1)
        before, blocks = channels[0], []
        for i, count in enumerate(channels):
            blocks.append(DownEncoderBlock2D(
                before, count, num_layers=CONFIG["layers_per_block"],
                resnet_groups=CONFIG["norm_num_groups"], downsample_padding=0,
                add_downsample=i + 1 < len(channels)))
            before = count
        self.down_blocks = torch.nn.ModuleList(blocks)
        self.norm_out = torch.nn.GroupNorm(CONFIG["norm_num_groups"], before, eps=1e-6)
        self.projection = torch.nn.Linear(before, CONFIG["projection_dim"], bias=False)

    def forward(self, pixels):
        """Features of each block before its downsampler, and the embedding of length 1."""
        hidden, features = self.conv_in(pixels), []
        for block in self.down_blocks:
            for resnet in block.resnets:
                hidden = resnet(hidden, temb=None)
            features.append(hidden)
            for downsampler in block.downsamplers or ():
                hidden = downsampler(hidden)
        hidden = functional.silu(self.norm_out(hidden)).mean(dim=(2, 3))
        return features, functional.normalize(self.projection(hidden), dim=-1)


class CaptionScorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.image = ImageTower()
        self.text = CLIPTextModel(CLIPTextConfig(**TEXT))
        self.text_projection = torch.nn.Linear(TEXT["hidden_size"], CONFIG["projection_dim"],
                                               bias=False)


def perceptual_distance(a, b):
    distances = []
    for x, y in zip(a, b):
        x, y = (value / (value.square().sum(1, keepdim=True).sqrt() + 1e-10) for value in (x, y))
        distances.append((x - y).square().sum(1).mean())
    return torch.stack(distances).mean().item()


def make_pictures():
    """Name: u8 [height, width, 3]. Pairs of one size are compared."""
    generator = np.random.default_rng(7)
    y, x = np.mgrid[0:16, 0:16]
    smooth = np.stack([x * 16, y * 16, 255 - x * 8 - y * 7], -1).astype(np.uint8)
    noise = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    near = np.clip(smooth.astype(int) + generator.integers(-6, 7, smooth.shape), 0, 255)
    large = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    large[:, :20] //= 3
    blurred = (large.astype(int) + np.roll(large, 1, 0) + np.roll(large, 1, 1)) // 3
    wide = generator.integers(0, 256, (11, 29, 3), dtype=np.uint8)
    return dict(smooth=smooth, near=near.astype(np.uint8), noise=noise, large=large,
                blurred=blurred.astype(np.uint8), wide=wide, wide_dark=wide // 2,
                hue=smooth[:, :, ::-1].copy())


PAIRS = [("near", "smooth"), ("noise", "smooth"), ("hue", "smooth"), ("blurred", "large"),
         ("wide_dark", "wide")]


def make_scorer(output: Path, tokenizer_folder: Path):
    scorer = CaptionScorer().eval()
    randomise(scorer, 4000)
    tensors = {}
    for name, value in scorer.state_dict().items():
        if name.startswith("text.") and not name.startswith("text.text_model."):
            name = "text.text_model." + name.removeprefix("text.")
        tensors[name] = value.contiguous()
    output.mkdir(parents=True)
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    config = CONFIG | {"text_config": scorer.text.config.to_dict()}
    (output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    captions = [dict(caption=name, held_out=i % 4 == 3) for i, name in enumerate(NAMES)]
    (output / "captions.json").write_text(json.dumps({"captions": captions}, indent=1) + "\n")
    shutil.copytree(tokenizer_folder, output / "tokenizer")
    return scorer


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    fixtures = parser.parse_args().output
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    output = fixtures / "scorer"
    shutil.rmtree(output, ignore_errors=True)
    tokenizer_folder = fixtures / "text_clip_bpe" / "tokenizer"
    scorer = make_scorer(output / "scorer", tokenizer_folder)

    tensors, features = {}, {}
    pictures = make_pictures()
    for name, picture in pictures.items():
        tensors[f"{name}.picture"] = torch.from_numpy(picture)
        if picture.shape[0] != picture.shape[1]:
            continue
        pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None] / 127.5 - 1
        pixels = functional.avg_pool2d(pixels, picture.shape[0] // CONFIG["image_size"])
        features[name], embedding = scorer.image(pixels)
        tensors[f"{name}.embedding"] = embedding[0]
        if name == "large":
            for i, level in enumerate(features[name]):
                tensors[f"{name}.level.{i}"] = level[0].permute(1, 2, 0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    ids = tokenizer(NAMES, padding="max_length", max_length=TEXT["max_position_embeddings"],
                    truncation=True, return_tensors="pt").input_ids
    pooled = scorer.text(ids).pooler_output
    tensors["captions"] = functional.normalize(scorer.text_projection(pooled), dim=-1)

    pairs = []
    for name, reference in PAIRS:
        a, b = pictures[name], pictures[reference]
        pair = dict(picture=name, reference=reference, psnr=peak_signal_noise_ratio(b, a),
                    ssim=structural_similarity(a, b, gaussian_weights=True, sigma=1.5,
                                               use_sample_covariance=False, data_range=255,
                                               channel_axis=2))
        if name in features:
            pair["perceptual"] = perceptual_distance(features[name], features[reference])
        pairs.append({key: value if isinstance(value, str) else float(value)
                      for key, value in pair.items()})
    save_file({key: value.contiguous() for key, value in tensors.items()},
              output / "goldens.safetensors")
    lines = ",\n".join(json.dumps(pair) for pair in pairs)
    (output / "goldens.json").write_text(
        '{"goldens": "goldens.safetensors", "pairs": [\n' + lines + "\n]}\n")
    total = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"{output.name}: {len(tensors)} tensors, {total / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
