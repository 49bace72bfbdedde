"""Video as a real process on the real bus: the heartbeat of its loop, and how it stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import settings
from bus.messages import Heartbeat, Origin, Signal, SignalOut
from bus.topics import HEARTBEATS, SIGNAL, SIGNAL_OUT
from bus.zeromq import ZmqBus
from contract.errors import ContractError

PATIENCE_S = 30.0
APP = Origin("lan", "socket-1")


class App:
    """local_api, as far as video is concerned."""

    def __init__(self, run_dir: Path) -> None:
        self.beats: list[Heartbeat] = []
        self.frames: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.bus = ZmqBus("local_api", run_dir)
        self.bus.subscribe(HEARTBEATS["webrtc"], lambda message: self._note(self.beats, message.value))
        self.bus.subscribe(SIGNAL_OUT, lambda message: self._note(self.frames, _frame(message.value)))
        self._thread = self.bus.start()

    def _note(self, where: list[Any], what: Any) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait(self, where: list[Any], count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(where) >= count, PATIENCE_S)

    def ask(self, frame: dict[str, Any]) -> Any:
        return self.bus.request(SIGNAL, Signal(frame, APP), timeout_s=PATIENCE_S).result(PATIENCE_S)

    def close(self) -> None:
        self.bus.stop()
        self._thread.join()


def _frame(signal_out: SignalOut) -> dict[str, Any]:
    assert signal_out.origin == APP
    return signal_out.frame


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "robot_config.yaml").write_text("webrtc: {max_connections: 1}\n")
    settings.make_run_dir(tmp_path)
    yield tmp_path
    shutil.rmtree(settings.run_dir(tmp_path), ignore_errors=True)


@pytest.fixture
def app(data: Path) -> Iterator[App]:
    app = App(settings.run_dir(data))
    yield app
    app.close()


def start(data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "processes.webrtc", "--config", str(data / "robot_config.yaml")],
        env=os.environ | {"WIMZ_DATA": str(data)},
        cwd=settings.ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_beats_offers_and_stops_when_it_is_told(data: Path, app: App) -> None:
    process = start(data)
    try:
        app.wait(app.beats, 2)
        assert {beat.pid for beat in app.beats} == {process.pid}
        app.ask({"type": "webrtc_request", "session_id": "s1", "ice_servers": {"iceServers": []}})
        app.wait(app.frames, 1)
        assert app.frames[0]["type"] == "webrtc_offer"
        assert "m=video" in app.frames[0]["sdp"]["sdp"]
        with pytest.raises(ContractError, match="VIEWER_LIMIT"):
            app.ask({"type": "webrtc_request", "session_id": "s2", "ice_servers": []})
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_a_wrong_setting_is_named_and_ends_it(data: Path) -> None:
    (data / "robot_config.yaml").write_text("webrtc: {video: {bitrate: 1500}}\n")
    process = start(data)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "bitrate_kbps" in said
    assert "Traceback" not in said
