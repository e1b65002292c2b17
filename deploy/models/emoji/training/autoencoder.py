"""The autoencoder: an AutoencoderKL as FLUX.1 has, 8 x 8 pixels to 16 channels, but small."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from emoji_data import augmented, load_emoji, pixels, sampling_weights
from stage import Stage, ema_state

LATENT_CHANNELS = 16
KL_WEIGHT = 2e-4  # per latent element
VARIANTS = 2  # augmented ones of each picture, besides the picture itself


def new_autoencoder(size: int) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=LATENT_CHANNELS, sample_size=size,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 96, 96), layers_per_block=1, norm_num_groups=8,
        scaling_factor=1.0, shift_factor=0.0)


def to_model_range(images: np.ndarray) -> torch.Tensor:
    """N x H x W x 3 uint8 to N x 3 x H x W float32 in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """At three scales, L1 on pixels (colours) and on their differences across and down (edges)."""
    loss = 0.0
    for _ in range(3):
        loss = loss + (output - target).abs().mean()
        for dim in (-1, -2):
            loss = loss + 0.5 * (output.diff(dim=dim) - target.diff(dim=dim)).abs().mean()
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
    return loss


def train_autoencoder(args):
    emoji = [one for one in load_emoji(args.data) if not one.held_out]
    rng = random.Random(args.seed)
    pool = np.stack([pixels(one.picture, args.size) for one in emoji] +
                    [augmented(one.picture, args.size, rng, mirror=True)
                     for _ in range(VARIANTS) for one in tqdm(emoji, desc="augment")])
    weights = torch.tensor(sampling_weights(emoji) * (1 + VARIANTS))
    vae = new_autoencoder(args.size).to(args.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), args.learning_rate or 1.5e-3,
                                  betas=(0.9, 0.99), weight_decay=0.01)
    stage = Stage("autoencoder", vae, [optimizer], args.run, args.minutes, ema_decay=0.998)

    def loss_of_step(step: int) -> torch.Tensor:
        chosen = torch.multinomial(weights, args.batch or 16, replacement=True)
        target = to_model_range(pool[chosen.numpy()]).to(args.device)
        target = target.contiguous(memory_format=torch.channels_last)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device == "cuda"):
            posterior = vae.encode(target).latent_dist
            output = vae.decode(posterior.sample()).sample
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return picture_loss(output.float(), target) + KL_WEIGHT * divergence

    stage.run(loss_of_step)


def load_autoencoder(run: Path, size: int) -> AutoencoderKL:
    vae = new_autoencoder(size).eval()
    vae.load_state_dict(ema_state(run, "autoencoder"))
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray, device: str) -> torch.Tensor:
    """N x C x h x w float32: the most likely latents."""
    vae = vae.to(device)
    return torch.cat([vae.encode(to_model_range(images[i:i + 64]).to(device)).latent_dist.mode()
                      .cpu() for i in tqdm(range(0, len(images), 64), desc="encode")])


@torch.no_grad()
def fold_normalisation(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor):
    """Makes the latents have mean 0 and deviation 1 by changing the 1x1 convolutions beside them.

    A pipeline knows one scale and one shift for all channels; per channel they are in the weights.
    """
    quant, post, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    quant.weight[:channels] /= deviation[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / deviation
    quant.bias[channels:] -= 2 * deviation.log()  # the second half is the log-variance
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= deviation[None, :, None, None]
