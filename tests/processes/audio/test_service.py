"""Audio on the in-memory bus, with a folder and a disk that are real and a player that does what the test says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Literal

import pytest
from msgspec import Struct

from bus.base import Latest
from bus.memory import MemoryHub
from bus.messages import AudioState, Fault
from bus.promise import Promise
from bus.topics import AUDIO_STATE, COMMAND_TOPICS, FAULTS
from contract.commands import Audio, Nothing, Volume
from contract.errors import ContractError
from contract.models import AudioCurrent, AudioFiles
from processes.audio.driver import SimulatedSink, Sink
from processes.audio.errors import OutputError, SoundError
from processes.audio.folder import Folder
from processes.audio.logic import gain_of
from processes.audio.player import Listener
from processes.audio.service import AudioService
from processes.audio.store import VolumeStore


class FakePlayer:
    """Begins when it is told to, and notes what is wanted."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.position_s = 0.0
        self.gain = 1.0
        self.number = 0
        self.did: list[str] = []
        self.silence: Future[None] | None = None
        self.slow_to_stop = False

    def play(self, number: int, file: BinaryIO) -> None:
        self.number = number
        self.did.append(f"play {Path(file.name).name if isinstance(file.name, str) else file.read().decode()}")
        file.close()

    def pause(self) -> Future[None]:
        return self._silent("pause")

    def resume(self) -> None:
        self.did.append("resume")

    def stop(self) -> Future[None]:
        return self._silent("stop")

    def _silent(self, what: str) -> Future[None]:
        self.did.append(what)
        self.silence = Future()
        if not self.slow_to_stop:
            self.silence.set_result(None)
        return self.silence

    def set_gain(self, gain: float) -> None:
        self.gain = gain

    def close(self) -> None:
        self.did.append("close")

    def start(self) -> None:
        self.listener.on_started(self.number, 3.0)


class FakeOutput:
    """A sound card that can be taken away."""

    def __init__(self) -> None:
        self.name: Literal["alsa", "simulated"] = "alsa"
        self.sink: Sink = SimulatedSink(lambda: 0.0)
        self.trouble: str | None = None
        self.probes = 0
        self.cards_changed = False

    def probe(self) -> None:
        self.probes += 1
        if self.trouble:
            raise OutputError(self.trouble)

    def changed(self) -> bool:
        changed, self.cards_changed = self.cards_changed, False
        return changed


class Robot:
    """The service with everything around it. Files hold their own names."""

    def __init__(self, directory: Path, *files: str, trouble: str | None = None) -> None:
        self.hub = MemoryHub()
        self.sounds = directory / "sounds"
        self.sounds.mkdir(exist_ok=True)
        for name in files:
            (self.sounds / name).write_text(name)
        self.output = FakeOutput()
        self.output.trouble = trouble
        self.monitor = self.hub.bus("monitor")
        self.faults: list[Fault] = []
        self.monitor.subscribe(FAULTS["audio"], lambda message: self.faults.append(message.value))
        self.states: list[AudioState] = []
        self.monitor.subscribe(AUDIO_STATE, lambda message: self.states.append(message.value), every_value=True)
        self.store = VolumeStore(directory / "volume", 70)
        self.bus = self.hub.bus("audio")
        self.service = AudioService(
            self.bus, Folder(self.sounds), self.store, self.output, self._make_player, beside=self._beside
        )
        self.latest = Latest(self.monitor, AUDIO_STATE)
        self.hub.run()

    def _make_player(self, listener: Listener) -> FakePlayer:
        self.player = FakePlayer(listener)
        return self.player

    def _beside(self, call: Callable[[], None]) -> None:
        call()

    def ask(self, command: str, body: Struct | None = None) -> Promise:
        future = self.monitor.request(COMMAND_TOPICS[command], body or Nothing())
        self.hub.run()
        return future

    def play(self, name: str) -> None:
        """Play, and hear it begin."""
        future = self.ask("audio", Audio(name))
        assert not future.done()
        self.start()
        assert future.result(0) == Nothing()

    def start(self) -> None:
        self.player.start()
        self.hub.run()

    def current(self) -> AudioCurrent:
        answer: AudioCurrent = self.ask("audio_current").result(0)
        return answer


def code_of(future: Promise) -> str:
    error = future.exception(0)
    assert isinstance(error, ContractError)
    assert len(error.message) > 20
    return error.code


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path, "a.wav", "b.mp3", "c.ogg")


