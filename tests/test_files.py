"""Atomic writes, capped reads and safe paths, with real files and a real SIGKILL."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import BadInput, CannotRun
from autotune.files import (
    cache_folder,
    check_writable,
    read_capped,
    safe_join,
    write_atomic,
)

as_root = os.geteuid() == 0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------------------- writing


def test_writes_a_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "out.json", b"whole")
    assert (tmp_path / "out.json").read_bytes() == b"whole"
    assert names_in(tmp_path) == ["out.json"]


def test_writes_more_than_one_write_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    write_atomic(tmp_path / "out.json", b"0123456789" * 10)
    assert (tmp_path / "out.json").read_bytes() == b"0123456789" * 10


def test_never_replaces_without_being_told(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_bytes(b"old")
    with pytest.raises(BadInput, match="exists") as caught:
        write_atomic(target, b"new")
    assert "--force" in caught.value.hint
    assert target.read_bytes() == b"old"
    write_atomic(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["out.json"]


def test_does_not_replace_a_file_that_appears_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.json"
    link = os.link

    def slow_link(source: Path, destination: Path) -> None:
        target.write_bytes(b"theirs")
        link(source, destination)

    monkeypatch.setattr(os, "link", slow_link)
    with pytest.raises(BadInput, match="exists"):
        write_atomic(target, b"ours")
    assert target.read_bytes() == b"theirs"
    assert names_in(tmp_path) == ["out.json"]


def refuse_to_link(source: Path, destination: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_writes_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse_to_link)
    write_atomic(tmp_path / "out.json", b"whole")
    assert (tmp_path / "out.json").read_bytes() == b"whole"
    with pytest.raises(BadInput, match="exists"):
        write_atomic(tmp_path / "out.json", b"again")
    assert names_in(tmp_path) == ["out.json"]


def test_gives_a_claimed_name_back_when_the_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, destination: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse_to_link)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CannotRun, match="Input/output"):
        write_atomic(tmp_path / "out.json", b"whole")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_never_writes_through_a_symbolic_link(tmp_path: Path, overwrite: bool) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / "out.json").symlink_to(other)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    for name in ("out.json", "dangling.json"):
        with pytest.raises(BadInput, match="symbolic link"):
            write_atomic(tmp_path / name, b"new", overwrite=overwrite)
    assert other.read_bytes() == b"precious"
    assert names_in(tmp_path) == ["dangling.json", "other", "out.json"]


@pytest.mark.fault("C13")
@pytest.mark.parametrize("overwrite", [False, True])
def test_refuses_what_is_not_a_file(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "folder", "a folder"),
        (tmp_path / "pipe", "a pipe"),
        (Path("/dev/full"), "a device"),
    ):
        with pytest.raises(BadInput, match=kind):
            write_atomic(path, b"new", overwrite=overwrite)
        with pytest.raises(BadInput, match=kind):
            check_writable(path, overwrite=overwrite)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing/out.json", "no such"),
        ("file/out.json", "not a folder"),
        ("n" * 300, "too long"),
        ("a\0b", "not a path"),
        ("\udc80\ud800", "not a path"),
        ("loop/out.json", "symbolic links"),
    ],
)
def test_refuses_a_path_in_one_sentence_before_the_work(
    tmp_path: Path, name: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for attempt in (check_writable, lambda path: write_atomic(path, b"")):
        with pytest.raises(BadInput, match=problem):
            attempt(tmp_path / name)
    assert names_in(tmp_path) == ["file", "loop"]


@pytest.mark.fault("C13")
@pytest.mark.skipif(as_root, reason="root may write everywhere")
def test_refuses_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="not writable"):
        check_writable(tmp_path / "out.json")


def test_writes_into_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o300)
    write_atomic(folder / "out.json", b"whole")
    folder.chmod(0o700)
    assert names_in(folder) == ["out.json"]


@pytest.mark.fault("C12")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "close"])
def test_a_full_disk_leaves_nothing_and_names_the_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    genuine = getattr(os, call)

    def fail(*arguments: object) -> None:
        if call == "close":
            genuine(*arguments)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(CannotRun, match=r"no space left.*free"):
        write_atomic(tmp_path / "out.json", b"new")
    monkeypatch.undo()
    assert names_in(tmp_path) == []


@pytest.mark.fault("C12")
def test_a_limit_on_file_size_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from autotune.files import write_atomic\n"
        "from autotune.errors import CannotRun\n"
        "try: write_atomic(Path(sys.argv[1]), bytes(100_000))\n"
        "except CannotRun as error: print(error.message)"
    )
    ended = subprocess.run(
        [sys.executable, "-B", "-c", script, tmp_path / "out.json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "no space left" in ended.stdout, ended.stderr
    assert names_in(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "out.json", b"new")
    assert names_in(tmp_path) == []


@pytest.mark.fault("C3")
@pytest.mark.parametrize(
    ("call", "overwrite"), [("fsync", False), ("link", False), ("replace", True)]
)
def test_a_kill_before_the_rename_leaves_the_target_as_it_was(
    tmp_path: Path, call: str, overwrite: bool
) -> None:
    target = tmp_path / "out.json"
    if overwrite:
        target.write_bytes(b"old")
    script = (
        "import os, signal, sys; from pathlib import Path; from autotune.files import *\n"
        f"os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_atomic(Path(sys.argv[1]), b'new', overwrite={overwrite})"
    )
    ended = subprocess.run([sys.executable, "-c", script, target], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert (target.read_bytes() == b"old") if overwrite else not target.exists()
    # And what the kill left behind does not stand in the way of the next attempt.
    write_atomic(target, b"new", overwrite=overwrite)
    assert target.read_bytes() == b"new"


# ----------------------------------------------------------------------------------- reading


def test_reads_up_to_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"12345678")
    assert read_capped(path, 8) == b"12345678"
    with pytest.raises(BadInput, match="larger than 7 B"):
        read_capped(path, 7)


def test_reads_through_a_symbolic_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1")
    (tmp_path / "link").symlink_to("in")
    assert read_capped(tmp_path / "link", 8) == b"1"


def test_caps_a_file_that_hides_its_size() -> None:
    with pytest.raises(BadInput, match="larger"):
        read_capped(Path("/proc/self/environ"), 0)


@pytest.mark.timeout(10)
def test_refuses_without_blocking_what_is_not_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # the address of a socket may have 107 characters
    server.bind("socket")
    with server:
        for path, kind in (
            (tmp_path, "a folder"),
            (tmp_path / "pipe", "a pipe"),
            (tmp_path / "socket", "not a regular file"),
            (Path("/dev/zero"), "a device"),
        ):
            with pytest.raises(BadInput, match=kind):
                read_capped(path, 100)


@pytest.mark.parametrize("name", ["missing", "missing/x", "a\0b", "n" * 300])
def test_explains_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        read_capped(tmp_path / name, 100)


# -------------------------------------------------------------------------------- safe paths


def test_joins_inside_the_root(tmp_path: Path) -> None:
    assert safe_join(tmp_path, "a", "b/c") == tmp_path / "a" / "b" / "c"


@pytest.mark.parametrize("part", ["..", "a/../../b", "/etc/passwd", "", "a\0b", "out/x", "loop/x"])
def test_never_leaves_the_root(tmp_path: Path, part: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(BadInput):
        safe_join(root, part)


def test_the_cache_lies_where_it_is_told_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "deep" / "own"))
    folder = cache_folder("models", "demo")
    assert folder == tmp_path / "deep" / "own" / "models" / "demo"
    for level in (folder, folder.parent, folder.parent.parent):
        assert level.stat().st_mode & 0o777 == 0o700
    assert cache_folder("models", "demo") == folder


def test_the_cache_follows_the_xdg_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOTUNE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "autotune"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "autotune"


@pytest.mark.fault("C14")
def test_says_how_to_move_a_cache_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("AUTOTUNE_CACHE", str(place))
        with pytest.raises(CannotRun) as caught:
            cache_folder()
        assert "AUTOTUNE_CACHE" in caught.value.hint
