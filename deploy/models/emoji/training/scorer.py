"""The scorer: tells which caption a picture shows, so that quality can be measured.

A picture tower of convolutions and a text tower as CLIP's, trained together on all emoji without
skin tones by contrast (Radford et al. 2021). It is a measuring instrument, not a part of the
generator: it knows the held-out captions too, which is why it can judge pictures made for them.
`perceptual distance` compares the picture tower's inner features.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import CLIPTextModel

from autoencoder import to_model_range
from emoji_data import augmented, load_emoji, pixels
from stage import Stage, ema_state
from text import CLIP_LENGTH, CLIP_WIDTH, load_tokenizers, new_clip, token_ids

CHANNELS = (16, 32, 64, 128)
GROUPS = 8
EMBEDDING = 128
VARIANTS = 6
GALLERY = 200


class PictureTower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in = torch.nn.Conv2d(3, CHANNELS[0], 3, padding=1)
        inputs = (CHANNELS[0], *CHANNELS)
        self.down_blocks = torch.nn.ModuleList(
            DownEncoderBlock2D(inputs[i], channels, num_layers=1, resnet_groups=GROUPS,
                               add_downsample=channels != CHANNELS[-1], downsample_padding=0)
            for i, channels in enumerate(CHANNELS))
        self.norm_out = torch.nn.GroupNorm(GROUPS, CHANNELS[-1], eps=1e-6)
        self.projection = torch.nn.Linear(CHANNELS[-1], EMBEDDING, bias=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(pictures)
        for block in self.down_blocks:
            x = block(x)
        return self.projection(F.silu(self.norm_out(x)).mean((2, 3)))


class Scorer(torch.nn.Module):
    def __init__(self, clip: CLIPTextModel):
        super().__init__()
        self.image, self.text = PictureTower(), clip
        self.text_projection = torch.nn.Linear(CLIP_WIDTH, EMBEDDING, bias=False)
        self.log_scale = torch.nn.Parameter(torch.tensor(2.7))

    def embed_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.image(pictures), dim=1)

    def embed_texts(self, ids: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.text_projection(self.text(input_ids=ids).pooler_output), dim=1)


def disturb(pictures: torch.Tensor) -> torch.Tensor:
    """Generated pictures are softer, noisier and off in colour: so are the training's."""
    n, _, height, width = pictures.shape
    small = F.interpolate(pictures, scale_factor=random.choice([0.5, 0.35, 0.25]), mode="area")
    blurred = F.interpolate(small, (height, width), mode="bilinear")
    share = torch.rand(n, 1, 1, 1).square()
    pictures = torch.lerp(pictures, blurred, share.to(pictures.device))
    gain = 1 + 0.15 * torch.randn(n, 3, 1, 1)
    shift = 0.08 * torch.randn(n, 3, 1, 1)
    noise = torch.rand(n, 1, 1, 1).square() * 0.3 * torch.randn(pictures.shape)
    return (pictures * gain.to(pictures.device) + (shift + noise).to(pictures.device)).clamp(-1, 1)


def caption_variants(one, rng: random.Random) -> list[str]:
    """The caption, which counts twice, and the caption with keywords in two orders."""
    keywords = list(one.keywords)
    texts = [one.caption, one.caption]
    for _ in range(2):
        rng.shuffle(keywords)
        texts.append(", ".join([one.caption, *keywords[:3]]))
    return texts


