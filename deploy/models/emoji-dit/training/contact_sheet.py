"""Draws a contact sheet with diffusers: classes side by side, a row per seed, in bands.

    python contact_sheet.py --model ../ --output ../contact_sheet.png
"""

import argparse
from pathlib import Path

import torch
from diffusers import DiTPipeline
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--classes", type=int, nargs="+", help="class ids (default: all)")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--columns", type=int, default=16, help="classes per band of rows")
    args = parser.parse_args()

    pipeline = DiTPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    classes = args.classes or sorted(set(pipeline.labels.values()))
    size = pipeline.vae.config.sample_size
    bands = -(-len(classes) // args.columns)
    sheet = Image.new("RGB", (args.columns * size, bands * len(args.seeds) * size), "white")
    for row, seed in enumerate(args.seeds):
        # One generator per picture: a picture depends on its own seed and class only.
        generators = [torch.Generator().manual_seed(seed) for _ in classes]
        pictures = pipeline(class_labels=classes, guidance_scale=args.guidance,
                            num_inference_steps=args.steps, generator=generators).images
        for index, picture in enumerate(pictures):
            band, column = divmod(index, args.columns)
            sheet.paste(picture, (column * size, (band * len(args.seeds) + row) * size))
    sheet.quantize(256).save(args.output, optimize=True)  # a palette: a third of the size


if __name__ == "__main__":
    main()
