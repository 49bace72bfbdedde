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
MARGIN, SOFT = 0.12, 0.2
"""How much more than the dog is cut out at each side, and over how much of the way to the middle that fades in."""
LOWEST, HIGHEST = 0.45, 0.95
"""Where a dog's feet may be, in heights of the picture: on the floor."""
BLUR_PX, NOISE = 0.8, 8.0


@dataclass(frozen=True)
class Made:
    """A picture, and where its dog is; `box` None: there is none."""

    image: Image.Image
    box: BoundingBox | None


@dataclass(frozen=True)
class Cut:
    """A dog with what surrounds it, RGBA, and where in there it is."""

    image: Image.Image
    box: BoundingBox

    def mirrored(self) -> Cut:
        x, y, width, height = self.box
        return Cut(self.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (1 - x - width, y, width, height))


def cut(image: Image.Image, box: BoundingBox) -> Cut:
    """The dog in that box with an edge that fades: a superellipse, since dogs are no rectangles."""
    x, y, width, height = (side * size for side, size in zip(box, image.size * 2, strict=True))
    by_x, by_y = MARGIN * width, MARGIN * height
    left, top = round(max(0.0, x - by_x)), round(max(0.0, y - by_y))
    right, bottom = round(min(image.width, x + width + by_x)), round(min(image.height, y + height + by_y))
    dog = image.crop((left, top, right, bottom))
    down, along = np.mgrid[-1 : 1 : dog.height * 1j, -1 : 1 : dog.width * 1j]
    radius = (np.abs(along) ** 4 + np.abs(down) ** 4) ** 0.25
    dog.putalpha(Image.fromarray((255 * np.clip((1 - radius) / SOFT, 0, 1)).astype(np.uint8)))
    return Cut(dog, ((x - left) / dog.width, (y - top) / dog.height, width / dog.width, height / dog.height))


def pasted(dogs: Sequence[Cut], rooms: Sequence[Image.Image], height: float, count: int) -> Iterator[Made]:
    """So many pictures with a dog of that height (of the picture's), each elsewhere and in another light."""
    chance = random.Random(SEED)
    for number in range(count):
        room = rooms[number % len(rooms)].copy()
        dog = dogs[number % len(dogs)]
        if chance.random() < 0.5:
            dog = dog.mirrored()
        scale = height * room.height / (dog.box[3] * dog.image.height)
        shown = dog.image.resize(
            (max(2, round(dog.image.width * scale)), max(2, round(dog.image.height * scale))),
            Image.Resampling.LANCZOS,
        )
        left = round(chance.random() * max(0, room.width - shown.width))
        feet = max(height, chance.uniform(LOWEST, HIGHEST)) * room.height
        top = round(feet - (dog.box[1] + dog.box[3]) * shown.height)
        room.paste(shown, (left, top), shown)
        x, y, width, tall = dog.box
        box = (
            (left + x * shown.width) / room.width,
            (top + y * shown.height) / room.height,
            width * shown.width / room.width,
            tall * shown.height / room.height,
        )
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
