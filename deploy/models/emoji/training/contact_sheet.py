"""Draws the model card's pictures with a darkroomd that serves the model.

    darkroomd --model .. --listen 127.0.0.1:50051 &
    python contact_sheet.py --darkroom ../../../../build/bin/darkroom --output ../

contact_sheet.png: a column for every prompt, a row for every seed. edits.png: a column for every
edit; rows: a picture, where it is painted anew (white), the same picture painted there for another
prompt, and all of it turned into the other prompt's (image to image).
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 64
SEEDS = 3
PROMPTS = ["red apple", "grinning cat", "rocket", "pizza", "snowman", "strawberry", "rainbow",
           "sunflower", "panda", "octopus", "red heart", "hamburger", "umbrella", "soccer ball",
           "smiling face with sunglasses", "green apple"]
RIGHT_HALF, TOP_HALF = (SIZE // 2, 0, SIZE, SIZE), (0, 0, SIZE, SIZE // 2)
# From, to, what is painted, seed of both.
EDITS = [("red heart", "blue heart", RIGHT_HALF, 1), ("grinning face", "crying face", TOP_HALF, 1),
         ("red apple", "green apple", TOP_HALF, 1), ("panda", "bear", RIGHT_HALF, 1)]
IMAGE_TO_IMAGE_STRENGTH = 0.8


class Darkroom:
    """Its command line, with a folder for what comes back."""

    def __init__(self, program: Path, server: str, folder: Path):
        self.program, self.server, self.folder = program, server, folder

    def pictures(self, verb: str, count: int, *flags) -> list[Image.Image]:
        subprocess.run([self.program, verb, "--server", self.server, "--num-images", str(count),
                        "--out", self.folder / "{index}.png", *map(str, flags)],
                       check=True, stdout=subprocess.DEVNULL)
        return [Image.open(self.folder / f"{i}.png").convert("RGB") for i in range(count)]


def sheet_of(columns: list[list[Image.Image]]) -> Image.Image:
    sheet = Image.new("RGB", (len(columns) * SIZE, len(columns[0]) * SIZE), "white")
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            sheet.paste(picture, (x * SIZE, y * SIZE))
    return sheet


def edit(darkroom: Darkroom, before: str, after: str, painted: tuple, seed: int):
    original = darkroom.pictures("generate", 1, "--prompt", before, "--seed", seed)[0]
    mask = Image.new("RGB", (SIZE, SIZE), "black")
    ImageDraw.Draw(mask).rectangle((*painted[:2], painted[2] - 1, painted[3] - 1), fill="white")
    init, where = darkroom.folder / "init.png", darkroom.folder / "mask.png"
    original.save(init)
    mask.convert("L").save(where)
    common = ("--prompt", after, "--init", init, "--seed", seed + 2)
    inpainted = darkroom.pictures("edit", 1, *common, "--mask", where, "--mask-polarity", "white",
                                  "--strength", 1)[0]
    whole = darkroom.pictures("edit", 1, *common, "--strength", IMAGE_TO_IMAGE_STRENGTH)[0]
    return [original, mask, inpainted, whole]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--darkroom", type=Path, required=True, help="the command line tool")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        darkroom = Darkroom(args.darkroom.resolve(), args.server, Path(folder))
        prompts = [darkroom.pictures("generate", SEEDS, "--prompt", prompt, "--seed", 0)
                   for prompt in PROMPTS]
        edits = [edit(darkroom, *one) for one in EDITS]
    sheet_of(prompts).save(args.output / "contact_sheet.png", optimize=True)
    sheet_of(edits).save(args.output / "edits.png", optimize=True)


if __name__ == "__main__":
    main()
