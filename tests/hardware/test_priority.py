"""Asking to be served first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hardware.priority import go_first

CHILD = "import os; from hardware.priority import go_first; print(go_first(), os.getpriority(os.PRIO_PROCESS, 0))"


def test_a_process_gets_it_or_goes_on_without() -> None:
    said = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout.split()
    assert said in (["True", "-10"], ["False", str(os.getpriority(os.PRIO_PROCESS, 0))])


def test_a_user_who_may_not_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    assert not go_first()
