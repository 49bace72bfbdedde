from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import SettingsError
from processes.local_api.token import robot_token


def test_it_is_made_once(tmp_path: Path) -> None:
    token = robot_token(tmp_path)
    assert robot_token(tmp_path) == token
    assert len(token) >= 40
    assert [path.name for path in tmp_path.iterdir()] == ["robot_token"]


def test_others_may_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "robot_token"
    path.write_text("chosen-by-the-owner\n")
    path.chmod(0o644)
    assert robot_token(tmp_path) == "chosen-by-the-owner"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "short", "has spaces in its middle", "ümlaute-sind-kein-token"])
def test_what_is_no_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "robot_token").write_text(text)
    with pytest.raises(SettingsError, match="Remove it"):
        robot_token(tmp_path)
