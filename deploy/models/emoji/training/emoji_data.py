"""The training data: emoji on white, their captions, and which captions are held out.

Reads `images.tar` (128 x 128 RGBA PNGs named `images/emoji_u<codepoints>.png`) and
`captions.jsonl` (`file`, `caption`, `keywords`) of the data folder.
"""

import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HELD_OUT_SHARE = 20  # one caption in twenty
SKIN_TONE_WEIGHT = 0.06  # of a skin-tone variant, where any other picture has 1


@dataclass(frozen=True)
class Emoji:
    file: str
    caption: str  # the CLDR short name: "red apple"
    keywords: tuple[str, ...]  # without the words that are the caption itself
    picture: Image.Image  # 128 x 128 RGB, on white

    @property
    def skin_tone(self) -> bool:
        return "skin tone" in self.caption

    @property
    def held_out(self) -> bool:
        """By the caption without its skin tones, so that no variant of a held-out emoji is seen."""
        head, _, tail = self.caption.partition(":")
        rest = [part.strip() for part in tail.split(",") if part and "skin tone" not in part]
        name = head + (": " + ", ".join(rest) if rest else "")
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0


def load_emoji(data: Path) -> list[Emoji]:
    """All emoji, in the order of captions.jsonl."""
    pictures = {}
    with tarfile.open(data / "images.tar") as tar:
        for member in tar:
            if not member.isfile():
                continue
            rgba = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            pictures[Path(member.name).name] = Image.alpha_composite(white, rgba).convert("RGB")
    emoji = []
    for line in (data / "captions.jsonl").read_text().splitlines():
        row = json.loads(line)
        keywords = tuple(word for word in row["keywords"] if word != row["caption"])
        emoji.append(Emoji(row["file"], row["caption"], keywords, pictures[row["file"]]))
    return emoji


def sampling_weights(emoji: list[Emoji]) -> list[float]:
    return [SKIN_TONE_WEIGHT if one.skin_tone else 1.0 for one in emoji]


def pixels(picture: Image.Image, size: int) -> np.ndarray:
    """size x size x 3 uint8."""
    if picture.width != size:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def augmented(picture: Image.Image, size: int, rng: random.Random, mirror: bool) -> np.ndarray:
    """A variant for the autoencoder and the scorer: shifted, scaled, perhaps mirrored."""
    scale = rng.uniform(0.8, 1.05)
    dx, dy = rng.uniform(-8, 8), rng.uniform(-8, 8)
    # PIL wants the inverse map: output pixel to input pixel, about the centre.
    centre = picture.width / 2
    flip = -1 if mirror and rng.random() < 0.5 else 1
    matrix = (flip / scale, 0, centre - flip * (centre + dx) / scale,
              0, 1 / scale, centre - (centre + dy) / scale)
    moved = picture.transform(picture.size, Image.Transform.AFFINE, matrix,
                              Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    return pixels(moved, size)


def prompt_for(one: Emoji, rng: random.Random) -> str:
    """A prompt that a person might give for this emoji: its name, with keywords, or keywords."""
    kind = rng.random()
    keywords = rng.sample(one.keywords, min(len(one.keywords), rng.randint(1, 3)))
    if kind < 0.5 or not keywords:
        return one.caption
    if kind < 0.6:
        return ("an " if one.caption[0] in "aeiou" else "a ") + one.caption
    if kind < 0.65:
        return "an emoji of " + one.caption
    if kind < 0.9:
        return ", ".join([one.caption, *keywords])
    return ", ".join(keywords)
