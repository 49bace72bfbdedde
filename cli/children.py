"""Child processes that cannot outlive this one.

A server that is started by a command must end with it, also when the command is killed with SIGKILL and
has no chance to clean up. Linux offers PR_SET_PDEATHSIG for that (prctl(2)): the kernel signals the child
when its parent ends. Three of its properties shape this module: it is cleared by a change of credentials
(so it is set after setuid), it fires when the *thread* that spawned ends (so only the main thread may
spawn), and a parent that ended before the call is missed (so the child compares getppid afterwards).
`exec_child.py` does that part, in the child.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError

SHIM = Path(__file__).with_name("exec_child.py")
POLL_S = 0.02
KILL_WAIT_S = 5.0
LOG_CAP_BYTES = 4 * 1024 * 1024
LOG_KEEP_BYTES = 256 * 1024


class ChildError(CommandError):
    """A child process could not be started, or ended when it should not have."""


@dataclass(frozen=True)
class User:
    """The account that a child runs as."""

    name: str
    uid: int
    gid: int


class Child:
    """One child process with a log file, in a session of its own.

    Args:
        name: what people call it, for messages.
        argv: the program and its arguments.
        log: the file that takes its standard output and error; emptied at start, and cut by `trim_log`.
        env: its whole environment; ours when None.
        user: the account to run as; ours when None. Needs root.
        stop_signal: what asks it to end, both from `stop` and from the kernel when this process ends.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: User | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._env = env
        self._user = user
        self._stop_signal = stop_signal
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises ChildError before `start`."""
        if self._process is None:
            raise ChildError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs (or before `start`), else as subprocess has it: −N when signal N ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it.

        Raises:
            ChildError: not called from the main thread, it runs already, or its program cannot be run.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel would signal the child as soon as this thread ended.
            raise ChildError(f"{self.name} must be started from the main thread")
        if self.running:
            raise ChildError(f"{self.name} is already running (pid {self.pid})")
        if not os.access(self._argv[0], os.X_OK):
            reason = os.strerror(errno.EACCES if os.path.exists(self._argv[0]) else errno.ENOENT)
            raise ChildError(f"{self.name} could not be started: {self._argv[0]}: {reason}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as fresh, self.log.open("ab") as output:
            del fresh  # only empties the file; appending is what lets trim_log cut it while it is written to
            try:
                self._process = subprocess.Popen(
                    self._shimmed(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd="/" if self._user else None,  # our own directory may be closed to that account
                    start_new_session=True,  # Ctrl-C in the terminal is for us; we stop it in our own order
                    pass_fds=self._pass_fds,
                )
            except OSError as error:
                raise ChildError(f"{self.name} could not be started: {error.strerror}") from error

    def _shimmed(self) -> list[str]:
        """The command that becomes the program once the kernel knows what to do when we end."""
        account = [str(self._user.uid), str(self._user.gid)] if self._user else []
        return [
            *(sys.executable, "-I", "-S", str(SHIM), str(int(self._stop_signal)), str(os.getpid())),
            *(*account, "--", *self._argv),
        ]

    def wait_ready(self, probe: Callable[[], str | None], timeout_s: float) -> None:
        """Wait until `probe` finds nothing missing.

        Args:
            probe: None when ready, else what is still missing, in words.
            timeout_s: the longest wait.

        Raises:
            ChildError: the child ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while (missing := probe()) is not None:
            if not self.running:
                raise ChildError(f"{self.name} ended at start with code {self.returncode}.{self.log_for_people()}")
            if time.monotonic() > deadline:
                raise ChildError(f"{self.name} was not ready within {timeout_s:g} s: {missing}.{self.log_for_people()}")
            time.sleep(POLL_S)

    def wait(self, timeout_s: float) -> int:
        """Wait for it to end by itself and return its code. Raises ChildError when it does not in time."""
        if self._process is None:
            raise ChildError(f"{self.name} has not been started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.stop(0.0)
            raise ChildError(f"{self.name} had not ended after {timeout_s:g} s.{self.log_for_people()}") from error

    def ask_to_stop(self) -> None:
        """Send the stop signal and do not wait. Nothing happens when it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, and kill its whole process group when it has not after `timeout_s`. Idempotent."""
        process = self._process
        if process is None:
            return
        self.ask_to_stop()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(KILL_WAIT_S)

    def log_tail(self, lines: int = 20) -> str:
        """The last `lines` lines of its log; empty when there is none."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - LOG_KEEP_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def trim_log(self, cap_bytes: int = LOG_CAP_BYTES, keep_bytes: int = LOG_KEEP_BYTES) -> bool:
        """Cut the log to its last `keep_bytes` when it has passed `cap_bytes`. True when it was cut."""
        try:
            with self.log.open("r+b") as log:
                size = log.seek(0, os.SEEK_END)
                if size <= cap_bytes:
                    return False
                log.seek(size - keep_bytes)
                kept = log.read(keep_bytes)
                log.seek(0)
                log.truncate()
                log.write(kept)
                return True
        except FileNotFoundError:
            return False

    def log_for_people(self) -> str:
        """Where its log is and how it ends, as a sentence to put behind an error."""
        tail = self.log_tail()
        return f" Its log, {self.log}, ends:\n{tail}" if tail else f" Its log, {self.log}, is empty."
