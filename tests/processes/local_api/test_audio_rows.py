"""The rows of /audio, with the audio process played by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.topics import COMMAND_TOPICS
from contract.errors import ContractError
from contract.models import AudioCurrent, AudioFiles
from tests.processes.local_api.conftest import Robot

PLAYING = AudioCurrent(state="playing", file="a.mp3", position_s=1.5, duration_s=None, volume=40)


class AudioRobot(Robot):
    """`asked`: what the audio process was asked."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked: list[str] = []


@pytest.fixture(scope="module")
def audio_robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioRobot]:
    robot = AudioRobot(tmp_path_factory.mktemp("robot"))
    answers = {
        "audio": None,
        "audio_stop": None,
        "audio_volume": None,
        "audio_toggle": PLAYING,
        "audio_next": PLAYING,
        "audio_previous": PLAYING,
        "audio_current": PLAYING,
        "audio_files": AudioFiles(["a.mp3", "犬.ogg"]),
    }

    def answer_to(name: str) -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:
            robot.asked.append(name)
            if name == "audio" and request.body.file == "mute.mp3":
                raise ContractError("AUDIO_UNAVAILABLE", "No sound can be played: there is no card.")
            return answers[name]

        return handle

    audio = robot.bus("audio")
    for name in answers:
        audio.serve(COMMAND_TOPICS[name], answer_to(name))
    robot.threads.append(audio.start())
    yield robot
    robot.close()


@pytest.fixture
def robot(audio_robot: AudioRobot) -> AudioRobot:
    audio_robot.asked.clear()
    return audio_robot


@pytest.mark.parametrize(
    ("row", "body", "command", "reply"),
    [
        ("POST /audio/play", {"file": "a.mp3"}, "audio", {"success": True}),
        ("POST /audio/stop", None, "audio_stop", {"success": True}),
        ("POST /audio/volume", {"level": 40}, "audio_volume", {"success": True}),
        ("POST /audio/toggle", None, "audio_toggle", {"success": True, "state": "playing", "file": "a.mp3"}),
        ("POST /audio/next", None, "audio_next", {"success": True, "state": "playing", "file": "a.mp3"}),
        ("POST /audio/previous", None, "audio_previous", {"success": True, "state": "playing", "file": "a.mp3"}),
        ("GET /audio/files", None, "audio_files", {"files": ["a.mp3", "犬.ogg"]}),
        (
            "GET /audio/current",
            None,
            "audio_current",
            {"state": "playing", "file": "a.mp3", "position_s": 1.5, "duration_s": None, "volume": 40},
        ),
    ],
)
def test_a_row_reaches_audio_and_answers_in_the_contracts_words(
    robot: AudioRobot, row: str, body: Any, command: str, reply: Any
) -> None:
    method, path = row.split(" ")
    answer = robot.ask(method, path, body)
    assert (answer.status, answer.json) == (200, reply)
    assert robot.asked == [command]


def test_a_robot_that_cannot_play_says_503_and_why(robot: AudioRobot) -> None:
    answer = robot.post("/audio/play", {"file": "mute.mp3"})
    assert (answer.status, answer.error) == (503, "AUDIO_UNAVAILABLE")


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "a\x00.wav", "", ".hidden.wav", "a.wav\n", 7, None])
def test_a_hostile_name_does_not_even_reach_audio(robot: AudioRobot, name: Any) -> None:
    answer = robot.post("/audio/play", {"file": name})
    assert (answer.status, answer.error) == (400, "INVALID_PARAMETER")
    assert not robot.asked
