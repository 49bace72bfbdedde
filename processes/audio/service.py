"""Audio on the bus: one sound at a time, answered when it is heard."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

from msgspec import Struct

from bus import settings
from bus.base import Bus, Timer
from bus.codec import Request
from bus.errors import Unavailable
from bus.messages import AudioState, Fault
from bus.runner import Context
from bus.topics import AUDIO_STATE, COMMAND_TOPICS, FAULTS
from contract.commands import Nothing
from contract.errors import ContractError
from contract.models import AudioCurrent, AudioFiles
from hardware.board import is_raspberry_pi
from hardware.link import in_thread
from processes.audio.config import AudioConfig
from processes.audio.driver import AlsaOutput, Output, SimulatedOutput
from processes.audio.errors import OutputError, SoundError
from processes.audio.folder import Folder
from processes.audio.logic import Jukebox, gain_of, neighbour
from processes.audio.player import Listener, Player, ThreadPlayer
from processes.audio.store import VolumeStore

log = logging.getLogger(__name__)

STATE_S = 1.0
CHECK_S = 2.0
START_WITHIN_S = 4.0
"""A sound that does not begin by then is not played at all: its answer is due after 5 s (contract.commands)."""
REPEAT_FAULT_S = 10.0
"""Monitor may have started after us. It tells people once, however often it hears it."""

ACCEPTED = "Accepted: wav, mp3, ogg and flac files with sound in them."
WHAT_TO_DO = (
    "Connect a sound card (`aplay -l` lists those there are), or set `audio.device`; it is tried again by itself."
)


class AudioService:
    """Wires the jukebox to the bus, the folder, the player and the disk.

    Args:
        make_player: gets whom to tell.
        beside: runs what may block beside the loop.
    """

    def __init__(
        self,
        bus: Bus,
        folder: Folder,
        store: VolumeStore,
        output: Output,
        make_player: Callable[[Listener], Player],
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus, self._folder, self._store, self._output, self._beside = bus, folder, store, output, beside
        self._jukebox = Jukebox()
        self._volume_pct = store.read()
        self._player = make_player(self)
        self._player.set_gain(gain_of(self._volume_pct))
        self._answer: Future[Any] | None = None
        self._result: Callable[[], Struct] = Nothing
        self._deadline: Timer | None = None
        self._trouble: str | None = None
        self._fault_told_at = float("-inf")
        self._probing = False
        bus.serve(COMMAND_TOPICS["audio"], self._audio)
        bus.serve(COMMAND_TOPICS["audio_stop"], self._stop)
        bus.serve(COMMAND_TOPICS["audio_toggle"], self._toggle)
        bus.serve(COMMAND_TOPICS["audio_next"], lambda request: self._step(1))
        bus.serve(COMMAND_TOPICS["audio_previous"], lambda request: self._step(-1))
        bus.serve(COMMAND_TOPICS["audio_volume"], self._volume)
        bus.serve(COMMAND_TOPICS["audio_files"], lambda request: AudioFiles(folder.files()))
        bus.serve(COMMAND_TOPICS["audio_current"], lambda request: self._current())
        bus.every(STATE_S, self._publish_state)
        bus.every(CHECK_S, self._check)
        self._probe()
        self._publish_state()

    def close(self) -> None:
        self._end_start(Unavailable("The audio process is stopping."))
        self._player.close()

    # -- commands ---------------------------------------------------------------------------------

    def _audio(self, request: Request[Any]) -> Future[Any]:
        return self._play(request.body.file, Nothing)

    def _play(self, name: str, result: Callable[[], Struct]) -> Future[Any]:
        """Raises ContractError, and then whatever plays goes on; from there on it ends."""
        self._refuse_without_output()
        file = self._folder.open(name)
        answer = self._begin_start(result)
        self._player.play(self._jukebox.on_play(name), file)
        self._publish_state()
        return answer

    def _step(self, step: Literal[1, -1]) -> Future[Any]:
        name = neighbour(self._folder.files(), self._jukebox.file, step)
        if name is None:
            raise ContractError("NOT_FOUND", f"There is no sound in {self._folder.path.name}/; put some there.")
        return self._play(name, self._current)

    def _toggle(self, request: Request[Any]) -> Future[Any]:
        if self._jukebox.state != "playing":
            self._refuse_without_output()
        match self._jukebox.on_toggle():
            case "pause":
                return self._when_silent(self._player.pause(), self._current)
            case "resume":
                answer = self._begin_start(self._current)
                self._player.resume()
                return answer
            case "play":
                return self._step(1) if self._jukebox.file is None else self._play(self._jukebox.file, self._current)

    def _stop(self, request: Request[Any]) -> Future[Any]:
        self._end_start(ContractError("SUPERSEDED", "Playback was stopped before the sound began."))
        return self._when_silent(self._silence(), Nothing)

    def _when_silent(self, silence: Future[None], result: Callable[[], Struct]) -> Future[Any]:
        """An answer after the deed."""
        answer: Future[Any] = Future()

        def tell() -> None:
            self._publish_state()
            answer.set_result(result())

        silence.add_done_callback(lambda _: self._bus.call_soon(tell))
        return answer

    def _volume(self, request: Request[Any]) -> None:
        level: int = request.body.level
        try:
            self._store.write(level)
        except OSError as error:
            self._bus.counters["audio.disk_errors"] += 1
            log.error("the volume cannot be kept: %s", error)
            raise ContractError("INTERNAL_ERROR", f"The volume cannot be kept: {error.strerror}.") from error
        self._volume_pct = level
        self._player.set_gain(gain_of(level))
        self._publish_state()

    def _current(self) -> AudioCurrent:
        jukebox = self._jukebox
        if jukebox.state == "stopped":
            return AudioCurrent(state="stopped", file=None, position_s=0.0, duration_s=None, volume=self._volume_pct)
        return AudioCurrent(
            state=jukebox.state,
            file=jukebox.file,
            position_s=round(self._player.position_s, 2),
            duration_s=jukebox.duration_s,
            volume=self._volume_pct,
        )

    # -- a start: from the command until the sound is heard ------------------------------------------

    def _begin_start(self, result: Callable[[], Struct]) -> Future[Any]:
        self._end_start(ContractError("SUPERSEDED", "Another sound was asked for before this one began."))
        answer: Future[Any] = Future()
        self._answer, self._result = answer, result
        self._deadline = self._bus.call_later(START_WITHIN_S, self._too_late)
        return answer

    def _end_start(self, error: ContractError | None) -> None:
        """Answer whoever waits for a sound, if anybody does. None: it is heard."""
        answer, self._answer = self._answer, None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if answer is None:
            return
        if error is None:
            answer.set_result(self._result())
        else:
            answer.set_exception(error)

    def _too_late(self) -> None:
        self._bus.counters["audio.too_late"] += 1
        self._silence()
        self._end_start(ContractError("AUDIO_UNAVAILABLE", f"The sound did not begin within {START_WITHIN_S:g} s."))

    def _silence(self) -> Future[None]:
        self._jukebox.on_stop()
        silence = self._player.stop()
        self._publish_state()
        return silence

    # -- what the player tells ----------------------------------------------------------------------

    def on_started(self, number: int, duration_s: float | None) -> None:
        if self._jukebox.on_started(number, duration_s):
            self._bus.counters["audio.started"] += 1
            self._publish_state()
            self._end_start(None)

    def on_ended(self, number: int) -> None:
        if self._jukebox.on_over(number):
            self._publish_state()

    def on_failed(self, number: int, error: SoundError | OutputError) -> None:
        if not self._jukebox.on_over(number):
            return
        self._bus.counters["audio.failed"] += 1
        if isinstance(error, OutputError):
            self._set_trouble(str(error))
            self._end_start(self._unavailable())
        else:
            log.warning("%s %s", self._jukebox.file, error)
            self._end_start(ContractError("INVALID_PARAMETER", f"{self._jukebox.file!r} {error}. {ACCEPTED}"))
        self._publish_state()

    # -- the sound card -----------------------------------------------------------------------------

    def _refuse_without_output(self) -> None:
        if self._trouble is not None:
            raise self._unavailable()

    def _unavailable(self) -> ContractError:
        return ContractError("AUDIO_UNAVAILABLE", f"No sound can be played: {self._trouble}. {WHAT_TO_DO}")

    def _check(self) -> None:
        """Look for the sound card where there is none, and where cards came or went. It is left alone while it plays,
        since some have one user only."""
        changed = self._output.changed()
        if (changed or self._trouble is not None) and self._jukebox.idle:
            self._probe()
        if self._trouble is not None and self._bus.now() - self._fault_told_at >= REPEAT_FAULT_S:
            self._tell_fault()

    def _probe(self) -> None:
        if self._probing:
            return
        self._probing = True
        self._beside(self._try_output)

    def _try_output(self) -> None:
        trouble: str | None = None
        try:
            self._output.probe()
        except OutputError as error:
            trouble = str(error)
        self._bus.call_soon(lambda: self._probed(trouble))

    def _probed(self, trouble: str | None) -> None:
        self._probing = False
        if trouble is None or self._jukebox.idle:  # a card that plays by now refuses others
            self._set_trouble(trouble)

    def _set_trouble(self, trouble: str | None) -> None:
        before, self._trouble = self._trouble, trouble
        if (before is None) == (trouble is None):
            return
        if trouble is None:
            log.info("sounds can be played again")
        else:
            log.warning("no sound can be played: %s", trouble)
        self._tell_fault()
        self._publish_state()

    def _tell_fault(self) -> None:
        there = self._trouble is not None
        message = self._unavailable().message if there else "Sounds can be played again."
        self._bus.publish(FAULTS["audio"], Fault("AUDIO_UNAVAILABLE", message, "warning", active=there))
        self._fault_told_at = self._bus.now()

    # -- telling ------------------------------------------------------------------------------------

    def _publish_state(self) -> None:
        current = self._current()
        state = AudioState(
            current.state,
            current.file,
            current.position_s,
            current.duration_s,
            current.volume,
            self._output.name,
            self._trouble,
        )
        self._bus.publish(AUDIO_STATE, state)


class _Simulator(Struct, frozen=True):
    """What matters here of the section `simulator`: whether the machine is a simulated one."""

    enabled: bool = True


def open_output(config: AudioConfig, *, machine_is_simulated: bool) -> Output:
    """The output that is configured."""
    if config.output == "simulated" or (config.output == "auto" and machine_is_simulated):
        return SimulatedOutput(time.monotonic)
    return AlsaOutput(config.device)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    """
    config = context.section("audio", AudioConfig)
    simulated = context.section("simulator", _Simulator).enabled and not is_raspberry_pi()
    output = open_output(config, machine_is_simulated=simulated)
    folder = Folder(settings.ROOT / config.folder)
    log.info("sounds of %s go to: %s", folder.path, output.name)
    store = VolumeStore(context.data_dir / "audio_volume", config.start_volume)
    bus = context.bus
    service = AudioService(
        bus, folder, store, output, lambda listener: ThreadPlayer(output.sink, bus.call_soon, listener)
    )
    context.on_stop(service.close)
