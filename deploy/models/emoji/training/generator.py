"""The generator: FLUX.1's transformer and its text encoders, trained together by flow matching."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxTransformer2DModel

from autoencoder import LATENT_CHANNELS, encode, load_autoencoder
from emoji_data import load_emoji, pixels, prompt_for, sampling_weights
from muon import Muon
from stage import Stage, ema_state
from text import CLIP_LENGTH, CLIP_WIDTH, T5_LENGTH, T5_WIDTH, load_tokenizers, new_clip, new_t5
from text import token_ids

PROMPTS_PER_EMOJI = 16
PROMPT_DROPOUT = 0.1
# Noise levels are shifted up (Esser et al. 2024), in training and in the schedule that ships. With
# so few pictures the noisy latents alone tell which one it is up to a level of about 0.85: only
# above it does the prompt matter, and has to be learned.
SHIFT = 3.0
# Prompts are padded to T5_LENGTH; most batches cut the padding short, for speed, and a few lengthen
# it, so that the model learns to look past it: FluxPipeline pads to 512 where nobody says less.
LENGTHS, LENGTH_WEIGHTS = (12, T5_LENGTH, 64), (0.7, 0.27, 0.03)
TRANSFORMER = dict(
    patch_size=1, in_channels=4 * LATENT_CHANNELS, num_layers=1, num_single_layers=5,
    attention_head_dim=64, num_attention_heads=3, joint_attention_dim=T5_WIDTH,
    pooled_projection_dim=CLIP_WIDTH, guidance_embeds=False, axes_dims_rope=(16, 24, 24))


class Generator(torch.nn.Module):
    """FLUX.1's transformer and its text encoders, which start as `conditioning` left them."""

    def __init__(self, run: Path):
        super().__init__()
        clip_tokenizer, t5_tokenizer = load_tokenizers(run)
        self.clip, self.t5 = new_clip(clip_tokenizer), new_t5(t5_tokenizer)
        self.transformer = FluxTransformer2DModel(**TRANSFORMER)
        if (run / "conditioning.pt").exists():
            state = ema_state(run, "conditioning")
            for name, module in (("clip.", self.clip), ("t5.", self.t5)):
                module.load_state_dict({key.removeprefix(name): value
                                        for key, value in state.items() if key.startswith(name)})
        # Each block begins as the identity and the output as zero (adaLN-Zero, Peebles & Xie 2023).
        zeroed = [self.transformer.proj_out, self.transformer.norm_out.linear]
        for block in self.transformer.transformer_blocks:
            zeroed += [block.norm1.linear, block.norm1_context.linear]
        zeroed += [block.norm.linear for block in self.transformer.single_transformer_blocks]
        for linear in zeroed:
            torch.nn.init.zeros_(linear.weight)
            torch.nn.init.zeros_(linear.bias)

    def forward(self, latents, sigma, clip_ids, t5_ids):
        """latents: N x 16 x h x w, noisy by sigma (N); the velocity (noise - clean), packed."""
        height, width = latents.shape[2] // 2, latents.shape[3] // 2
        rows = torch.arange(height, device=latents.device)
        columns = torch.arange(width, device=latents.device)
        places = torch.stack([torch.zeros(height * width, device=latents.device),
                              rows.repeat_interleave(width), columns.repeat(height)], 1)
        return self.transformer(
            hidden_states=pack(latents), timestep=sigma,
            encoder_hidden_states=self.t5(input_ids=t5_ids).last_hidden_state,
            pooled_projections=self.clip(input_ids=clip_ids).pooler_output,
            txt_ids=torch.zeros(t5_ids.shape[1], 3, device=latents.device), img_ids=places,
            return_dict=False)[0]


