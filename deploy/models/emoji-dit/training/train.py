"""Trains the emoji autoencoder, then the class-conditional DiT, and exports a DiTPipeline folder.

    python train.py vae    --data DATA --run RUN --minutes 15
    python train.py dit    --data DATA --run RUN --minutes 60
    python train.py export --run RUN --output ../

DATA holds images.tar and captions.jsonl. RUN keeps checkpoints: a stage that is interrupted
(Ctrl-C saves first) goes on where it stopped when started again with the same arguments.
`--minutes` is training time, not counting interruptions; learning rates follow it, so a stage ends
on its own on any machine. `export` may be run at any moment; it takes the latest averaged (EMA)
weights.
"""

import argparse
import copy
import json
import signal
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm

from emoji_data import CLASSES, IMAGE_SIZE, class_pool, general_pool, load_pictures

NULL_CLASS = 1000  # what DiTPipeline passes for the unconditional branch
CLASS_DROPOUT = 0.1
TRAIN_TIMESTEPS = 1000

VAE_CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=4, sample_size=IMAGE_SIZE,
    down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    block_out_channels=(32, 64, 64), layers_per_block=1, norm_num_groups=16)
DIT_CONFIG = dict(
    num_attention_heads=4, attention_head_dim=32, num_layers=6, in_channels=4, out_channels=4,
    sample_size=IMAGE_SIZE // 4, patch_size=2, num_embeds_ada_norm=NULL_CLASS,
    attention_bias=True, activation_fn="gelu-approximate", norm_type="ada_norm_zero")
SCHEDULER_CONFIG = dict(
    num_train_timesteps=TRAIN_TIMESTEPS, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
    prediction_type="epsilon", clip_sample=False, set_alpha_to_one=True, steps_offset=0)


