"""Dogs at a distance, and rooms without any: pictures made of labelled stills, in many lights and places.

A dog is cut out of a still that shows exactly one, with a soft edge, and put into one that shows none. The same seed
gives the same pictures.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from contract.models import BoundingBox

SEED = 7
SOFT = 0.3
"""How much of the way from its edge to its middle a cut-out fades in."""
LOWEST, HIGHEST = 0.45, 0.95
"""Where a dog's feet may be, in heights of the picture: on the floor."""
BLUR_PX, NOISE = 0.8, 8.0


@dataclass(frozen=True)
class Made:
    """A picture, and where its dog is; `box` None: there is none."""

    image: Image.Image
    box: BoundingBox | None


def cut(image: Image.Image, box: BoundingBox) -> Image.Image:
    """The dog in that box with an edge that fades, RGBA. The edge is a superellipse: dogs are no rectangles."""
    width, height = image.size
    left, top = round(box[0] * width), round(box[1] * height)
    dog = image.crop((left, top, round((box[0] + box[2]) * width), round((box[1] + box[3]) * height)))
    y, x = np.mgrid[-1 : 1 : dog.height * 1j, -1 : 1 : dog.width * 1j]
    radius = (np.abs(x) ** 4 + np.abs(y) ** 4) ** 0.25
    dog.putalpha(Image.fromarray((255 * np.clip((1 - radius) / SOFT, 0, 1)).astype(np.uint8)))
    return dog


def pasted(dogs: Sequence[Image.Image], rooms: Sequence[Image.Image], height: float, count: int) -> Iterator[Made]:
    """So many pictures with a dog of that height (of the picture's), each elsewhere and in another light."""
    chance = random.Random(SEED)
    for number in range(count):
        room = rooms[number % len(rooms)].copy()
        dog = dogs[number % len(dogs)]
        if chance.random() < 0.5:
            dog = dog.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tall = round(height * room.height)
        dog = dog.resize((max(2, round(dog.width * tall / dog.height)), tall), Image.Resampling.LANCZOS)
        left = round(chance.random() * max(0, room.width - dog.width))
        feet = max(height, chance.uniform(LOWEST, HIGHEST))
        top = round(feet * room.height) - tall
        room.paste(dog, (left, top), dog)
        box = (left / room.width, top / room.height, dog.width / room.width, tall / room.height)
        yield Made(_in_light(room, number), box)


def empty(rooms: Sequence[Image.Image], count: int) -> Iterator[Made]:
    """So many pictures without a dog: mirrored, nearer, and in other lights."""
    chance = random.Random(SEED)
    for number in range(count):
        room = rooms[number % len(rooms)]
        nearer = chance.choice((1.0, 0.8, 0.6))
        width, height = nearer * room.width, nearer * room.height
        left, top = chance.uniform(0, room.width - width), chance.uniform(0, room.height - height)
        part = room.resize(room.size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        if number % 2:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield Made(_in_light(part, number), None)


def _in_light(image: Image.Image, number: int) -> Image.Image:
    """As it is, dark, bright, out of focus, noisy: in turn."""
    kind = number % 5
    if kind == 1:
        return ImageEnhance.Brightness(image).enhance(0.6)
    if kind == 2:
        return ImageEnhance.Brightness(image).enhance(1.3)
    if kind == 3:
        return image.filter(ImageFilter.GaussianBlur(BLUR_PX))
    if kind == 4:
        noise = np.random.default_rng(number).normal(0, NOISE, (image.height, image.width, 1))
        return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    return image
