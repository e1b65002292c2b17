"""Writes the pipeline folder from the latest averaged weights, in bfloat16."""

import json
import shutil

import diffusers
import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler

from autoencoder import fold_normalisation, load_autoencoder
from generator import SHIFT, Generator
from scorer import export_scorer
from stage import ema_state

RECOMMENDED = dict(num_inference_steps=20, true_cfg_scale=2.5)
PARTS = {
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "T5EncoderModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "tokenizer_2": ("transformers", "T5TokenizerFast"),
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}


def export(args):
    examples = torch.load(args.run / "examples.pt")
    vae = load_autoencoder(args.run, args.size)
    fold_normalisation(vae, examples["mean"], examples["deviation"])
    generator = Generator(args.run)
    generator.load_state_dict(ema_state(args.run, "generator"))

    args.output.mkdir(parents=True, exist_ok=True)
    generator.transformer.to(torch.bfloat16).save_pretrained(args.output / "transformer")
    generator.clip.to(torch.bfloat16).save_pretrained(args.output / "text_encoder")
    generator.t5.to(torch.bfloat16).save_pretrained(args.output / "text_encoder_2")
    vae.to(torch.bfloat16).save_pretrained(args.output / "vae")
    FlowMatchEulerDiscreteScheduler(shift=SHIFT).save_pretrained(args.output / "scheduler")
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(args.run / name, args.output / name, dirs_exist_ok=True)
    index = {"_class_name": "FluxPipeline", "_diffusers_version": diffusers.__version__,
             "_transformers_version": transformers.__version__, **PARTS}
    (args.output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")

    (args.output / "generation_config.json").write_text(json.dumps(RECOMMENDED, indent=2) + "\n")
    if (args.run / "scorer.pt").exists():
        export_scorer(args, args.output / "scorer")
        shutil.copytree(args.run / "tokenizer", args.output / "scorer" / "tokenizer",
                        dirs_exist_ok=True)