def test_a_sound_is_answered_when_it_is_heard_and_not_before(robot: Robot) -> None:
    future = robot.ask("audio", Audio("b.mp3"))
    robot.hub.advance(1.0)
    assert not future.done()
    assert robot.current().state == "stopped"
    robot.start()
    assert future.result(0) == Nothing()
    assert robot.current() == AudioCurrent(state="playing", file="b.mp3", position_s=0.0, duration_s=3.0, volume=70)
    assert robot.states[-1].state == "playing"


def test_a_sound_that_does_not_begin_in_time_is_never_heard(robot: Robot) -> None:
    future = robot.ask("audio", Audio("b.mp3"))
    robot.hub.advance(4.5)
    assert code_of(future) == "AUDIO_UNAVAILABLE"
    assert robot.player.did == ["play b.mp3", "stop"]
    robot.start()
    assert robot.current().state == "stopped"


def test_a_new_sound_ends_the_old_one_and_answers_whoever_waited_for_it(robot: Robot) -> None:
    first = robot.ask("audio", Audio("a.wav"))
    old = robot.player.number
    second = robot.ask("audio", Audio("b.mp3"))
    assert code_of(first) == "SUPERSEDED"
    robot.player.listener.on_started(old, 1.0)
    assert not second.done()
    robot.start()
    assert second.result(0) == Nothing()
    assert robot.current().file == "b.mp3"


def test_a_name_that_is_not_there_leaves_what_plays_alone(robot: Robot) -> None:
    robot.play("a.wav")
    assert code_of(robot.ask("audio", Audio("gone.wav"))) == "NOT_FOUND"
    assert robot.current().file == "a.wav"
    assert robot.player.did == ["play a.wav"]


def test_a_damaged_file_is_told_by_its_name(robot: Robot) -> None:
    future = robot.ask("audio", Audio("a.wav"))
    robot.player.listener.on_failed(robot.player.number, SoundError("is damaged"))
    robot.hub.run()
    assert code_of(future) == "INVALID_PARAMETER"
    assert "'a.wav' is damaged" in str(future.exception(0))
    assert robot.current().state == "stopped"
    assert not robot.faults
    robot.play("b.mp3")


def test_stop_is_answered_when_it_is_silent(robot: Robot) -> None:
    robot.play("a.wav")
    robot.player.slow_to_stop = True
    future = robot.ask("audio_stop")
    assert not future.done()
    assert robot.player.silence is not None
    robot.player.silence.set_result(None)
    robot.hub.run()
    assert future.result(0) == Nothing()
    assert robot.states[-1].state == "stopped"


def test_stop_is_welcome_when_nothing_plays(robot: Robot) -> None:
    assert robot.ask("audio_stop").result(0) == Nothing()


def test_stop_while_it_begins_ends_the_waiting_too(robot: Robot) -> None:
    future = robot.ask("audio", Audio("a.wav"))
    robot.ask("audio_stop")
    assert code_of(future) == "SUPERSEDED"
    robot.start()
    assert robot.current().state == "stopped"


def test_toggle_pauses_and_goes_on(robot: Robot) -> None:
    robot.play("a.wav")
    robot.player.position_s = 1.234
    paused = robot.ask("audio_toggle").result(0)
    assert (paused.state, paused.file, paused.position_s) == ("paused", "a.wav", 1.23)
    resumed = robot.ask("audio_toggle")
    assert not resumed.done()
    robot.start()
    assert resumed.result(0).state == "playing"
    assert robot.player.did == ["play a.wav", "pause", "resume"]


def test_toggle_plays_the_last_sound_again_or_the_first(robot: Robot) -> None:
    future = robot.ask("audio_toggle")
    robot.start()
    assert future.result(0).file == "a.wav"
    robot.play("b.mp3")
    robot.player.listener.on_ended(robot.player.number)
    robot.hub.run()
    assert robot.current().state == "stopped"
    future = robot.ask("audio_toggle")
    robot.start()
    assert future.result(0).file == "b.mp3"


@pytest.mark.parametrize(
    ("command", "heard"), [("audio_next", ["b.mp3", "c.ogg", "a.wav"]), ("audio_previous", ["c.ogg", "b.mp3", "a.wav"])]
)
def test_next_and_previous_go_round_the_folder(robot: Robot, command: str, heard: list[str]) -> None:
    robot.play("a.wav")
    for name in heard:
        future = robot.ask(command)
        robot.start()
        assert (future.result(0).state, future.result(0).file) == ("playing", name)


