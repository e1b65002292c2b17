"""Records what diffusers' schedulers and PyTorch's CPU generator compute.

    python make_sampler_goldens.py [--output fixtures]

Writes fixtures/ddim/ (timesteps and single steps of scheduler variants), fixtures/solvers/ (whole
runs of the other schedulers) and fixtures/noise/ (starting noise by seed). README.md beside this
file describes every tensor.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
import numpy as np
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler,
                       FlowMatchHeunDiscreteScheduler)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
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

FLUX_DEV = dict(base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096,
                shift=3.0, use_dynamic_shifting=True)
# name: sampler, number of steps, image tokens, configuration.
SOLVERS = {
    "dpm_epsilon": ("dpm_solver_pp_2m", 10, 0, BASE),
    "dpm_4_steps": ("dpm_solver_pp_2m", 4, 0, BASE),
    "dpm_1_step": ("dpm_solver_pp_2m", 1, 0, BASE),
    "dpm_20_steps": ("dpm_solver_pp_2m", 20, 0, BASE | STABLE_DIFFUSION | dict(steps_offset=1)),
    "dpm_trailing": ("dpm_solver_pp_2m", 7, 0, BASE | dict(timestep_spacing="trailing")),
    "dpm_linspace": ("dpm_solver_pp_2m", 7, 0, BASE | dict(timestep_spacing="linspace")),
    "dpm_v": ("dpm_solver_pp_2m", 8, 0, BASE | dict(prediction_type="v_prediction")),
    "dpm_sample": ("dpm_solver_pp_2m", 8, 0, BASE | dict(prediction_type="sample")),
    "dpm_v_zero_snr": ("dpm_solver_pp_2m", 8, 0,
                       BASE | STABLE_DIFFUSION | dict(prediction_type="v_prediction",
                                                      timestep_spacing="trailing",
                                                      rescale_betas_zero_snr=True)),
    "euler_dev_1024": ("flow_match_euler", 28, 4096, FLUX_DEV),
    "euler_dev_small": ("flow_match_euler", 7, 64, FLUX_DEV),
    "euler_dev_large": ("flow_match_euler", 50, 9216, FLUX_DEV),
    "euler_linear_shift": ("flow_match_euler", 6, 1024, FLUX_DEV | dict(time_shift_type="linear")),
    "euler_terminal": ("flow_match_euler", 6, 1024, FLUX_DEV | dict(shift_terminal=0.1)),
    "euler_schnell": ("flow_match_euler", 4, 1024, dict(shift=1.0)),
    "euler_1_step": ("flow_match_euler", 1, 1024, dict(shift=1.0)),
    "euler_static": ("flow_match_euler", 10, 1024, dict(shift=3.0)),
    "heun_plain": ("flow_match_heun", 5, 0, dict(shift=1.0)),
    "heun_shifted": ("flow_match_heun", 8, 0, dict(shift=3.0)),
    "heun_1_step": ("flow_match_heun", 1, 0, dict(shift=3.0)),
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


def set_timesteps(scheduler, sampler, steps, tokens, config):
    if sampler != "flow_match_euler":
        return scheduler.set_timesteps(steps)
    # As FLUX's pipelines ask for it.
    mu = calculate_shift(tokens, config.get("base_image_seq_len", 256),
                         config.get("max_image_seq_len", 4096), config.get("base_shift", 0.5),
                         config.get("max_shift", 1.15))
    return scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)


def make_solvers(folder: Path):
    classes = {"dpm_solver_pp_2m": DPMSolverMultistepScheduler,
               "flow_match_euler": FlowMatchEulerDiscreteScheduler,
               "flow_match_heun": FlowMatchHeunDiscreteScheduler}
    tensors, runs = {}, []
    for name, (sampler, steps, tokens, config) in SOLVERS.items():
        generator = torch.Generator().manual_seed(len(runs))
        known = {key: value for key, value in config.items()
                 if key not in ("clip_sample", "set_alpha_to_one") or sampler == "ddim"}
        scheduler = classes[sampler](**known)
        set_timesteps(scheduler, sampler, steps, tokens, config)
        sample = torch.randn(1, 4, 4, 4, generator=generator)
        tensors[f"{name}.sample"] = sample
        outputs, after = [], []
        for timestep in scheduler.timesteps:
            outputs.append(torch.randn(1, 4, 4, 4, generator=generator))
            sample = scheduler.step(outputs[-1], timestep, sample).prev_sample
            after.append(sample)
        tensors[f"{name}.model_outputs"] = torch.cat(outputs)
        tensors[f"{name}.latents_after"] = torch.cat(after)
        tensors[f"{name}.timesteps"] = scheduler.timesteps.to(torch.float32)
        tensors[f"{name}.sigmas"] = scheduler.sigmas
        runs.append(dict(name=name, sampler=sampler, steps=steps, image_tokens=tokens,
                         config=config))
        assert all(t.isfinite().all() for t in tensors.values()), name
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "solvers.safetensors")
    metadata = dict(diffusers=diffusers.__version__, torch=torch.__version__.split("+")[0],
                    goldens="solvers.safetensors", runs=runs)
    (folder / "solvers.json").write_text(json.dumps(metadata, indent=1) + "\n")


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
    for name, make in (("ddim", make_ddim), ("solvers", make_solvers), ("noise", make_noise)):
        shutil.rmtree(args.output / name, ignore_errors=True)
        (args.output / name).mkdir(parents=True)
        make(args.output / name)


if __name__ == "__main__":
    main()
