"""From what an SSD network puts out to boxes: anchors, decoding, and suppression of what overlaps. Pure.

Anchors and decoding are those of SSD (Liu et al. 2016, sections 2.2 and 3.1; https://arxiv.org/abs/1512.02325), with
the sizes and the order that MediaPipe's SsdAnchorsCalculator gives them (ssd_anchors_calculator.cc) for the options of
this model's graph (mediapipe/modules/objectron/object_detection_oid_v4_cpu.pbtxt).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

INPUT_PX = 300
STRIDES_PX = (16, 32, 64, 128, 256, 512)
MIN_SCALE, MAX_SCALE = 0.2, 0.95
LOWEST_SCALE = 0.1
ASPECT_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)
CENTRE_SCALE, SIZE_SCALE = 10.0, 5.0
"""How the network's numbers are multiplied: the inverse of SSD's variances 0.1 and 0.2."""
MAX_LOG_SIZE = 4.0
"""Sizes are exponents; a network that answers nonsense must not make them overflow."""
MAX_CANDIDATES = 100
"""Boxes that are compared with each other, the best first; their number squared is the cost."""
MAX_IOU = 0.5
PART_SHARE, PART_SCORE = 0.5, 0.6
"""A box half of which is shared with a better one, with less than this share of its score, is a part of the same."""


@dataclass(frozen=True)
class Anchors:
    """Where boxes begin: centres and sizes as fractions of the picture, each of shape (n,)."""

    y: Floats
    x: Floats
    height: Floats
    width: Floats


def make_anchors() -> Anchors:
    """The 1917 anchors, in the order of the network's rows: by layer, row, column, then shape."""
    scales = [MIN_SCALE + (MAX_SCALE - MIN_SCALE) * i / (len(STRIDES_PX) - 1) for i in range(len(STRIDES_PX))]
    parts = []
    for layer, (stride, (scale, next_scale)) in enumerate(zip(STRIDES_PX, pairwise([*scales, 1.0]), strict=True)):
        if layer == 0:  # fewer boxes where there are most places
            shapes = [(LOWEST_SCALE, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            shapes = [*((scale, ratio) for ratio in ASPECT_RATIOS), (math.sqrt(scale * next_scale), 1.0)]
        cells = math.ceil(INPUT_PX / stride)
        middles = (np.arange(cells) + 0.5) / cells
        rows, columns, shape = np.meshgrid(middles, middles, np.arange(len(shapes)), indexing="ij")
        height = np.array([size / math.sqrt(ratio) for size, ratio in shapes])[shape]
        width = np.array([size * math.sqrt(ratio) for size, ratio in shapes])[shape]
        parts.append(np.stack([rows, columns, height, width]).reshape(4, -1))
    return Anchors(*np.concatenate(parts, axis=1).astype(np.float32))


def decode(codes: Floats, anchors: Anchors) -> Floats:
    """Boxes as left, top, right, bottom, shape (n, 4), in fractions of the picture and cut off at its edges.

    Args:
        codes: the network's boxes, shape (n, 4): y, x, height, width.
    """
    y = codes[:, 0] / CENTRE_SCALE * anchors.height + anchors.y
    x = codes[:, 1] / CENTRE_SCALE * anchors.width + anchors.x
    half_height = np.exp(np.minimum(codes[:, 2] / SIZE_SCALE, MAX_LOG_SIZE)) * anchors.height / 2
    half_width = np.exp(np.minimum(codes[:, 3] / SIZE_SCALE, MAX_LOG_SIZE)) * anchors.width / 2
    edges: Floats = np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)
    return np.clip(edges, 0.0, 1.0)


def sigmoid(logits: Floats) -> Floats:
    """The probabilities that belong to the network's logits."""
    one = np.float32(1.0)
    probabilities: Floats = one / (one + np.exp(-np.clip(logits, -30.0, 30.0)))
    return probabilities


def _shared(edges: Floats) -> tuple[Floats, Floats]:
    """What each box shares with each, shape (n, n), and the boxes' areas, shape (n,)."""
    low = np.maximum(edges[:, None, :2], edges[None, :, :2])
    high = np.minimum(edges[:, None, 2:], edges[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    return shared, np.prod(edges[:, 2:] - edges[:, :2], axis=1)


def iou(edges: Floats) -> Floats:
    """Intersection over union of each box with each, shape (n, n). Boxes as `decode` gives them."""
    shared, areas = _shared(edges)
    union: Floats = areas[:, None] + areas[None, :] - shared
    return (shared / np.maximum(union, 1e-9)).astype(np.float32)


def suppress(edges: Floats, scores: Floats) -> list[int]:
    """Non-maximum suppression: the indices of the boxes that stay, best first.

    Greedy (Felzenszwalb et al. 2010, section 4.1): the best stays, and what overlaps it by more than MAX_IOU goes. So
    does a much weaker box that lies in it, or around it, for the most part: a dog's head, or a dog with its shadow.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    shared, areas = _shared(edges[order])
    same = iou(edges[order]) > MAX_IOU
    part = shared > PART_SHARE * np.maximum(np.minimum(areas[:, None], areas[None, :]), 1e-9)
    part &= scores[order][None, :] < PART_SCORE * scores[order][:, None]
    kept: list[int] = []
    gone = np.zeros(len(order), bool)
    for at in range(len(order)):
        if not gone[at]:
            kept.append(int(order[at]))
            gone |= same[at] | part[at]
    return kept
