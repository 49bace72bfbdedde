"""The model is fetched whole and right, or not at all."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import settings
from processes.detector.config import DetectorConfig

SCRIPT = settings.ROOT / "scripts" / "fetch_model.py"
MODEL = settings.ROOT / DetectorConfig().model_file


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry whose packages are something else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b"not what was asked for" if "objectron" in self.path else b""
            content = content.ljust(32_667_233, b"\0")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(directory: Path, registry: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words, str(directory)],
        env=os.environ | {"NPM_CONFIG_REGISTRY": registry, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_another_package_than_the_one_that_is_expected_is_refused_and_leaves_nothing(
    tmp_path: Path, registry: str
) -> None:
    done = fetch(tmp_path / "models", registry)
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_without_a_network_the_demo_goes_on_with_a_clear_line(tmp_path: Path) -> None:
    done = fetch(tmp_path / "models", "http://127.0.0.1:9", "--optional")
    assert done.returncode == 0
    assert "Everything else works without it" in done.stderr
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.skipif(not MODEL.is_file(), reason="the model was not fetched: make model")
def test_a_model_that_is_there_is_not_fetched_again_and_a_damaged_one_is(tmp_path: Path, registry: str) -> None:
    there = tmp_path / MODEL.name
    shutil.copy(MODEL, there)
    assert fetch(tmp_path, registry).stdout == ""
    there.write_bytes(there.read_bytes()[:-1] + b"\0\0")
    assert "Fetching" in fetch(tmp_path, registry).stdout
