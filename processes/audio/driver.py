"""Where sound goes: the sound card, through ALSA's own player, or a simulated speaker."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from processes.audio.errors import OutputError
from processes.audio.sound import BYTES_PER_S, CHANNELS, RATE_HZ

log = logging.getLogger(__name__)

BUFFER_S = 0.2
"""What a sound card holds: the delay of a stop would be that, and of a new volume is."""
PIPE_BYTES = 16_384
"""On the way to aplay: 85 ms. Less than one chunk, so that a chunk that is written has begun to be heard."""
POLL_S = 0.02
STUCK_S = 3.0
"""A sound card that takes nothing for so long never will."""
PROBE_WITHIN_S = 5.0
KILL_WITHIN_S = 2.0
KEPT_COMPLAINT = 2000
CARDS = Path("/proc/asound/pcm")
"""What the kernel has of sound cards; changes as they come and go."""

Wait = Callable[[float], bool]
"""Waits so many seconds; True, and at once, when something else is wanted meanwhile."""


class Sink(Protocol):
    """Takes sound in real time: 48 kHz, two channels, 16 bit. Used by one thread."""

    def open(self) -> None:
        """Raises:
        OutputError: there is nothing to play with.
        """

    def write(self, pcm: bytes, wait: Wait) -> None:
        """Give it the next piece. Returns when it is taken, or when `wait` says so; after a first whole chunk the
        sound is heard.

        Raises:
            OutputError: it does not take it.
        """

    def drain(self, wait: Wait) -> None:
        """Returns when all is heard, or when `wait` says so.

        Raises:
            OutputError: it was not heard.
        """

    def unheard_s(self) -> float:
        """How much was taken and is not heard yet."""

    def close(self) -> None:
        """Silence, now. What is not heard yet is dropped. Closing twice is nothing."""


class Output(Protocol):
    """A sink, and whether it can be used."""

    name: Literal["alsa", "simulated"]
    sink: Sink

    def probe(self) -> None:
        """Try it; may block for seconds.

        Raises:
            OutputError: saying why it cannot be used.
        """

    def changed(self) -> bool:
        """Whether sound cards came or went since this was asked last."""


class AplaySink:
    """The sound card, through `aplay`: a program of its own, which can be killed when the card's driver hangs, and ends
    by itself when we are killed, since its input does.

    Args:
        device: ALSA's name of it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._aplay: subprocess.Popen[bytes] | None = None
        self._written = 0
        self._complaint = b""

    def open(self) -> None:
        self.close()
        self._written, self._complaint = 0, b""
        self._aplay = aplay = _start_aplay(self._device, subprocess.PIPE)
        assert aplay.stdin is not None
        assert aplay.stderr is not None
        fcntl.fcntl(aplay.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(aplay.stdin.fileno(), False)
        os.set_blocking(aplay.stderr.fileno(), False)

    def write(self, pcm: bytes, wait: Wait) -> None:
        stdin = self._running().stdin
        assert stdin is not None
        left, give_up = memoryview(pcm), time.monotonic() + STUCK_S
        while left:
            self._listen()
            try:
                taken = os.write(stdin.fileno(), left)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise OutputError(f"the sound card has taken nothing for {STUCK_S:g} s") from None
                if wait(POLL_S):
                    return
                continue
            except BrokenPipeError:
                raise OutputError(self._last_words()) from None
            self._written += taken
            left, give_up = left[taken:], time.monotonic() + STUCK_S

    def drain(self, wait: Wait) -> None:
        aplay = self._running()
        assert aplay.stdin is not None
        give_up = time.monotonic() + self.unheard_s() + STUCK_S
        aplay.stdin.close()
        while aplay.poll() is None:
            self._listen()
            if time.monotonic() > give_up:
                raise OutputError("the sound card does not come to the end")
            if wait(POLL_S):
                return
        if aplay.returncode != 0:
            raise OutputError(self._last_words())

    def unheard_s(self) -> float:
        if self._aplay is None or self._aplay.stdin is None:
            return 0.0
        in_pipe = 0
        if not self._aplay.stdin.closed:
            in_pipe = int.from_bytes(fcntl.ioctl(self._aplay.stdin, termios.FIONREAD, b"\0" * 4), "little")
        return in_pipe / BYTES_PER_S + min(BUFFER_S, (self._written - in_pipe) / BYTES_PER_S)

    def close(self) -> None:
        aplay, self._aplay = self._aplay, None
        if aplay is None:
            return
        aplay.kill()
        for pipe in (aplay.stdin, aplay.stderr):
            if pipe is not None:
                pipe.close()
        try:
            aplay.wait(KILL_WITHIN_S)
        except subprocess.TimeoutExpired:
            log.error("aplay (pid %d) hangs in the sound card's driver and is left to it", aplay.pid)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._aplay is None:
            raise OutputError("the sound card is not open")
        return self._aplay

    def _listen(self) -> None:
        """Take what aplay says, or it would stand still with its pipe full."""
        assert self._aplay is not None
        assert self._aplay.stderr is not None
        said = self._aplay.stderr.read()  # None: nothing now
        if said:
            self._complaint = (self._complaint + said)[-KEPT_COMPLAINT:]

    def _last_words(self) -> str:
        aplay = self._running()
        try:
            aplay.wait(KILL_WITHIN_S)
        except subprocess.TimeoutExpired:
            return "aplay has closed its input"
        self._listen()
        return reason(self._complaint, aplay.returncode)


def _start_aplay(device: str, stdin: int) -> subprocess.Popen[bytes]:
    command = [
        "aplay",
        "--quiet",
        f"--device={device}",
        "--file-type=raw",
        "--format=S16_LE",
        f"--rate={RATE_HZ}",
        f"--channels={CHANNELS}",
        f"--buffer-time={round(BUFFER_S * 1e6)}",
        "--start-delay=1",  # µs: heard as soon as something is there, not when the buffer is full
        "-",
    ]
    try:
        # LC_ALL: its words are shown, among ours.
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"LC_ALL": "C"},
        )
    except OSError as error:
        raise OutputError(
            f"aplay cannot be started ({error.strerror}); `sudo apt-get install alsa-utils` installs it"
        ) from error


