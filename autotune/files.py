"""Atomic writes, capped reads and safe paths: the only code that writes results."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from autotune.errors import AutotuneError, BadInput, CannotRun, shorten
from autotune.strict_json import canonical_json, digest, parse_json, pretty_json
from autotune.units import format_bytes

__all__ = [
    "cache_folder",
    "canonical_json",
    "check_writable",
    "digest",
    "is_full",
    "make_folder",
    "make_private",
    "open_private",
    "parse_json",
    "pretty_json",
    "read_capped",
    "safe_join",
    "write_atomic",
]

#: Modes of what lies in the folder of a study: it is its user's, whatever the umask.
PRIVATE, PRIVATE_FOLDER, PRIVATE_UMASK = 0o600, 0o700, 0o077
#: What the umask leaves of this.
_SHARED = 0o666
#: A file that nobody had, reached through no link.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: The user's path is at fault, rather than the machine.
_PATH_ERRORS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.EEXIST: "something that is no folder is there",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "too many symbolic links",
    errno.ENXIO: "it is not a regular file",
}
#: EFBIG is a limit on the size of files, which the user meets as a disk that is full.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# ----------------------------------------------------------------------------------- writing


def check_writable(path: Path, *, overwrite: bool = False) -> None:
    """Find out before the work whether its result can be written to ``path``.

    Raises:
        BadInput: If the folder is missing or closed, if something that is not a regular file
            stands there, or a file does and may not be replaced.
        CannotRun: If the disk is full or fails.
    """
    _check_place(path, overwrite)
    # Rights are not all: root has every one, and read-only file systems and /proc still refuse.
    temporary = _temporary(path)
    with _explained("write", path):
        try:
            os.close(os.open(temporary, _NEW, PRIVATE))
        except FileNotFoundError:
            raise BadInput(
                f"cannot write {_quoted(path)}: its folder takes no files",
                hint="name a file in a folder of yours",
            ) from None
        os.unlink(temporary)


def _check_place(path: Path, overwrite: bool) -> None:
    with _explained("write", path):
        # A missing folder is told apart from a missing file.
        os.stat(path.parent)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            mode = None
    if mode is not None and not stat.S_ISREG(mode):
        raise BadInput(
            f"cannot write {_quoted(path)}: it is {_kind(mode)}",
            hint="name a file in an existing folder",
        )
    if mode is not None and not overwrite:
        raise _exists(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput(
            f"cannot write {_quoted(path)}: its folder is not writable",
            hint="name a file in a folder of yours",
        )


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was made of, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def write_atomic(path: Path, data: bytes, *, overwrite: bool = False, mode: int = _SHARED) -> None:
    """Write a file so that everybody sees all of it or none of it, through a crash too.

    Without ``overwrite`` an existing file is never replaced, not even one that appears
    meanwhile. With it, only a regular file is, and never through a symbolic link. The umask takes
    its part of ``mode``.

    Raises:
        BadInput: As `check_writable`.
        CannotRun: If the disk is full or fails.
    """
    _check_place(path, overwrite)
    temporary = _temporary(path)
    with _explained("write", path):
        try:
            _write_and_sync(temporary, data, mode)
            if overwrite:
                # A rename replaces the name itself: it cannot be led elsewhere by a link.
                os.replace(temporary, path)
            else:
                _move_to_free_name(temporary, path)
        except FileExistsError:
            raise _exists(path) from None
        finally:
            try:
                os.unlink(temporary)
            except OSError:
                pass  # renamed, or never made
        _sync_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.parent / f".autotune-{secrets.token_hex(8)}.tmp"


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        BadInput: If it is no path of a folder, or may not be made.
        CannotRun: If the disk is full or fails.
    """
    with _explained("make", path):
        path.mkdir(parents=True, exist_ok=True)


def make_private(folder: Path, *, exist_ok: bool = False) -> None:
    """Make a folder for this user alone, and those above it that are missing.

    Raises:
        FileExistsError: If it is there, and may not be.
        BadInput: As `make_folder`, and so is CannotRun.
    """
    if not folder.parent.is_dir():
        make_private(folder.parent, exist_ok=True)
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=exist_ok)
    except FileExistsError:
        raise
    except OSError as error:
        raise _explanation("make", folder, error) from error


def open_private(path: str, flags: int) -> int:
    """An ``opener=`` of ``open``, for files of this user alone."""
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE)


