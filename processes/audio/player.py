"""Plays one sound at a time, in a thread of its own: decoded, made as loud as wanted, given to the sink."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from typing import BinaryIO, Protocol

import numpy as np

from processes.audio.driver import Sink
from processes.audio.errors import OutputError, SoundError
from processes.audio.sound import CHUNK_S, RATE_HZ, Chunk, Sound

log = logging.getLogger(__name__)

KEPT_CHUNKS = 8
"""Chunks that may still be unheard: what a pause cuts off is heard after it."""
CLOSE_WITHIN_S = 3.0


class Listener(Protocol):
    """Who is told of a play, by its number."""

    def on_started(self, number: int, duration_s: float | None) -> None:
        """It is heard, for the first time or again after a pause."""

    def on_ended(self, number: int) -> None:
        """It was heard to its end."""

    def on_failed(self, number: int, error: SoundError | OutputError) -> None: ...


class Player(Protocol):
    """What is played. A new play ends the old one."""

    position_s: float

    def play(self, number: int, file: BinaryIO) -> None:
        """Begin with a file, which the player closes."""

    def pause(self) -> Future[None]:
        """Returns a future that ends when it is silent, on any thread."""

    def resume(self) -> None: ...

    def stop(self) -> Future[None]:
        """Returns a future that ends when it is silent, on any thread."""

    def set_gain(self, gain: float) -> None: ...

    def close(self) -> None:
        """Silence, for good."""


class _File:
    """A file that ends early once nobody wants to hear it: FFmpeg may look through all of a damaged one for a sound."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.unwanted = False

    def read(self, size: int) -> bytes:
        return b"" if self.unwanted else self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, eq=False)
class _Job:
    number: int
    file: _File


class _Wishes:
    """What the loop wants of the player's thread. `version` grows with every wish."""

    def __init__(self) -> None:
        self.version = 0
        self.gain = 1.0
        self._changed = threading.Condition()
        self._job: _Job | None = None
        self._begun: _Job | None = None
        self._paused = False
        self._closed = False
        self._sounding = False
        self._silences: list[Future[None]] = []

    def put(self, job: _Job | None, *, closed: bool = False) -> None:
        """Play that, or nothing."""
        with self._changed:
            before, self._job, self._paused, self._closed = self._job, job, False, closed
            if before is not None:
                before.file.unwanted = True
                if before is not self._begun:
                    before.file.close()
            self._tell()

    def pause(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._tell()

    def silence(self) -> Future[None]:
        """A future that ends when nothing is heard of what was wanted until now."""
        silence: Future[None] = Future()
        with self._changed:
            if self._sounding:
                self._silences.append(silence)
                return silence
        silence.set_result(None)
        return silence

    def silent(self) -> None:
        """From the thread: the sink is closed."""
        with self._changed:
            self._sounding = False
            silences, self._silences = self._silences, []
        for silence in silences:
            silence.set_result(None)

    def take(self) -> _Job | None:
        """Wait for a job that was not begun yet; None: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._job is not None and self._job is not self._begun))
            self._begun = None if self._closed else self._job
            return self._begun

    def wait(self, version: int, seconds: float) -> bool:
        """Wait so long; True, and at once, when there was a wish since that version."""
        with self._changed:
            return self._changed.wait_for(lambda: self.version != version, seconds)

    def wait_to_play(self, job: _Job) -> int | None:
        """Wait while it is paused. The version of the wish that it goes on, and it counts as heard from here on; None:
        something else is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is not job or not self._paused)
            self._sounding = self._job is job
            return self.version if self._sounding else None

    def _tell(self) -> None:
        self.version += 1
        self._changed.notify_all()


