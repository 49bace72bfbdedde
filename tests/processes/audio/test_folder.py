"""Nothing outside of the folder is ever opened, and nothing in it but plain files."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import ContractError
from processes.audio.folder import Folder

SECRET = b"not a sound, and nobody's business"


@pytest.fixture
def folder(short_dir: Path) -> Folder:
    """`sounds/` with a sound, beside something secret that hostile names point to."""
    (short_dir / "secret.wav").write_bytes(SECRET)
    (short_dir / "sounds" / "inner").mkdir(parents=True)
    (short_dir / "sounds" / "inner" / "deep.wav").write_bytes(SECRET)
    (short_dir / "sounds" / "good.wav").write_bytes(b"good")
    return Folder(short_dir / "sounds")


def refusal(folder: Folder, name: str) -> str:
    with pytest.raises(ContractError) as refused:
        folder.open(name)
    assert "audio_files" in refused.value.message
    assert len(refused.value.message) < 500
    return refused.value.code


def test_a_sound_is_listed_and_opened(folder: Folder) -> None:
    assert folder.files() == ["good.wav"]
    with folder.open("good.wav") as file:
        assert file.read() == b"good"


@pytest.mark.parametrize(
    "name", ["../secret.wav", "inner/deep.wav", "./good.wav", "/etc/passwd", "..", "good.wav\x00.mp3", "good.wav/", ""]
)
def test_a_path_is_no_name(folder: Folder, name: str) -> None:
    assert refusal(folder, name) == "INVALID_PARAMETER"


PIECES = st.sampled_from(
    ["..", "/", "\\", "secret", "good", ".wav", "%2e%2e", "%2f", "\x00", "inner", "~", "．．", "／", "\u202e"]
)
NAMES = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=[]), max_size=300).map(lambda text: text + ".wav"),
)


@given(NAMES)
def test_no_name_opens_anything_but_the_sound(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="wz-") as directory:
        (Path(directory) / "secret.wav").write_bytes(SECRET)
        (Path(directory) / "sounds").mkdir()
        (Path(directory) / "sounds" / "good.wav").write_bytes(b"good")
        with contextlib.suppress(ContractError), Folder(Path(directory) / "sounds").open(name) as file:
            assert (name, file.read()) == ("good.wav", b"good")


def test_links_pipes_sockets_devices_and_folders_are_no_sounds(folder: Folder) -> None:
    (folder.path / "out.wav").symlink_to("../secret.wav")
    (folder.path / "in.wav").symlink_to("good.wav")
    (folder.path / "nowhere.wav").symlink_to("gone.wav")
    (folder.path / "zero.wav").symlink_to("/dev/zero")
    os.mkfifo(folder.path / "pipe.wav")
    (folder.path / "folder.wav").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder.path / "socket.wav"))
        for name in ("out", "in", "nowhere", "zero", "pipe", "folder", "socket"):
            assert refusal(folder, f"{name}.wav") == "NOT_FOUND", name
    assert folder.files() == ["good.wav"]


def test_the_folder_itself_may_be_a_link(folder: Folder) -> None:
    link = folder.path.parent / "link"
    link.symlink_to(folder.path)
    assert Folder(link).files() == ["good.wav"]
    Folder(link).open("good.wav").close()


def test_a_name_that_is_no_text_is_not_listed(folder: Folder) -> None:
    (Path(os.fsdecode(os.fsencode(folder.path) + b"/\xff.wav"))).write_bytes(b"")
    assert folder.files() == ["good.wav"]


def test_without_a_folder_there_are_no_sounds(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "nowhere")
    assert folder.files() == []
    assert refusal(folder, "good.wav") == "NOT_FOUND"


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ContractError, match=r"audio\.folder") as refused:
        Folder(tmp_path / "file").files()
    assert refused.value.code == "AUDIO_UNAVAILABLE"


def test_a_name_too_long_for_a_disk_is_not_there(folder: Folder) -> None:
    assert refusal(folder, "犬" * 120 + ".wav") == "NOT_FOUND"
