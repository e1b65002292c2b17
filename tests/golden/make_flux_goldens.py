"""Makes tiny random FLUX.1 pipelines with diffusers and records what diffusers computes with them.

    python make_flux_goldens.py [--output fixtures]
    python make_flux_goldens.py --shipped    of the model that ships, deploy/models/emoji, alone

Everything is float32, seeded and single-threaded. The tokenizers are those of fixtures/text_*,
which make_text_goldens.py made. README.md beside this file describes every tensor.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import (AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxImg2ImgPipeline,
                       FluxInpaintPipeline, FluxPipeline, FluxTransformer2DModel)
from make_dit_goldens import KEEP_BYTES_MAX, randomise, vae_config
from PIL import Image
from safetensors.torch import save_file
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel,
                          T5TokenizerFast)

SHARD_BYTES = 12_000

# name: transformer, autoencoder, scheduler, tokenizers, width of CLIP and of T5, T5's feed-forward.
FIXTURES = {
    # Guidance embedding, dynamic shift, as dev has them.
    "dev": (dict(num_attention_heads=2, attention_head_dim=16, axes_dims_rope=(4, 6, 6),
                 in_channels=16, num_layers=2, num_single_layers=2, guidance_embeds=True),
            vae_config((4, 8), 4, scaling_factor=0.3611, shift_factor=0.1159, sample_size=32),
            dict(use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15,
                 base_image_seq_len=16, max_image_seq_len=256),
            ("text_clip_bpe", "text_t5_unigram"), 16, 24, "gated-gelu"),
    # No guidance embedding, static shift, an odd number of heads, as schnell but for the heads.
    "schnell": (dict(num_attention_heads=3, attention_head_dim=8, axes_dims_rope=(2, 2, 4),
                     in_channels=16, num_layers=1, num_single_layers=3, guidance_embeds=False),
                vae_config((4, 4, 8), 4, mid_attention=False, quant_convs=False,
                           scaling_factor=0.5, shift_factor=0.0, sample_size=32),
                dict(use_dynamic_shifting=False, shift=1.0),
                ("text_clip_json", "text_t5_json"), 24, 16, "relu"),
    # One wide head, a shifted static schedule, every component in shards.
    "sharded": (dict(num_attention_heads=1, attention_head_dim=32, axes_dims_rope=(8, 12, 12),
                     in_channels=32, num_layers=2, num_single_layers=1, guidance_embeds=True),
                vae_config((4, 8), 4, quant_convs=False, scaling_factor=0.7,
                           shift_factor=-0.2, sample_size=32) | dict(latent_channels=8),
                dict(use_dynamic_shifting=False, shift=2.5),
                ("text_clip_bpe", "text_t5_json"), 16, 16, "gated-gelu"),
}

PROMPT = "a red apple"
NEGATIVE = "blurry"


def picture(width, height, seed):
    """A smooth picture, so that resampling it anywhere would show."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def mask(width, height):
    values = np.zeros((height, width), dtype=np.uint8)
    values[height // 4: height // 4 * 3, width // 2:] = 255
    values[: height // 8, : width // 8] = 200  # grey: from 128 on it is painted
    values[-height // 8:, : width // 8] = 100
    return Image.fromarray(values, "L")


def make_components(name, fixtures):
    transformer, vae, scheduler, tokenizers, clip_width, t5_width, feed_forward = FIXTURES[name]
    tokenizer = CLIPTokenizer.from_pretrained(fixtures / tokenizers[0] / "tokenizer")
    tokenizer_2 = T5TokenizerFast.from_pretrained(fixtures / tokenizers[1] / "tokenizer")
    torch.manual_seed(0)
    clip = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=clip_width, intermediate_size=2 * clip_width,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77,
        projection_dim=clip_width, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    t5 = T5EncoderModel(T5Config(
        vocab_size=len(tokenizer_2), d_model=t5_width, d_kv=8, d_ff=2 * t5_width, num_layers=2,
        num_heads=2, feed_forward_proj=feed_forward, relative_attention_num_buckets=8,
        relative_attention_max_distance=20, dropout_rate=0.0))
    flux = FluxTransformer2DModel(pooled_projection_dim=clip_width, joint_attention_dim=t5_width,
                                  **transformer)
    autoencoder = AutoencoderKL(**vae)
    for seed, module in enumerate([clip, t5, flux, autoencoder]):
        randomise(module, 100 + seed)
        module.eval()
    return dict(scheduler=FlowMatchEulerDiscreteScheduler(**scheduler), vae=autoencoder,
                text_encoder=clip, tokenizer=tokenizer, text_encoder_2=t5,
                tokenizer_2=tokenizer_2, transformer=flux)


def cases_of(name):
    guidance = 3.5 if name != "schnell" else 1.0
    common = dict(prompt=PROMPT, guidance_scale=guidance, max_sequence_length=32)
    yield dict(common, name="text", width=32, height=32, steps=4, seed=1)
    yield dict(common, name="wide", width=48, height=16, steps=3, seed=2, max_sequence_length=40)
    yield dict(common, name="cfg", width=24, height=32, steps=3, seed=3, true_cfg_scale=3.0,
               negative_prompt=NEGATIVE)
    yield dict(common, name="image", width=32, height=24, steps=5, seed=4, strength=0.6)
    yield dict(common, name="inpaint", width=32, height=32, steps=4, seed=5, strength=0.9)


def shipped_cases():
    common = dict(width=64, height=64, guidance_scale=1.0, true_cfg_scale=2.5, negative_prompt="",
                  max_sequence_length=24)
    yield dict(common, name="text", prompt="red apple", steps=12, seed=1)
    yield dict(common, name="negative", prompt="cat face", negative_prompt="orange", steps=6,
               seed=2)
    yield dict(common, name="image", prompt="rocket", steps=8, seed=3, strength=0.7)
    yield dict(common, name="inpaint", prompt="pizza", steps=8, seed=4, strength=0.9)


def unpack(pipeline, latents, height, width):
    return pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)[0]


class Recorder:
    """Keeps what the transformer's parts compute in its first call."""

    def __init__(self, transformer):
        self.tensors = {}
        self.handles = [
            transformer.x_embedder.register_forward_hook(self.keep("x_embedder")),
            transformer.time_text_embed.register_forward_hook(self.keep("conditioning")),
            transformer.proj_out.register_forward_hook(self.keep("proj_out"))]
        for i, block in enumerate(transformer.transformer_blocks):
            self.handles.append(block.register_forward_hook(self.keep(f"block.{i}", pair=True)))
        for i, block in enumerate(transformer.single_transformer_blocks):
            self.handles.append(block.register_forward_hook(self.keep(f"single.{i}", pair=True)))

    def keep(self, name, pair=False):
        def hook(module, inputs, output):
            parts = {".text": output[0], ".image": output[1]} if pair else {"": output}
            for suffix, tensor in parts.items():
                if name + suffix not in self.tensors:
                    self.tensors[name + suffix] = tensor[0].clone()
        return hook

    def remove(self):
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def run_case(components, case, record, tensors):
    name, steps = case["name"], case["steps"]
    size = dict(width=case["width"], height=case["height"])
    kind = {"image": FluxImg2ImgPipeline, "inpaint": FluxInpaintPipeline}.get(name, FluxPipeline)
    pipeline = kind(**components)
    pipeline.set_progress_bar_config(disable=True)
    more = {key: case[key] for key in
            ("guidance_scale", "max_sequence_length", "true_cfg_scale", "negative_prompt",
             "strength") if key in case}
    if name in ("image", "inpaint"):
        init = picture(seed=case["seed"], **size)
        more["image"] = init
        tensors[f"{name}.init"] = torch.from_numpy(np.array(init))
    if name == "inpaint":
        more["mask_image"] = mask(**size)
        tensors["inpaint.mask"] = torch.from_numpy(np.array(more["mask_image"]))
    after = []

    def keep(pipe, index, timestep, values):
        after.append(unpack(pipe, values["latents"], case["height"], case["width"]).clone())
        return values

    recorder = Recorder(components["transformer"]) if record else None
    images = pipeline(prompt=case["prompt"], num_inference_steps=steps, output_type="np",
                      generator=torch.Generator().manual_seed(case["seed"]),
                      callback_on_step_end=keep, **size, **more).images
    if recorder:
        recorder.remove()
        for key, tensor in recorder.tensors.items():
            if tensor.nbytes <= KEEP_BYTES_MAX:
                tensors[f"{name}.transformer.{key}"] = tensor
        embeds, pooled, _ = pipeline.encode_prompt(
            case["prompt"], None, max_sequence_length=case["max_sequence_length"])
        tensors[f"{name}.prompt_embeds"] = embeds[0]
        tensors[f"{name}.pooled_prompt_embeds"] = pooled[0]
    tensors[f"{name}.latents_after"] = torch.stack(after)
    count = len(after)
    tensors[f"{name}.sigmas"] = pipeline.scheduler.sigmas[-count - 1:]
    tensors[f"{name}.timesteps"] = pipeline.scheduler.timesteps[-count:]
    tensors[f"{name}.image"] = torch.from_numpy((images[0] * 255).round().astype(np.uint8))


@torch.no_grad()
def run_in_bf16(components, case, tensors):
    """The case with every module in bf16, and in float32 from the same noise: what bf16 costs.

    Destroys the components.
    """
    pipeline = FluxPipeline(**components)
    pipeline.set_progress_bar_config(disable=True)
    size = dict(width=case["width"], height=case["height"])
    channels = components["transformer"].config.in_channels // 4

    def run(latents):
        after = []

        def keep(pipe, index, timestep, values):
            after.append(unpack(pipe, values["latents"], case["height"], case["width"]).float())
            return values

        pipeline(prompt=case["prompt"], num_inference_steps=case["steps"], output_type="latent",
                 guidance_scale=case["guidance_scale"], latents=latents,
                 max_sequence_length=case["max_sequence_length"], callback_on_step_end=keep, **size)
        return torch.stack(after)

    noise, _ = pipeline.prepare_latents(1, channels, case["height"], case["width"], torch.bfloat16,
                                        "cpu", torch.Generator().manual_seed(case["seed"]))
    tensors["bf16.f32_latents_after"] = run(noise.float())
    for module in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        components[module].to(torch.bfloat16)
    tensors["bf16.latents_after"] = run(noise)


def save_model(components, folder, tokenizers, fixtures, sharded):
    pipeline = FluxPipeline(**components)
    size = SHARD_BYTES if sharded else "10GB"
    pipeline.save_pretrained(folder, max_shard_size=size)
    # The pipeline's own loading sees all; copies of the tokenizers as they are in the wild.
    for name, source in zip(("tokenizer", "tokenizer_2"), tokenizers):
        shutil.rmtree(folder / name)
        shutil.copytree(fixtures / source / "tokenizer", folder / name)


def save_goldens(folder, model, cases, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()},
              folder / "goldens.safetensors")
    (folder / "goldens.json").write_text(json.dumps(
        dict(model=model, goldens="goldens.safetensors", cases=cases), indent=1) + "\n")
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder.name}: {len(tensors)} tensors, {total / 1024:.0f} KiB")


def record_shipped(output):
    model = "../../../../deploy/models/emoji"
    folder = output / "flux_shipped"
    pipeline = FluxPipeline.from_pretrained(Path(__file__).parents[2] / "deploy/models/emoji",
                                            torch_dtype=torch.float32)
    components = {name: pipeline.components[name] for name in
                  ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2",
                   "tokenizer_2", "transformer")}
    tensors, cases = {}, list(shipped_cases())
    for case in cases:
        run_case(components, case, False, tensors)
    save_goldens(folder, model, cases, tensors)


def record_tiny(name, output):
    folder = output / f"flux_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    components = make_components(name, output)
    save_model(components, folder / "model", FIXTURES[name][3], output, name == "sharded")
    tensors, cases = {}, list(cases_of(name))
    for case in cases:
        run_case(components, case, case["name"] == "text", tensors)
    run_in_bf16(components, cases[0], tensors)
    save_goldens(folder, "model", cases, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    parser.add_argument("--shipped", action="store_true", help="the model that ships, alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if args.shipped:
        record_shipped(args.output)
        return
    for name in FIXTURES:
        record_tiny(name, args.output)


if __name__ == "__main__":
    main()