def train_scorer(args):
    emoji = [one for one in load_emoji(args.data) if not one.skin_tone]
    rng = random.Random(args.seed)
    pool = np.stack([np.stack([augmented(one.picture, args.size, rng, mirror=False)
                               for _ in range(VARIANTS)]) for one in tqdm(emoji, desc="augment")])
    tokenizer = load_tokenizers(args.run)[0]
    texts = [text for one in emoji for text in caption_variants(one, rng)]
    ids = token_ids(tokenizer, texts, CLIP_LENGTH).view(len(emoji), 4, CLIP_LENGTH)
    scorer = Scorer(new_clip(tokenizer)).to(args.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(scorer.parameters(), args.learning_rate or 1e-3,
                                  betas=(0.9, 0.98), weight_decay=0.05)
    stage = Stage("scorer", scorer, [optimizer], args.run, args.minutes, ema_decay=0.99)
    batch = args.batch or 128

    def loss_of_step(step: int) -> torch.Tensor:
        random.seed(step)
        chosen = torch.randperm(len(emoji))[:batch]
        which = torch.randint(VARIANTS, (batch,))
        pictures = to_model_range(pool[chosen.numpy(), which.numpy()]).to(args.device)
        pictures = disturb(pictures).contiguous(memory_format=torch.channels_last)
        captions = ids[chosen, torch.randint(4, (batch,))].to(args.device)
        scale = scorer.log_scale.clamp(max=4.0).exp()
        logits = scale * scorer.embed_pictures(pictures) @ scorer.embed_texts(captions).T
        target = torch.arange(batch, device=args.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    stage.run(loss_of_step)


def gallery(args) -> list[dict]:
    """200 captions without skin tones: every held-out one, the rest drawn from the others."""
    emoji = [one for one in load_emoji(args.data) if not one.skin_tone]
    held_out = [one.caption for one in emoji if one.held_out]
    others = [one.caption for one in emoji if not one.held_out]
    chosen = sorted(random.Random(0).sample(others, GALLERY - len(held_out)))
    return ([dict(caption=caption, held_out=False) for caption in chosen] +
            [dict(caption=caption, held_out=True) for caption in sorted(held_out)])


def load_scorer(run: Path) -> Scorer:
    scorer = Scorer(new_clip(load_tokenizers(run)[0])).eval()
    scorer.load_state_dict(ema_state(run, "scorer"))
    return scorer


@torch.no_grad()
def rank_of_own(scorer: Scorer, tokenizer, pictures: np.ndarray, captions: list[str],
                own: list[int]) -> list[int]:
    """For each picture, how many captions score higher than its own (0: top-1)."""
    shown = scorer.embed_pictures(to_model_range(pictures))
    texts = scorer.embed_texts(token_ids(tokenizer, captions, CLIP_LENGTH))
    scores = shown @ texts.T
    return [(scores[i] > scores[i, index]).sum().item() for i, index in enumerate(own)]


@torch.no_grad()
def export_scorer(args, folder: Path):
    """config.json, model.safetensors (bfloat16), captions.json; prints how it does on real ones."""
    scorer, tokenizer = load_scorer(args.run), load_tokenizers(args.run)[0]
    captions = gallery(args)
    by_caption = {one.caption: one for one in load_emoji(args.data)}
    pictures = np.stack([pixels(by_caption[row["caption"]].picture, args.size)
                         for row in captions])
    scorer.to(torch.bfloat16).float()
    ranks = rank_of_own(scorer, tokenizer, pictures, [row["caption"] for row in captions],
                        list(range(len(captions))))
    print(f"scorer on the {len(ranks)} real pictures: top-1 {np.mean(np.array(ranks) < 1):.3f}, "
          f"top-5 {np.mean(np.array(ranks) < 5):.3f}")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(torch.bfloat16).contiguous()
               for name, tensor in scorer.state_dict().items()
               if name != "log_scale" and not name.endswith("position_ids")}
    tensors = {name if not name.startswith("text.") or name.startswith("text.text_model.")
               else "text.text_model." + name.removeprefix("text."): tensor
               for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(_class_name="CaptionScorer", image_size=args.size, in_channels=3,
                  block_out_channels=CHANNELS, layers_per_block=1, norm_num_groups=GROUPS,
                  projection_dim=EMBEDDING, text_config=scorer.text.config.to_diff_dict() |
                  {key: getattr(scorer.text.config, key) for key in
                   ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                    "num_attention_heads", "max_position_embeddings", "hidden_act",
                    "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id")})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "captions.json").write_text(
        json.dumps(dict(captions=captions), ensure_ascii=False, indent=1) + "\n")
