"""The training pictures: emoji composited on white, cropped to 64 x 64, lightly augmented.

Reads the two files of the data folder, `images.tar` (128 x 128 RGBA PNGs named
`images/emoji_u<codepoints>.png`) and `captions.jsonl` (`file`, `caption`), and the classes of
`classes.json` beside this file.
"""

import io
import json
import math
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

IMAGE_SIZE = 64
CLASSES = json.loads((Path(__file__).parent / "classes.json").read_text())


def load_pictures(data: Path) -> dict[str, Image.Image]:
    """All emoji but the skin-tone variants, as 128 x 128 RGB on white, by code points."""
    captions = {}
    for line in (data / "captions.jsonl").read_text().splitlines():
        row = json.loads(line)
        captions[row["file"]] = row["caption"]
    pictures = {}
    with tarfile.open(data / "images.tar") as tar:
        for member in tar:
            name = Path(member.name).name
            if "skin tone" in captions.get(name, "skin tone"):
                continue
            rgba = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            key = name.removeprefix("emoji_u").removesuffix(".png")
            pictures[key] = Image.alpha_composite(white, rgba).convert("RGB")
    return pictures


def shift_hue(picture: Image.Image, turn: float) -> Image.Image:
    """Rotates the hue by `turn` of a full circle; greys and white stay as they are."""
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(turn * 255)) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


def augment(picture: Image.Image, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """One 64 x 64 x 3 uint8 variant: flip, turn, scale, shift, hue and brightness, all slight."""
    if flip and rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = math.radians(rng.uniform(-5, 5))
    scale = rng.uniform(0.82, 0.96)
    dx, dy = rng.uniform(-4, 4, size=2)
    # PIL wants the inverse map: output pixel to input pixel, about the centre.
    cos, sin, centre = math.cos(angle) / scale, math.sin(angle) / scale, picture.width / 2
    matrix = (cos, sin, centre - cos * (centre + dx) - sin * (centre + dy),
              -sin, cos, centre + sin * (centre + dx) - cos * (centre + dy))
    picture = picture.transform(picture.size, Image.Transform.AFFINE, matrix,
                                Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    picture = picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    picture = shift_hue(picture, rng.uniform(-0.02, 0.02))
    # Saturation instead of brightness: brightness would tint the white background.
    picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.9, 1.1))
    return np.asarray(picture)


def class_pool(pictures: dict[str, Image.Image], variants: int, seed: int):
    """`variants` augmented pictures per class: (images N x 64 x 64 x 3 uint8, labels N int64)."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for index, entry in enumerate(CLASSES):
        for variant in range(variants):
            picture = pictures[entry["emoji"][variant % len(entry["emoji"])]]
            images.append(augment(picture, entry["flip"], rng))
            labels.append(index)
    return np.stack(images), np.array(labels)


def general_pool(pictures: dict[str, Image.Image], seed: int) -> np.ndarray:
    """One augmented variant of every picture: the autoencoder must not be tied to the classes."""
    rng = np.random.default_rng(seed)
    return np.stack([augment(p, True, rng) for _, p in sorted(pictures.items())])
