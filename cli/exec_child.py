"""Becomes another program, after it has made sure to end with its parent.

    python -I -S exec_child.py SIGNAL PARENT [UID GID] -- PROGRAM ARGUMENT...

A program of its own, since Python code between fork and exec (`preexec_fn`) may hang for ever where there are threads.
It imports little, so that it takes a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(death_signal: int, parent_pid: int) -> None:
    """Have the kernel send `death_signal` to this process when `parent_pid`, its parent, ends.

    Ends the process when the parent is gone already.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        os._exit(0)


def main(words: list[str]) -> None:
    """Drop to the account, if one is given; then the signal, which a change of account clears; then the program."""
    split = words.index("--")
    death_signal, parent_pid, *account = map(int, words[:split])
    program = words[split + 1 :]
    if account:
        uid, gid = account
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    die_with_parent(death_signal, parent_pid)
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
