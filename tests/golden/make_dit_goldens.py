"""Makes tiny random DiT pipelines with diffusers and records what diffusers computes with them.

    python make_dit_goldens.py [--output fixtures]

Everything is float32, seeded and single-threaded. README.md beside this file describes every
tensor. The loop of diffusers' DiTPipeline is written out in `generate` because the pipeline
cannot run at a size other than the native one and always takes class 1000 as the null class;
where the pipeline can run, the script checks that both agree to the bit.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import save_file

STEPS = 4
KEEP_BYTES_MAX = 35_000  # larger intermediate tensors are left out of the goldens

# A random model predicts no noise, so with the usual beta_end = 0.02 an epsilon step would blow
# latents up to the hundreds, where float32 itself is no better than the tolerance. One tenth of it
# keeps them near 1. make_sampler_goldens.py covers the usual schedules.
SCHEDULER = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.002, beta_schedule="linear",
                 prediction_type="epsilon", clip_sample=False, set_alpha_to_one=True,
                 steps_offset=0, timestep_spacing="leading")
SCHEDULER_CHANGES = {
    "odd_heads": dict(steps_offset=1, set_alpha_to_one=False),
    "patch4": dict(prediction_type="v_prediction", timestep_spacing="trailing",
                   beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "classes1000": dict(timestep_spacing="linspace"),
}


def vae_config(block_out_channels, norm_num_groups, mid_attention=True, quant_convs=True, **more):
    blocks = len(block_out_channels)
    return dict(in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1,
                down_block_types=("DownEncoderBlock2D",) * blocks,
                up_block_types=("UpDecoderBlock2D",) * blocks,
                block_out_channels=block_out_channels, norm_num_groups=norm_num_groups,
                mid_block_add_attention=mid_attention, use_quant_conv=quant_convs,
                use_post_quant_conv=quant_convs, **more)


# name: transformer, autoencoder, class label, second latent size (the first is sample_size).
FIXTURES = {
    # Two heads, patch 2, out_channels = in_channels, two-level autoencoder with attention.
    "base": (dict(num_attention_heads=2, attention_head_dim=16, sample_size=8, patch_size=2,
                  out_channels=4, num_embeds_ada_norm=10),
             vae_config((8, 8), 4), 3, 12),
    # An odd number of heads, learned sigma, three-level autoencoder without attention.
    "odd_heads": (dict(num_attention_heads=3, attention_head_dim=8, sample_size=16, patch_size=2,
                       out_channels=8, num_embeds_ada_norm=10),
                  vae_config((8, 8, 16), 8, mid_attention=False, scaling_factor=0.5), 7, 10),
    # Patch 4, no quant convolutions.
    "patch4": (dict(num_attention_heads=2, attention_head_dim=8, sample_size=16, patch_size=4,
                    out_channels=4, num_embeds_ada_norm=10),
               vae_config((4, 8), 4, quant_convs=False, scaling_factor=1.0), 0, 24),
    # 1000 classes as DiT-XL has them: the one that DiTPipeline itself can run with guidance.
    "classes1000": (dict(num_attention_heads=2, attention_head_dim=8, sample_size=8, patch_size=2,
                         out_channels=8, num_embeds_ada_norm=1000),
                    vae_config((4, 8), 4, mid_attention=False), 207, 16),
}
SHARDED_COPY_OF = "patch4"


@torch.no_grad()
def randomise(module: torch.nn.Module, seed: int):
    """Replaces every parameter, so that no path is zero (adaLN-zero) or the identity (norms)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "embedding_table" in name:
            values = values * 0.7
        elif parameter.ndim > 1:
            values = values * (1.0 / parameter[0].numel()) ** 0.5
        elif "norm" in name and name.endswith("weight"):
            values = 1 + 0.25 * values
        else:
            values = 0.1 * values
        parameter.copy_(values)


