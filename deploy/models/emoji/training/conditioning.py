"""Gives the text encoders a head start: prompts that name like pictures get like embeddings.

Both encoders learn by contrast with a throw-away picture tower (Radford et al. 2021), on the
training captions alone. A generator that starts with them follows prompts after a tenth of the
steps that it needs from random ones.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from autoencoder import to_model_range
from emoji_data import augmented, load_emoji, prompt_for
from scorer import EMBEDDING, PictureTower, disturb
from stage import Stage
from text import CLIP_LENGTH, CLIP_WIDTH, T5_LENGTH, T5_WIDTH, load_tokenizers, new_clip, new_t5
from text import token_ids

SIZE = 32  # pixels; small pictures suffice to tell them apart
VARIANTS = 4
PROMPTS = 8


class Conditioning(torch.nn.Module):
    def __init__(self, run):
        super().__init__()
        clip_tokenizer, t5_tokenizer = load_tokenizers(run)
        self.pad = t5_tokenizer.pad_token_id
        self.image = PictureTower()
        self.clip, self.t5 = new_clip(clip_tokenizer), new_t5(t5_tokenizer)
        self.clip_projection = torch.nn.Linear(CLIP_WIDTH, EMBEDDING, bias=False)
        self.t5_projection = torch.nn.Linear(T5_WIDTH, EMBEDDING, bias=False)
        self.log_scale = torch.nn.Parameter(torch.tensor(2.7))

    def embed_clip(self, ids):
        return F.normalize(self.clip_projection(self.clip(input_ids=ids).pooler_output), dim=1)

    def embed_t5(self, ids):
        """The mean over the prompt's tokens: each carries a part of what it shows."""
        real = (ids != self.pad).float()[:, :, None]
        hidden = self.t5(input_ids=ids).last_hidden_state
        return F.normalize(self.t5_projection((hidden * real).sum(1) / real.sum(1)), dim=1)


def train_conditioning(args):
    emoji = [one for one in load_emoji(args.data) if not one.held_out and not one.skin_tone]
    rng = random.Random(args.seed)
    pool = np.stack([np.stack([augmented(one.picture, SIZE, rng, mirror=False)
                               for _ in range(VARIANTS)]) for one in tqdm(emoji, desc="augment")])
    prompts = [prompt_for(one, rng) for one in emoji for _ in range(PROMPTS)]
    clip_tokenizer, t5_tokenizer = load_tokenizers(args.run)
    clip_ids = token_ids(clip_tokenizer, prompts, CLIP_LENGTH).view(len(emoji), PROMPTS, -1)
    t5_ids = token_ids(t5_tokenizer, prompts, T5_LENGTH).view(len(emoji), PROMPTS, -1)
    model = Conditioning(args.run).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), args.learning_rate or 1e-3,
                                  betas=(0.9, 0.98), weight_decay=0.02)
    stage = Stage("conditioning", model, [optimizer], args.run, args.minutes, ema_decay=0.99)
    batch = args.batch or 192

    def loss_of_step(step: int) -> torch.Tensor:
        random.seed(step)
        chosen = torch.randperm(len(emoji))[:batch]
        which = torch.randint(VARIANTS, (batch,))
        prompt = torch.randint(PROMPTS, (batch,))
        pictures = disturb(to_model_range(pool[chosen.numpy(), which.numpy()]).to(args.device))
        shown = model.image(pictures.contiguous(memory_format=torch.channels_last))
        shown = model.log_scale.clamp(max=4.0).exp() * F.normalize(shown, dim=1)
        target = torch.arange(batch, device=args.device)
        loss = 0.0
        for texts in (model.embed_clip(clip_ids[chosen, prompt].to(args.device)),
                      model.embed_t5(t5_ids[chosen, prompt].to(args.device))):
            logits = shown @ texts.T
            loss += F.cross_entropy(logits, target) / 4 + F.cross_entropy(logits.T, target) / 4
        return loss

    stage.run(loss_of_step)