def _write_and_sync(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _NEW, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        # Some file systems tell of a full disk only here, so the error must not be lost.
        os.close(descriptor)


def _move_to_free_name(temporary: Path, path: Path) -> None:
    try:
        # A rename would replace; a link refuses when the name is taken.
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            raise
        # No hard links here (FAT, some network folders): claim the name, then fill it.
        os.close(os.open(path, _NEW, PRIVATE))
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(path)
            raise


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return  # a folder that may be written and not listed: the file is there all the same
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot sync a folder, and say so in this way.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


# ----------------------------------------------------------------------------------- reading


def read_capped(path: Path, cap_bytes: int) -> bytes:
    """Read a regular file of at most ``cap_bytes``, opened once; never blocks.

    Raises:
        BadInput: If it is missing, closed, larger, or not a regular file.
        CannotRun: If the disk fails.
    """
    with _explained("read", path):
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadInput(
                    f"cannot read {_quoted(path)}: it is {_kind(status.st_mode)}",
                    hint="name a regular file",
                )
            if status.st_size > cap_bytes:
                raise _too_large(path, cap_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(cap_bytes + 1)
        finally:
            os.close(descriptor)
    # It may have grown since, or be one of those whose size is said to be zero.
    if len(data) > cap_bytes:
        raise _too_large(path, cap_bytes)
    return data


def _too_large(path: Path, cap_bytes: int) -> BadInput:
    return BadInput(
        f"{_quoted(path)} is larger than {format_bytes(cap_bytes)}, "
        "the most that is read of such a file",
        hint="check that it is the file you mean",
    )


# -------------------------------------------------------------------------------- safe paths


def safe_join(root: Path, *parts: str) -> Path:
    """Join names to a folder, never leaving it, not through a symbolic link either.

    Raises:
        BadInput: If the result would lie outside ``root``.
    """
    for part in parts:
        pure = PurePath(part)
        if not part or "\0" in part or pure.is_absolute() or ".." in pure.parts:
            raise BadInput(
                f"{shorten(part)} is not a path inside {_quoted(root)}",
                hint="name a file in that folder",
            )
    joined = root.joinpath(*parts)
    with _explained("use", joined):
        if not joined.resolve().is_relative_to(root.resolve()):
            raise BadInput(
                f"{_quoted(joined)} leads out of {_quoted(root)}",
                hint="name a file in that folder",
            )
    return joined


def cache_folder(*parts: str) -> Path:
    """A folder of ours for this user alone, made if it is not there.

    It lies under ``$AUTOTUNE_CACHE``, else ``$XDG_CACHE_HOME/autotune``, else
    ``~/.cache/autotune``.

    Raises:
        CannotRun: If it cannot be made or written.
    """
    hint = "set AUTOTUNE_CACHE to a folder that can be written"
    try:
        folder = _cache_root()
        folder.parent.mkdir(parents=True, exist_ok=True)
        wanted = safe_join(folder, *parts)
        for level in (*reversed(wanted.parents), wanted):
            if level.is_relative_to(folder):
                level.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CannotRun(f"the cache folder cannot be made: {why}", hint=hint) from error
    if not os.access(wanted, os.W_OK | os.X_OK):
        raise CannotRun(f"the cache folder {_quoted(wanted)} cannot be written", hint=hint)
    return wanted


def _cache_root() -> Path:
    if own := os.environ.get("AUTOTUNE_CACHE"):
        return Path(own).absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG standard says that a relative path there is to be ignored.
    base = Path(shared) if os.path.isabs(shared) else Path.home() / ".cache"
    return base / "autotune"


# ------------------------------------------------------------------------------------ errors


@contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    """Turn what the system says of a path into one sentence."""
    try:
        yield
    except OSError as error:
        raise _explanation(verb, path, error) from error
    except (ValueError, RuntimeError):
        # What Python says of a NUL or half a surrogate pair in a path, and of a loop of links.
        raise BadInput(
            f"{_quoted(path)} is not a path", hint="name a file or folder without such characters"
        ) from None


def _explanation(verb: str, path: Path, error: OSError) -> AutotuneError:
    if error.errno in _FULL:
        return CannotRun(
            f"no space left to {verb} {_quoted(path)}: {_free_space(path)}",
            hint="free some space, or name a file on another disk",
        )
    why = _PATH_ERRORS.get(error.errno or 0)
    if why:
        return BadInput(
            f"cannot {verb} {_quoted(path)}: {why}",
            hint="check the path, and whose file or folder it is",
        )
    why = error.strerror or type(error).__name__
    return CannotRun(f"cannot {verb} {_quoted(path)}: {why}", hint="check the disk")


def _free_space(path: Path) -> str:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return "the free space is unknown"
    return f"{format_bytes(status.f_bavail * status.f_frsize)} are free"


def _exists(path: Path) -> BadInput:
    return BadInput(
        f"{_quoted(path)} exists", hint="name another file, or replace this one with --force"
    )


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def _quoted(path: Path) -> str:
    return shorten(str(path), 200)