def make_models(name: str, index: int):
    transformer_config, config_of_vae, label, other_size = FIXTURES[name]
    transformer = DiTTransformer2DModel(
        in_channels=4, num_layers=2, attention_bias=True, activation_fn="gelu-approximate",
        norm_type="ada_norm_zero", norm_num_groups=4, **transformer_config).eval()
    vae = AutoencoderKL(sample_size=transformer_config["sample_size"] * 2, **config_of_vae).eval()
    randomise(transformer, 1000 + index)
    randomise(vae, 2000 + index)
    with torch.no_grad():
        transformer.proj_out_2.weight *= 0.5
        vae.decoder.conv_out.weight *= 1.5  # most, not all, pixels lie inside [-1, 1]
    scheduler = DDIMScheduler(**SCHEDULER | SCHEDULER_CHANGES.get(name, {}))
    return transformer, vae, scheduler, label, other_size


class Recorder:
    """Collects outputs of modules during one call, by the names they get in the goldens."""

    def __init__(self, modules: dict[str, torch.nn.Module]):
        self.tensors = {}
        self.hooks = [m.register_forward_hook(self.hook(n)) for n, m in modules.items()]

    def hook(self, name: str):
        def keep(_module, _inputs, output):
            first = output[0] if isinstance(output, tuple) else output
            # The embedder of block 0 runs twice per call, with equal results.
            self.tensors.setdefault(name, first.detach().clone())
        return keep

    def stop(self) -> dict[str, torch.Tensor]:
        for hook in self.hooks:
            hook.remove()
        return {name: tensor for name, tensor in self.tensors.items()
                if tensor.numel() * tensor.element_size() <= KEEP_BYTES_MAX}


def transformer_modules(transformer, native: bool) -> dict[str, torch.nn.Module]:
    if not native:  # what differs by size is the position embedding
        return {"patch_embed": transformer.pos_embed}
    first = transformer.transformer_blocks[0]
    modules = {
        "patch_embed": transformer.pos_embed,
        "conditioning": first.norm1.emb,
        "block.0.norm1": first.norm1,
        "block.0.attn1": first.attn1,
        "block.0.ff": first.ff,
    }
    for i, block in enumerate(transformer.transformer_blocks):
        modules[f"block.{i}"] = block
    modules["proj_out_2"] = transformer.proj_out_2
    return modules


def decoder_modules(vae) -> dict[str, torch.nn.Module]:
    decoder = vae.decoder
    modules = {"conv_in": decoder.conv_in, "mid_block": decoder.mid_block}
    if vae.post_quant_conv is not None:
        modules["post_quant_conv"] = vae.post_quant_conv
    if decoder.mid_block.attentions and decoder.mid_block.attentions[0] is not None:
        modules["mid_block.attention"] = decoder.mid_block.attentions[0]
    for i, block in enumerate(decoder.up_blocks):
        modules[f"up_block.{i}"] = block
    modules["conv_norm_out"] = decoder.conv_norm_out
    return modules


