"""Audio as a real process on the real bus, with a simulated speaker, and with ALSA where its player is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec import Struct

from bus import settings
from bus.messages import AudioState, Fault, Heartbeat
from bus.topics import AUDIO_STATE, COMMAND_TOPICS, FAULTS, HEARTBEATS
from bus.zeromq import ZmqBus
from contract.commands import Audio, Nothing, Volume
from contract.errors import ContractError
from contract.models import AudioCurrent, AudioFiles
from tests.processes.audio.conftest import write_sound

PATIENCE_S = 30.0
NULL_CARD = "pcm.!default { type null }\n"


class Robot:
    """The process, and the bus around it."""

    def __init__(self, directory: Path, **audio: Any) -> None:
        self.sounds = directory / "sounds"
        self.sounds.mkdir()
        self.config = directory / "robot_config.yaml"
        self.config.write_text(json.dumps({"audio": {"folder": str(self.sounds), **audio}}))
        self.data = directory / "data"
        self.data.mkdir()
        self.alsa = directory / "asound.conf"
        self.alsa.write_text("")
        self.bus = ZmqBus("local_api", settings.make_run_dir(self.data))
        self.changed = threading.Condition()
        self.state: AudioState | None = None
        self.beat: Heartbeat | None = None
        self.faults: list[Fault] = []
        self.bus.subscribe(AUDIO_STATE, lambda message: self._note("state", message.value))
        self.bus.subscribe(HEARTBEATS["audio"], lambda message: self._note("beat", message.value))
        self.bus.subscribe(FAULTS["audio"], lambda message: self._note("faults", [*self.faults, message.value]))
        self.thread = self.bus.start()
        self.processes: list[subprocess.Popen[str]] = []

    def _note(self, what: str, value: Any) -> None:
        with self.changed:
            setattr(self, what, value)
            self.changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), (self.state, self.faults)

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "processes.audio", "--config", str(self.config)],
            env=os.environ | {"WIMZ_DATA": str(self.data), "ALSA_CONFIG_PATH": str(self.alsa)},
            cwd=settings.ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        self.until(lambda: self.beat is not None and self.beat.pid == process.pid)
        return process

    def ask(self, command: str, body: Struct | None = None) -> Any:
        return self.bus.request(COMMAND_TOPICS[command], body or Nothing()).result(PATIENCE_S)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.bus.stop()
        self.thread.join()


@pytest.fixture
def robots(short_dir: Path) -> Iterator[Callable[..., Robot]]:
    made: list[Robot] = []

    def make(**audio: Any) -> Robot:
        made.append(Robot(short_dir, **audio))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_all_four_formats_play_one_after_the_other(robots: Callable[..., Robot]) -> None:
    robot = robots()  # `auto`, with a simulated machine
    names = ["a.wav", "b.mp3", "c.ogg", "d.flac"]
    for name in names:
        write_sound(robot.sounds / name, seconds=20.0)
    process = robot.start()
    assert robot.ask("audio_files") == AudioFiles(names)
    for name in names:
        assert robot.ask("audio", Audio(name)) == Nothing()
        current: AudioCurrent = robot.ask("audio_current")
        assert (current.state, current.file) == ("playing", name)
        assert current.duration_s == pytest.approx(20.0, abs=0.2)
    robot.until(lambda: robot.state is not None and robot.state.position_s > 0.5)
    assert robot.ask("audio_toggle").state == "paused"
    assert robot.ask("audio_next").file == "a.wav"
    robot.ask("audio_stop")
    assert robot.ask("audio_current").state == "stopped"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said


def test_a_short_sound_ends_by_itself(robots: Callable[..., Robot]) -> None:
    robot = robots()
    write_sound(robot.sounds / "short.wav", seconds=0.3)
    robot.start()
    robot.ask("audio", Audio("short.wav"))
    robot.until(lambda: robot.state is not None and robot.state.state == "playing")
    robot.until(lambda: robot.state is not None and robot.state.state == "stopped")


def test_what_cannot_be_played_is_told_and_hurts_nothing(robots: Callable[..., Robot]) -> None:
    robot = robots()
    (robot.sounds / "bad.mp3").write_bytes(b"nonsense" * 10_000)
    (robot.sounds / "out.wav").symlink_to("/etc/passwd")
    os.mkfifo(robot.sounds / "pipe.wav")
    write_sound(robot.sounds / "good.wav", seconds=20.0)
    robot.start()
    for name, code in {"bad.mp3": "INVALID_PARAMETER", "out.wav": "NOT_FOUND", "pipe.wav": "NOT_FOUND"}.items():
        with pytest.raises(ContractError) as refused:
            robot.ask("audio", Audio(name))
        assert refused.value.code == code
        assert name in refused.value.message
    assert robot.ask("audio", Audio("good.wav")) == Nothing()


@pytest.mark.parametrize("output", ["simulated", "alsa"])
def test_kill_9_while_it_plays_is_silence_and_keeps_the_volume(robots: Callable[..., Robot], output: str) -> None:
    robot = robots(output=output)
    robot.alsa.write_text(NULL_CARD)
    write_sound(robot.sounds / "long.flac", seconds=1800.0, rate_hz=8_000)
    process = robot.start()
    robot.ask("audio_volume", Volume(33))
    robot.ask("audio", Audio("long.flac"))
    children = [child.pid for child in psutil.Process(process.pid).children()]
    assert len(children) == (1 if output == "alsa" else 0)
    process.kill()
    process.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not all(gone(pid) for pid in children):
        assert time.monotonic() < deadline, "aplay outlives the process that feeds it"
        time.sleep(0.02)
    robot.start()
    current: AudioCurrent = robot.ask("audio_current")
    assert (current.state, current.volume) == ("stopped", 33)
    assert robot.ask("audio", Audio("long.flac")) == Nothing()


def test_a_robot_without_a_sound_card_is_well_and_plays_when_one_comes(robots: Callable[..., Robot]) -> None:
    robot = robots(output="alsa")
    write_sound(robot.sounds / "good.wav", seconds=0.5)
    robot.start()
    robot.until(lambda: any(fault.active for fault in robot.faults))
    with pytest.raises(ContractError) as refused:
        robot.ask("audio", Audio("good.wav"))
    assert refused.value.code == "AUDIO_UNAVAILABLE"
    assert "No such file or directory. Connect a sound card" in refused.value.message
    assert robot.ask("audio_files").files == ["good.wav"]
    robot.alsa.write_text(NULL_CARD)
    robot.until(lambda: robot.faults[-1].active is False)
    assert robot.ask("audio", Audio("good.wav")) == Nothing()
    assert [fault.code for fault in robot.faults if fault.active].count("AUDIO_UNAVAILABLE") >= 1


def test_a_sound_card_that_dies_while_it_plays_ends_the_sound_and_not_the_process(robots: Callable[..., Robot]) -> None:
    robot = robots(output="alsa")
    robot.alsa.write_text(NULL_CARD)
    write_sound(robot.sounds / "long.flac", seconds=1800.0, rate_hz=8_000)
    process = robot.start()
    robot.ask("audio", Audio("long.flac"))
    (aplay,) = psutil.Process(process.pid).children()
    robot.alsa.write_text("")
    aplay.kill()
    robot.until(lambda: robot.state is not None and robot.state.state == "stopped" and robot.state.trouble is not None)
    robot.alsa.write_text(NULL_CARD)
    robot.until(lambda: robot.state is not None and robot.state.trouble is None)
    assert robot.ask("audio", Audio("long.flac")) == Nothing()
    assert process.poll() is None


def test_a_wrong_setting_is_named_and_ends_it(short_dir: Path) -> None:
    (short_dir / "robot_config.yaml").write_text("audio: {output: loud}\n")
    done = subprocess.run(
        [sys.executable, "-m", "processes.audio", "--config", str(short_dir / "robot_config.yaml")],
        env=os.environ | {"WIMZ_DATA": str(short_dir / "data")},
        cwd=settings.ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "simulated" in done.stderr
