"""Asking to be served first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hardware.priority import PROMPT_S, go_first

CHILD = """
import os, sys
from hardware.priority import go_first
print(go_first(), os.getpriority(os.PRIO_PROCESS, 0), sys.getswitchinterval())
"""


def test_a_process_gets_it_or_goes_on_without() -> None:
    said = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] in (["True", "-10"], ["False", str(os.getpriority(os.PRIO_PROCESS, 0))])
    assert float(said[2]) == PROMPT_S


def test_a_user_who_may_not_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    assert not go_first()