def to_uint8(pixels: torch.Tensor) -> torch.Tensor:
    """What DiTPipeline hands out as a picture: H x W x 3, rounded half to even."""
    unit = (pixels / 2 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
    return torch.from_numpy((unit * 255).round().astype("uint8")[0])


@torch.no_grad()
def generate(transformer, vae, scheduler, label: int, size: int, guidance: float, seed: int):
    """DiTPipeline.__call__ for one picture; returns the tensors of one case."""
    channels = transformer.config.in_channels
    null = transformer.config.num_embeds_ada_norm
    guided = guidance > 1
    latents = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([label, null] if guided else [label])
    scheduler.set_timesteps(STEPS)
    native = size == transformer.config.sample_size
    out = {"latents": latents.clone(), "timesteps": scheduler.timesteps.clone()}
    model_outputs, after = [], []
    for step, t in enumerate(scheduler.timesteps):
        recorder = None
        if step == 0 and guided:
            recorder = Recorder(transformer_modules(transformer, native))
        batch = torch.cat([latents] * 2) if guided else latents
        prediction = transformer(batch, timestep=t[None].expand(len(batch)),
                                 class_labels=labels).sample
        if recorder:
            for key, value in recorder.stop().items():
                out[f"transformer.{key}"] = value
            out["transformer.output"] = prediction.clone()
        if guided:
            eps, rest = prediction[:, :channels], prediction[:, channels:]
            cond, uncond = eps.chunk(2)
            half = uncond + guidance * (cond - uncond)
            prediction = torch.cat([torch.cat([half, half]), rest], dim=1)
        if transformer.config.out_channels // 2 == channels:
            prediction = prediction[:, :channels]
        latents = scheduler.step(prediction, t, batch).prev_sample[:1]
        model_outputs.append(prediction[0].clone())
        after.append(latents[0].clone())
    out["model_outputs"], out["latents_after"] = torch.stack(model_outputs), torch.stack(after)

    recorder = Recorder(decoder_modules(vae)) if guided and native else None
    pixels = vae.decode(1 / vae.config.scaling_factor * latents).sample
    if recorder:
        for key, value in recorder.stop().items():
            out[f"decoder.{key}"] = value
    out["pixels"], out["image"] = pixels, to_uint8(pixels)
    return out


@torch.no_grad()
def encode(vae, size: int, seed: int) -> dict[str, torch.Tensor]:
    """One random picture and the moments the encoder gives for it."""
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    posterior = vae.encode(image).latent_dist
    return {"encode.image": image, "encode.mean": posterior.mean, "encode.logvar": posterior.logvar}


def check_against_pipeline(pipeline: DiTPipeline, label: int, guidance: float, seed: int, case):
    expected = pipeline(class_labels=[label], guidance_scale=guidance, num_inference_steps=STEPS,
                        generator=torch.Generator().manual_seed(seed), output_type="pil").images[0]
    assert np.array_equal(np.asarray(expected), case["image"].numpy())


def save_model(folder: Path, pipeline: DiTPipeline, transformer_shard: str | None = None):
    pipeline.save_pretrained(folder)
    if transformer_shard:
        shutil.rmtree(folder / "transformer")
        pipeline.transformer.save_pretrained(folder / "transformer",
                                             max_shard_size=transformer_shard)
    index_path = folder / "model_index.json"
    index = json.loads(index_path.read_text())
    classes = pipeline.transformer.config.num_embeds_ada_norm
    index["id2label"] = {str(i): f"class {i}" for i in range(min(classes, 10))}
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def make_fixture(output: Path, name: str, index: int):
    transformer, vae, scheduler, label, other_size = make_models(name, index)
    pipeline = DiTPipeline(transformer, vae, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    folder = output / f"dit_{name}"
    save_model(folder / "model", pipeline)
    if name == SHARDED_COPY_OF:
        save_model(output / f"dit_{name}_sharded" / "model", pipeline, transformer_shard="20KB")

    native = transformer.config.sample_size
    tensors, cases = {}, []
    for size in (native, other_size):
        for guidance in (1.0, 4.0):
            case_name = f"{'native' if size == native else 'other'}_g{guidance:.0f}"
            seed = 10 * index + size
            case = generate(transformer, vae, scheduler, label, size, guidance, seed)
            null = transformer.config.num_embeds_ada_norm
            if size == native and (guidance == 1.0 or null == 1000):
                check_against_pipeline(pipeline, label, guidance, seed, case)
            tensors |= {f"{case_name}.{key}": value for key, value in case.items()}
            cases.append(dict(name=case_name, latent_size=size, guidance_scale=guidance,
                              steps=STEPS, seed=seed, class_label=label, null_class=null,
                              image_size=case["image"].shape[0]))
            print(f"{name} {case_name}: final latents up to "
                  f"{case['latents_after'][-1].abs().max():.1f}, "
                  f"{(case['pixels'].abs() > 1).float().mean():.0%} of pixels clamped")
    tensors |= encode(vae, vae.config.sample_size, seed=index)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "goldens.safetensors")

    metadata = dict(model="model", goldens="goldens.safetensors", diffusers=diffusers.__version__,
                    torch=torch.__version__.split("+")[0], num_layers=2, cases=cases)
    (folder / "goldens.json").write_text(json.dumps(metadata, indent=2) + "\n")
    if name == SHARDED_COPY_OF:
        metadata["goldens"] = f"../dit_{name}/goldens.safetensors"
        path = output / f"dit_{name}_sharded" / "goldens.json"
        path.write_text(json.dumps(metadata, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for index, name in enumerate(FIXTURES):
        for stale in (f"dit_{name}", f"dit_{name}_sharded"):
            shutil.rmtree(args.output / stale, ignore_errors=True)
        make_fixture(args.output, name, index)


if __name__ == "__main__":
    main()
