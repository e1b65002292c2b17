"""Draws a contact sheet with diffusers: a column a prompt, a row a seed.

    python contact_sheet.py --model ../ --output sheet.png --prompts "red apple" "rocket"
"""

import argparse
from pathlib import Path

import torch
from diffusers import FluxPipeline
from PIL import Image

PROMPTS = ["red apple", "grinning cat", "rocket", "pizza", "snowman", "strawberry", "rainbow",
           "sunflower", "dog face", "octopus", "guitar", "hamburger", "panda", "umbrella",
           "soccer ball", "birthday cake"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--true-cfg-scale", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--zoom", type=int, default=1)
    args = parser.parse_args()

    pipeline = FluxPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    size, count = pipeline.vae.config.sample_size, len(args.prompts)
    sheet = Image.new("RGB", (count * size, len(args.seeds) * size), "white")
    for row, seed in enumerate(args.seeds):
        # One generator per picture: a picture depends on its own seed and prompt only.
        pictures = pipeline(
            prompt=args.prompts, negative_prompt=[""] * count, height=size, width=size,
            num_inference_steps=args.steps, true_cfg_scale=args.true_cfg_scale,
            max_sequence_length=pipeline.tokenizer_2.model_max_length,
            generator=[torch.Generator().manual_seed(seed) for _ in args.prompts]).images
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * size, row * size))
    sheet = sheet.resize((sheet.width * args.zoom, sheet.height * args.zoom), Image.BICUBIC)
    sheet.save(args.output, optimize=True)


if __name__ == "__main__":
    main()