class Ema:
    """An exponential moving average of a module's parameters, slower as training goes on."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: torch.nn.Module):
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        torch._foreach_lerp_(list(self.module.parameters()),
                             [p.detach() for p in module.parameters()], 1 - decay)


class Stage:
    """The loop both stages share: time-based learning rate, EMA, progress bar, checkpoints."""

    def __init__(self, name: str, module, args, learning_rate: float, ema_decay: float):
        self.module, self.ema = module, Ema(module, ema_decay)
        self.path = args.run / f"{name}.pt"
        self.seconds, self.budget, self.step = 0.0, args.minutes * 60, 0
        self.learning_rate, self.decay_from = learning_rate, args.decay_from
        self.save_every = args.save_minutes * 60
        self.stopping = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)
        parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.99),
                                           weight_decay=0.01)
        if self.path.exists():
            state = torch.load(self.path, map_location="cpu")
            module.load_state_dict(state["module"])
            self.ema.module.load_state_dict(state["ema"])
            self.ema.updates = state["updates"]
            if state["optimizer"]["state"] and len(state["optimizer"]["state"]) == len(parameters):
                self.optimizer.load_state_dict(state["optimizer"])
                self.seconds, self.step = state["seconds"], state["step"]

    def save(self):
        state = dict(module=self.module.state_dict(), ema=self.ema.module.state_dict(),
                     updates=self.ema.updates, optimizer=self.optimizer.state_dict(),
                     seconds=self.seconds, step=self.step)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def stop(self, *_):
        self.stopping = True

    def run(self, loss_of_batch):
        """Calls `loss_of_batch(step)`, which returns a scalar loss, until the time is used up."""
        bar = tqdm(total=round(self.budget), initial=round(self.seconds), unit="s", mininterval=15)
        average, saved_at = None, self.seconds
        while self.seconds < self.budget and not self.stopping:
            started = time.monotonic()
            done = self.seconds / self.budget
            rate = min(1.0, (self.step + 1) / 200)  # warm-up
            rate *= min(1.0, max(0.02, (1 - done) / (1 - self.decay_from)))
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * rate
            loss = loss_of_batch(self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.ema.update(self.module)
            self.step += 1
            value = loss.item()
            average = value if average is None else 0.99 * average + 0.01 * value
            before, self.seconds = self.seconds, self.seconds + time.monotonic() - started
            bar.update(int(self.seconds) - int(before))
            bar.set_postfix(step=self.step, loss=f"{average:.4f}", refresh=False)
            if self.seconds - saved_at > self.save_every:
                self.save()
                saved_at = self.seconds
        bar.close()
        self.save()
        print(f"{self.path.stem}: {self.step} steps, loss {average}")


def to_model_range(images: np.ndarray) -> torch.Tensor:
    """N x H x W x 3 uint8 to N x 3 x H x W float32 in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 on pixels and, at three scales, on horizontal and vertical differences (sharp edges)."""
    loss = (output - target).abs().mean()
    for _ in range(3):
        for dim in (-1, -2):
            loss = loss + 0.5 * (output.diff(dim=dim) - target.diff(dim=dim)).abs().mean()
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
    return loss


def train_vae(args):
    """Trains the autoencoder; with --decoder-only the latents stay what the DiT has learned."""
    pictures = load_pictures(args.data)
    of_classes = class_pool(pictures, args.variants, args.seed)[0]
    pool = np.concatenate([of_classes, general_pool(pictures, args.seed)])
    # Every second picture shows one of the classes.
    rest = len(pool) - len(of_classes)
    weights = torch.cat([torch.full((len(of_classes),), rest / len(of_classes)), torch.ones(rest)])
    vae = AutoencoderKL(**VAE_CONFIG)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    stage = Stage("vae", vae, args, args.learning_rate or 1.5e-3, ema_decay=0.998)

    def loss_of_batch(step: int) -> torch.Tensor:
        torch.manual_seed(args.seed * 1_000_003 + step)
        chosen = torch.multinomial(weights, args.batch or 16, replacement=True)
        target = to_model_range(pool[chosen.numpy()])
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.f32):
            posterior = vae.encode(target).latent_dist
            output = vae.decode(posterior.sample()).sample
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return picture_loss(output.float(), target) + args.kl_weight * divergence

    stage.run(loss_of_batch)


def load_vae(run: Path) -> AutoencoderKL:
    vae = AutoencoderKL(**VAE_CONFIG).eval()
    vae.load_state_dict(torch.load(run / "vae.pt", map_location="cpu")["ema"])
    return vae


@torch.no_grad()
def encode_pool(args, vae: AutoencoderKL):
    """Latents of the augmented class pictures, normalised per channel, and their labels.

    The result (and the mean and deviation that `export` folds into the autoencoder) is kept in
    RUN/latents.pt: the DiT's targets must not move while it trains.
    """
    path = args.run / "latents.pt"
    if not path.exists():
        images, labels = class_pool(load_pictures(args.data), args.variants, args.seed + 1)
        latents = torch.cat([
            vae.encode(to_model_range(images[i:i + 64])).latent_dist.mode()
            for i in tqdm(range(0, len(images), 64), desc="encode")])
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        latents = (latents - mean[:, None, None]) / deviation[:, None, None]
        torch.save(dict(latents=latents.half(), labels=torch.from_numpy(labels),
                        mean=mean, deviation=deviation), path)
    return torch.load(path)


def new_dit() -> DiTTransformer2DModel:
    """A DiT whose blocks share one timestep and label embedder while it trains.

    diffusers stores an embedder per block; a shared one sees every gradient, so it learns faster
    from few steps. `export` writes a copy per block. Label dropout is ours (one draw per sample),
    as diffusers would draw anew in every block.
    """
    dit = DiTTransformer2DModel(**DIT_CONFIG)
    shared = dit.transformer_blocks[0].norm1.emb
    shared.class_embedder.dropout_prob = 0.0
    torch.nn.init.normal_(shared.class_embedder.embedding_table.weight, std=0.02)
    for linear in (shared.timestep_embedder.linear_1, shared.timestep_embedder.linear_2):
        torch.nn.init.normal_(linear.weight, std=0.02)
    for block in dit.transformer_blocks:
        # At 64 tokens plain matrix products train faster than the CPU's fused attention, whose
        # bfloat16 backward pass takes longer than the rest of the step.
        block.attn1.set_processor(AttnProcessor())
        block.norm1.emb = shared
        torch.nn.init.zeros_(block.norm1.linear.weight)
        torch.nn.init.zeros_(block.norm1.linear.bias)
    for linear in (dit.proj_out_1, dit.proj_out_2):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return dit


def train_dit(args):
    data = encode_pool(args, load_vae(args.run))
    latents, labels = data["latents"].float(), data["labels"]
    alphas = DDIMScheduler(**SCHEDULER_CONFIG).alphas_cumprod
    dit = new_dit()
    stage = Stage("dit", dit, args, args.learning_rate or 1e-3, ema_decay=0.9995)
    batch = args.batch or 64

    def loss_of_batch(step: int) -> torch.Tensor:
        torch.manual_seed(args.seed * 1_000_003 + step)
        chosen = torch.randint(len(latents), (batch,))
        # One timestep per stratum: every batch covers all noise levels evenly.
        timestep = ((torch.randperm(batch) + torch.rand(batch)) / batch * TRAIN_TIMESTEPS).long()
        timestep.clamp_(max=TRAIN_TIMESTEPS - 1)
        label = torch.where(torch.rand(batch) < CLASS_DROPOUT, NULL_CLASS, labels[chosen])
        alpha = alphas[timestep][:, None, None, None]
        noise = torch.randn(batch, *latents.shape[1:])
        noisy = alpha.sqrt() * latents[chosen] + (1 - alpha).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.f32):
            output = dit(noisy, timestep=timestep, class_labels=label, return_dict=False)[0]
        # Min-SNR weighting (Hang et al. 2023): predicting the noise of a nearly clean picture is
        # hard and matters little; unweighted, it would dominate the gradient.
        weight = torch.clamp(args.snr_max * (1 - alpha) / alpha, max=1.0)
        return (weight * (output.float() - noise).square()).mean()

    stage.run(loss_of_batch)


def fold_normalisation(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor):
    """Makes the autoencoder's latents have mean 0 and deviation 1 by changing its 1x1 convolutions.

    DiTPipeline knows a scaling factor only, no shift, so the shift has to be in the weights.
    """
    quant, post, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    quant.weight[:channels] /= deviation[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / deviation
    quant.bias[channels:] -= 2 * deviation.log()  # the second half is the log-variance
    post.bias += (post.weight[:, :, 0, 0] @ mean)
    post.weight *= deviation[None, :, None, None]


@torch.no_grad()
def export(args):
    """Writes the DiTPipeline folder in bfloat16."""
    data = torch.load(args.run / "latents.pt")
    vae = load_vae(args.run)
    fold_normalisation(vae, data["mean"], data["deviation"])
    vae.register_to_config(scaling_factor=1.0)
    dit = new_dit()
    dit.load_state_dict(torch.load(args.run / "dit.pt", map_location="cpu")["ema"])
    table = dit.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    table[len(CLASSES):NULL_CLASS] = 0  # rows without a class
    for block in dit.transformer_blocks:
        block.norm1.emb = copy.deepcopy(block.norm1.emb)

    args.output.mkdir(parents=True, exist_ok=True)
    dit.to(torch.bfloat16).save_pretrained(args.output / "transformer")
    vae.to(torch.bfloat16).save_pretrained(args.output / "vae")
    DDIMScheduler(**SCHEDULER_CONFIG).save_pretrained(args.output / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": diffusers.__version__,
        "id2label": {str(i): entry["label"] for i, entry in enumerate(CLASSES)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (args.output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae", "dit", "export"])
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--data", type=Path, help="folder with images.tar and captions.jsonl")
    parser.add_argument("--output", type=Path, help="export: folder of the pipeline")
    parser.add_argument("--minutes", type=float, default=15, help="training time of the stage")
    parser.add_argument("--save-minutes", type=float, default=2, help="between checkpoints")
    parser.add_argument("--batch", type=int, help="pictures per step (vae 16, dit 64)")
    parser.add_argument("--learning-rate", type=float, help="peak (vae 1.5e-3, dit 1e-3)")
    parser.add_argument("--decay-from", type=float, default=0.5,
                        help="share of the time after which the rate falls linearly to zero")
    parser.add_argument("--variants", type=int, default=96, help="augmented pictures per class")
    parser.add_argument("--kl-weight", type=float, default=5e-4, help="vae: per latent element")
    parser.add_argument("--snr-max", type=float, default=2.0,
                        help="dit: signal-to-noise ratio above which a timestep weighs less")
    parser.add_argument("--decoder-only", action="store_true",
                        help="vae: keep the encoder, so that a trained DiT still fits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--f32", action="store_true", help="no bfloat16 autocast")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    {"vae": train_vae, "dit": train_dit, "export": export}[args.stage](args)


if __name__ == "__main__":
    main()
