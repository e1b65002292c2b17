"""Records what diffusers' DDIMScheduler and PyTorch's CPU generator compute.

    python make_sampler_goldens.py [--output fixtures]

Writes fixtures/ddim/ (timesteps and single steps of scheduler variants) and fixtures/noise/
(starting noise by seed). README.md beside this file describes every tensor.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler
from safetensors.torch import save_file

BASE = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
            prediction_type="epsilon", clip_sample=False, set_alpha_to_one=True, steps_offset=0,
            timestep_spacing="leading", rescale_betas_zero_snr=False)
STABLE_DIFFUSION = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)

# name: number of steps, what differs from BASE.
VARIANTS = {
    "epsilon": (10, {}),
    "epsilon_7_steps": (7, {}),
    "epsilon_50_steps": (50, {}),
    "epsilon_1_step": (1, {}),
    "trailing": (10, dict(timestep_spacing="trailing")),
    "trailing_7_steps": (7, dict(timestep_spacing="trailing")),
    "linspace": (10, dict(timestep_spacing="linspace")),
    "linspace_7_steps": (7, dict(timestep_spacing="linspace")),
    "offset": (10, dict(steps_offset=1)),
    "last_alpha_kept": (10, dict(set_alpha_to_one=False)),
    "stable_diffusion": (20, dict(steps_offset=1, set_alpha_to_one=False, **STABLE_DIFFUSION)),
    "squared_cosine": (10, dict(beta_schedule="squaredcos_cap_v2")),
    "v_prediction": (10, dict(prediction_type="v_prediction")),
    "v_trailing": (10, dict(prediction_type="v_prediction", timestep_spacing="trailing",
                            **STABLE_DIFFUSION)),
    "v_zero_snr": (10, dict(prediction_type="v_prediction", timestep_spacing="trailing",
                            rescale_betas_zero_snr=True, **STABLE_DIFFUSION)),
    "sample_prediction": (10, dict(prediction_type="sample")),
    "clipped": (10, dict(clip_sample=True)),
    "few_train_timesteps": (8, dict(num_train_timesteps=100)),
}

NOISE_SEEDS = (0, 1, 42, 2**31 + 7, 2**32 + 5, 2**63 - 1)
# PyTorch draws differently below 16 elements and where the count is not a multiple of 16.
NOISE_SHAPES = ((5,), (15,), (16,), (17,), (31,), (1, 4, 6, 6), (1, 4, 10, 10), (1, 4, 16, 16))


def make_ddim(folder: Path):
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(1, 4, 4, 4, generator=generator)
    model_output = torch.randn(1, 4, 4, 4, generator=generator)
    tensors = {"sample": sample, "model_output": model_output}
    variants = []
    for name, (steps, changes) in VARIANTS.items():
        config = BASE | changes
        scheduler = DDIMScheduler(**config)
        scheduler.set_timesteps(steps)
        outputs = [scheduler.step(model_output, t, sample) for t in scheduler.timesteps]
        tensors[f"{name}.prev_sample"] = torch.cat([o.prev_sample for o in outputs])
        tensors[f"{name}.pred_original_sample"] = torch.cat(
            [o.pred_original_sample for o in outputs])
        tensors[f"{name}.alphas_cumprod"] = scheduler.alphas_cumprod[scheduler.timesteps]
        variants.append(dict(name=name, num_inference_steps=steps, config=config,
                             timesteps=scheduler.timesteps.tolist(),
                             final_alpha_cumprod=scheduler.final_alpha_cumprod.item()))
        assert all(t.isfinite().all() for t in tensors.values()), name
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "ddim.safetensors")
    metadata = dict(diffusers=diffusers.__version__, torch=torch.__version__.split("+")[0],
                    goldens="ddim.safetensors", variants=variants)
    (folder / "ddim.json").write_text(json.dumps(metadata, indent=1) + "\n")


def make_noise(folder: Path):
    tensors, draws = {}, []
    for seed in NOISE_SEEDS:
        for dtype, dtype_name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
            for shape in NOISE_SHAPES:
                name = f"{dtype_name}.{seed}." + "x".join(map(str, shape))
                generator = torch.Generator().manual_seed(seed)
                tensors[f"{name}.first"] = torch.randn(shape, generator=generator, dtype=dtype)
                # A second draw from the same generator: what a later noise request would get.
                tensors[f"{name}.second"] = torch.randn(shape, generator=generator, dtype=dtype)
                draws.append(dict(name=name, seed=seed, shape=shape, dtype=dtype_name))
    save_file(tensors, folder / "noise.safetensors")
    metadata = dict(torch=torch.__version__.split("+")[0], goldens="noise.safetensors", draws=draws)
    (folder / "noise.json").write_text(json.dumps(metadata) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, make in (("ddim", make_ddim), ("noise", make_noise)):
        shutil.rmtree(args.output / name, ignore_errors=True)
        (args.output / name).mkdir(parents=True)
        make(args.output / name)


if __name__ == "__main__":
    main()