def test_in_an_empty_folder_there_is_nothing_to_play(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    assert robot.ask("audio_files").result(0) == AudioFiles([])
    assert [code_of(robot.ask(command)) for command in ("audio_next", "audio_previous", "audio_toggle")] == [
        "NOT_FOUND"
    ] * 3


def test_files_are_those_that_are_there_now(robot: Robot) -> None:
    (robot.sounds / "new.flac").write_text("")
    (robot.sounds / "notes.txt").write_text("")
    assert robot.ask("audio_files").result(0).files == ["a.wav", "b.mp3", "c.ogg", "new.flac"]


def test_the_volume_is_heard_at_once_and_kept(robot: Robot, tmp_path: Path) -> None:
    assert robot.player.gain == gain_of(70)
    assert robot.ask("audio_volume", Volume(20)).result(0) == Nothing()
    assert robot.player.gain == gain_of(20)
    assert robot.states[-1].volume == 20
    again = Robot(tmp_path)
    assert again.player.gain == gain_of(20)
    assert again.current().volume == 20


def test_a_volume_that_cannot_be_kept_is_not_taken(robot: Robot, tmp_path: Path) -> None:
    (tmp_path / "volume.new").mkdir()
    assert code_of(robot.ask("audio_volume", Volume(20))) == "INTERNAL_ERROR"
    assert robot.player.gain == gain_of(70)
    assert robot.current().volume == 70


# -- the sound card --------------------------------------------------------------------------------


def test_without_a_sound_card_it_is_told_what_to_do_and_the_rest_works(tmp_path: Path) -> None:
    robot = Robot(tmp_path, "a.wav", trouble="audio open error: No such file or directory")
    for command, body in {
        "audio": Audio("a.wav"),
        "audio_next": None,
        "audio_previous": None,
        "audio_toggle": None,
    }.items():
        future = robot.ask(command, body)
        assert code_of(future) == "AUDIO_UNAVAILABLE"
        assert "Connect a sound card" in str(future.exception(0))
    assert robot.ask("audio_stop").result(0) == Nothing()
    assert robot.ask("audio_volume", Volume(5)).result(0) == Nothing()
    assert robot.ask("audio_files").result(0).files == ["a.wav"]
    assert robot.current().state == "stopped"
    assert robot.latest.message is not None
    assert robot.latest.message.value.trouble == "audio open error: No such file or directory"
    assert robot.player.did == ["stop"]


def test_a_missing_card_is_one_fault_and_its_return_ends_it(tmp_path: Path) -> None:
    robot = Robot(tmp_path, "a.wav", trouble="gone")
    robot.hub.advance(7.0)
    assert [fault.active for fault in robot.faults] == [True]
    assert robot.output.probes > 3
    robot.output.trouble = None
    robot.hub.advance(2.5)
    assert [(fault.code, fault.active) for fault in robot.faults] == [
        ("AUDIO_UNAVAILABLE", True),
        ("AUDIO_UNAVAILABLE", False),
    ]
    robot.play("a.wav")


def test_a_monitor_that_started_later_hears_of_it_too(tmp_path: Path) -> None:
    robot = Robot(tmp_path, "a.wav", trouble="gone")
    robot.hub.advance(35.0)
    assert 3 <= len(robot.faults) <= 5


def test_a_card_that_fails_while_it_plays_is_a_fault_and_comes_back(robot: Robot) -> None:
    robot.play("a.wav")
    robot.output.trouble = "unplugged"
    robot.player.listener.on_failed(robot.player.number, OutputError("write error: No such device"))
    robot.hub.run()
    assert robot.current().state == "stopped"
    assert robot.faults[-1].active
    assert code_of(robot.ask("audio", Audio("a.wav"))) == "AUDIO_UNAVAILABLE"
    robot.output.trouble = None
    robot.hub.advance(2.5)
    assert not robot.faults[-1].active
    robot.play("a.wav")


def test_a_card_that_is_taken_away_at_rest_is_noticed(robot: Robot) -> None:
    robot.hub.advance(10.0)
    assert robot.output.probes == 1
    robot.output.trouble, robot.output.cards_changed = "gone", True
    robot.hub.advance(2.5)
    assert [fault.active for fault in robot.faults] == [True]


def test_a_card_is_not_tried_while_it_plays(robot: Robot) -> None:
    robot.play("a.wav")
    robot.output.cards_changed = True
    robot.hub.advance(10.0)
    assert robot.output.probes == 1


def test_its_end_is_told_and_leaves_nobody_waiting(robot: Robot) -> None:
    future = robot.ask("audio", Audio("a.wav"))
    robot.service.close()
    robot.hub.run()
    assert code_of(future) == "UNAVAILABLE"
    assert robot.player.did[-1] == "close"