def reason(complaint: bytes, returncode: int) -> str:
    """What went wrong, from aplay's last line: `aplay: main:831: audio open error: No such file or directory`."""
    lines = [line for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return f"aplay ended with {returncode}"
    return re.sub(r"^aplay: \w+:\d+: ", "", lines[-1])[:200]


class AlsaOutput:
    """A sound card of this machine.

    Args:
        cards: the kernel's list of them.
    """

    name: Literal["alsa", "simulated"] = "alsa"

    def __init__(self, device: str, cards: Path = CARDS) -> None:
        self.sink: Sink = AplaySink(device)
        self._device = device
        self._cards = cards
        self._seen: str | None = None

    def probe(self) -> None:
        """Open the sound card as for a sound, and play nothing."""
        aplay = _start_aplay(self._device, subprocess.DEVNULL)
        try:
            _, said = aplay.communicate(timeout=PROBE_WITHIN_S)
        except subprocess.TimeoutExpired:
            aplay.kill()
            raise OutputError(f"the sound card does not answer within {PROBE_WITHIN_S:g} s") from None
        if aplay.returncode != 0:
            raise OutputError(reason(said, aplay.returncode))

    def changed(self) -> bool:
        try:
            cards = self._cards.read_text()
        except OSError:
            cards = ""  # a kernel without sound
        before, self._seen = self._seen, cards
        return before is not None and before != cards


class SimulatedSink:
    """A speaker that takes its time, as a sound card does, and is silent.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heard_at: float | None = None
        """When all that was written will be heard; None: it is not open."""

    def open(self) -> None:
        if self._heard_at is not None:
            raise OutputError("the simulated speaker is in use already")
        self._heard_at = self._now()

    def write(self, pcm: bytes, wait: Wait) -> None:
        self._heard_at = max(self._open(), self._now()) + len(pcm) / BYTES_PER_S
        over_s = self.unheard_s() - BUFFER_S
        if over_s > 0:
            wait(over_s)

    def drain(self, wait: Wait) -> None:
        self._open()
        while (left_s := self.unheard_s()) > 0:
            if wait(left_s):
                return

    def unheard_s(self) -> float:
        return 0.0 if self._heard_at is None else max(0.0, self._heard_at - self._now())

    def close(self) -> None:
        self._heard_at = None

    def _open(self) -> float:
        if self._heard_at is None:
            raise OutputError("the simulated speaker is not open")
        return self._heard_at


class SimulatedOutput:
    """A simulated speaker, which is always there."""

    name: Literal["alsa", "simulated"] = "simulated"

    def __init__(self, now: Callable[[], float]) -> None:
        self.sink: Sink = SimulatedSink(now)

    def probe(self) -> None:
        """Nothing to try."""

    def changed(self) -> bool:
        return False
