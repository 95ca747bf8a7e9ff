"""Files are replaced whole: by whoever writes, and whenever it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_scripts.files import is_temporary, replacing, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_there(tmp_path):
    write_text(tmp_path / "deep" / "a", "é\n")
    write_bytes(tmp_path / "deep" / "b", b"\x00")
    assert (tmp_path / "deep" / "a").read_bytes() == "é\n".encode()
    assert names(tmp_path / "deep") == ["a", "b"]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, OSError, SystemExit])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, exception):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_the_next_writer_overwrites_what_a_killed_one_left(tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from data_scripts.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('x' * 100)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, tmp_path / "file"], env=environment)
    left = [path for path in tmp_path.iterdir() if is_temporary(path)]
    assert [path.read_text() for path in left] == ["x" * 100]
    write_text(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_two_writers_wait_for_each_other(tmp_path):
    path = tmp_path / "file"
    seen = []

    def write(content: str) -> None:
        with replacing(path) as temporary, temporary.open("w") as file:
            for _ in range(50):
                file.write(content)
                file.flush()
                time.sleep(0.001)
        seen.append(path.read_text())

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(seen) == 4
    assert all(text == text[0] * 50 for text in seen)
    assert names(tmp_path) == ["file"]


def test_a_name_of_255_bytes(tmp_path):
    write_text(tmp_path / ("ä" * 127), "there")
    assert names(tmp_path) == ["ä" * 127]


def test_the_mode_of_the_old_file_is_kept(tmp_path):
    path = tmp_path / "file"
    path.write_text("secret")
    path.chmod(0o600)
    write_text(path, "still secret")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_and_what_it_points_to_is_not(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / ".other.part").symlink_to("mine")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "mine").read_text() == "mine"
    with pytest.raises(OSError):
        write_text(tmp_path / "other", "new")
    assert (tmp_path / "mine").read_text() == "mine"