def pack(latents: torch.Tensor) -> torch.Tensor:
    """N x C x h x w to N x (h/2 * w/2) x 4C, the patches of FLUX.1."""
    n, c, h, w = latents.shape
    patches = latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(n, h // 2 * w // 2, 4 * c)


@dataclass
class Examples:
    latents: torch.Tensor  # emoji x C x h x w
    weights: torch.Tensor  # emoji
    clip_ids: torch.Tensor  # (emoji + 1) x PROMPTS_PER_EMOJI x CLIP_LENGTH; the last: no prompt
    t5_ids: torch.Tensor  # the same x 64


def load_examples(args) -> Examples:
    """Latents (with mean 0 and deviation 1 per channel) and token ids, kept in RUN.

    They are made once: the generator's targets must not move while it trains.
    """
    path = args.run / "examples.pt"
    if not path.exists():
        emoji = [one for one in load_emoji(args.data) if not one.held_out]
        images = np.stack([pixels(one.picture, args.size) for one in emoji])
        latents = encode(load_autoencoder(args.run, args.size), images, args.device)
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        latents = (latents - mean[:, None, None]) / deviation[:, None, None]
        rng = random.Random(args.seed)
        prompts = [prompt_for(one, rng) for one in emoji for _ in range(PROMPTS_PER_EMOJI)]
        prompts += [""] * PROMPTS_PER_EMOJI
        clip, t5 = load_tokenizers(args.run)
        shape = (len(emoji) + 1, PROMPTS_PER_EMOJI, -1)
        clip_ids = token_ids(clip, prompts, CLIP_LENGTH).view(shape)
        t5_ids = token_ids(t5, prompts, T5_LENGTH).view(shape)
        t5_ids = torch.nn.functional.pad(t5_ids, (0, max(LENGTHS) - T5_LENGTH),
                                         value=t5.pad_token_id)
        torch.save(dict(latents=latents, weights=torch.tensor(sampling_weights(emoji)),
                        clip_ids=clip_ids, t5_ids=t5_ids, mean=mean, deviation=deviation), path)
    saved = torch.load(path)
    return Examples(saved["latents"], saved["weights"], saved["clip_ids"], saved["t5_ids"])


def optimizers_for(model: Generator, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer's blocks, AdamW for everything else."""
    hidden, rest = [], []
    for name, p in model.named_parameters():
        in_block = "transformer_blocks." in name and p.ndim == 2 and "norm" not in name
        (hidden if in_block else rest).append(p)
    return [Muon(hidden, lr=learning_rate),
            torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)]


def train_generator(args):
    examples = load_examples(args)
    model = Generator(args.run).to(args.device)
    stage = Stage("generator", model, optimizers_for(model, args.learning_rate or 2e-3), args.run,
                  args.minutes, ema_decay=0.999)
    batch = args.batch or 64
    no_prompt = len(examples.latents)

    def loss_of_step(step: int) -> torch.Tensor:
        chosen = torch.multinomial(examples.weights, batch, replacement=True)
        clean = examples.latents[chosen].to(args.device)
        # Strata of the logit-normal distribution (Esser et al. 2024): a batch covers all levels.
        share = (torch.randperm(batch) + torch.rand(batch)) / batch
        sigma = torch.special.ndtri(share.clamp(1e-4, 1 - 1e-4)).sigmoid().to(args.device)
        sigma = SHIFT * sigma / (1 + (SHIFT - 1) * sigma)
        noise = torch.randn_like(clean)
        level = sigma[:, None, None, None]
        noisy = (1 - level) * clean + level * noise
        prompt = torch.where(torch.rand(batch) < PROMPT_DROPOUT, no_prompt, chosen)
        variant = torch.randint(PROMPTS_PER_EMOJI, (batch,))
        length = random.Random(step).choices(LENGTHS, LENGTH_WEIGHTS)[0]
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device == "cuda"):
            velocity = model(noisy, sigma, examples.clip_ids[prompt, variant].to(args.device),
                             examples.t5_ids[prompt, variant, :length].to(args.device))
        return (velocity.float() - pack(noise - clean)).square().mean()

    stage.run(loss_of_step)