class ThreadPlayer:
    """`Player` over a sink, which only its thread uses. Its methods never wait, but for `close`.

    Args:
        call_soon: runs something on the process's loop, where the listener is told.

    Attributes:
        position_s: how far the sound was heard.
    """

    def __init__(self, sink: Sink, call_soon: Callable[[Callable[[], None]], None], listener: Listener) -> None:
        self.position_s = 0.0
        self._sink, self._call_soon, self._listener = sink, call_soon, listener
        self._wishes = _Wishes()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def play(self, number: int, file: BinaryIO) -> None:
        self._wishes.put(_Job(number, _File(file)))

    def pause(self) -> Future[None]:
        self._wishes.pause(True)
        return self._wishes.silence()

    def resume(self) -> None:
        self._wishes.pause(False)

    def stop(self) -> Future[None]:
        self._wishes.put(None)
        return self._wishes.silence()

    def set_gain(self, gain: float) -> None:
        self._wishes.gain = gain

    def close(self) -> None:
        self._wishes.put(None, closed=True)
        self._thread.join(CLOSE_WITHIN_S)

    def _run(self) -> None:
        while (job := self._wishes.take()) is not None:
            try:
                if self._play(job):
                    self._tell_ended(job)
            except (SoundError, OutputError) as error:
                self._tell_failed(job, error)
            except Exception:
                log.exception("playing failed")
                self._tell_failed(job, SoundError("could not be played; the log says why"))
            finally:
                self._sink.close()
                self._wishes.silent()

    def _play(self, job: _Job) -> bool:
        """True: heard to its end; False: something else is wanted."""
        with closing(Sound(job.file)) as sound:
            performance = _Performance(self._wishes, job, sound, self._sink)
            for position_s in performance.run():
                self.position_s = position_s
                if performance.begins:
                    self._tell_started(job, sound.duration_s)
            if sound.bad_packets:
                log.warning("%d pieces of a damaged sound were passed over", sound.bad_packets)
            return performance.ended

    def _tell_started(self, job: _Job, duration_s: float | None) -> None:
        self._call_soon(lambda: self._listener.on_started(job.number, duration_s))

    def _tell_ended(self, job: _Job) -> None:
        self._call_soon(lambda: self._listener.on_ended(job.number))

    def _tell_failed(self, job: _Job, error: SoundError | OutputError) -> None:
        self._call_soon(lambda: self._listener.on_failed(job.number, error))


class _Performance:
    """One sound being played.

    Attributes:
        begins: it is heard from now on, for the first time or again after a pause.
        ended: it was heard to its end.
    """

    def __init__(self, wishes: _Wishes, job: _Job, sound: Sound, sink: Sink) -> None:
        self.begins = self.ended = False
        self._wishes, self._job, self._sound, self._sink = wishes, job, sound, sink
        self._version = -1  # none: it has not begun
        self._silent = True
        self._gain = wishes.gain
        self._again: deque[Chunk] = deque(maxlen=KEPT_CHUNKS)
        self._given: deque[Chunk] = deque(maxlen=KEPT_CHUNKS)
        self._given_frames = 0

    def run(self) -> Iterator[float]:
        """Play it until it has ended or something else is wanted; yields its position in s after each chunk."""
        chunks = self._sound.chunks()
        self._again.append(next(chunks))  # before the sound card is taken: it may be no sound
        while True:
            if self._interrupted():
                self._take_back()
                yield self._position_s()  # is known when the silence is told
                self._wishes.silent()
                if not self._begin():
                    return
            chunk = self._again.popleft() if self._again else next(chunks, None)
            if chunk is not None:
                self._give(chunk)
                yield self._position_s()
                self.begins = False
                continue
            self._sink.drain(self._wait)
            if not self._interrupted():
                self.ended = True
                return

    def _wait(self, seconds: float) -> bool:
        return self._wishes.wait(self._version, seconds)

    def _interrupted(self) -> bool:
        return self._wishes.version != self._version

    def _begin(self) -> bool:
        """Take the sound card, once nothing speaks against it. False: something else is wanted."""
        version = self._wishes.wait_to_play(self._job)
        if version is None:
            return False
        self._version, self._silent = version, True
        self._sink.open()
        return True

    def _take_back(self) -> None:
        """Silence. What the sound card has and was not heard yet is given to it again later."""
        for _ in range(min(len(self._given), ceil(self._sink.unheard_s() / CHUNK_S))):
            chunk = self._given.pop()
            self._given_frames -= len(chunk)
            self._again.appendleft(chunk)
        self._given.clear()
        self._sink.close()

    def _give(self, chunk: Chunk) -> None:
        gain = self._wishes.gain
        self._sink.write(louder(chunk, self._gain, gain).tobytes(), self._wait)
        self._gain = gain
        self._given.append(chunk)
        self._given_frames += len(chunk)
        self.begins = self._silent and not self._interrupted()
        self._silent = self._silent and not self.begins

    def _position_s(self) -> float:
        return max(0.0, self._given_frames / RATE_HZ - self._sink.unheard_s())


def louder(chunk: Chunk, before: float, after: float) -> Chunk:
    """The samples with a gain 0–1 that goes from `before` to `after`: a step would be heard as a click."""
    if before == after == 1.0:
        return chunk
    gain = np.linspace(before, after, len(chunk), endpoint=False, dtype=np.float32)
    scaled: Chunk = np.rint(chunk * gain[:, None]).astype(np.int16)
    return scaled
