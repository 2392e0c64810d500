"""
Files on a disk that others can write to: read once and whole, or written whole or not at all.

What is read here is judged afterwards from the bytes in memory; the path is never opened a second time, because
between two openings the file may have become another one.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


class FileRefused(Exception):
    """The file is not something to read from: the message says what came and what to do, without the path."""


@contextmanager
def opened(folder: Path, *below: str) -> Iterator[int]:
    """
    Hold a folder open for `read_once`, reached step by step: what is renamed meanwhile is not looked at.

    The way to `folder` may lead through links, that is the operator's business; no step below it may. Where everyone
    may write, everyone can put another file in place: such a folder is refused.

    Raises:
        FileRefused: a step is missing, is a link or no folder, or is writable by everyone.
    """
    held = _open_folder(folder, folder.name, None)
    try:
        for name in below:
            beneath = _open_folder(Path(name), name, held)
            os.close(held)
            held = beneath
        yield held
    finally:
        os.close(held)


def _open_folder(path: Path, name: str, above: int | None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if above is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=above)
    except OSError as error:
        raise FileRefused(
            f"the folder {name!r} cannot be opened ({error.strerror}); links are not followed"
        ) from error
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & stat.S_IWOTH:
        os.close(descriptor)
        raise FileRefused(f"the folder {name!r} is writable by everyone (mode {mode:04o}); chmod o-w it")
    return descriptor


def read_once(path: Path, *, at_most: int, folder: int | None = None) -> bytes:
    """
    Read a plain file in one go: no symbolic link, no pipe or device, nothing every user may write.

    With `folder`, a path within that opened folder. A file that only its group may write is accepted: a checkout
    under umask 002 looks like that. What a group member could change is caught by the digest.

    Raises:
        FileRefused: it is missing, is no plain file, is writable by everyone, or has more than `at_most` bytes.
    """
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer that never comes.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        raise FileRefused(
            f"{path.name} cannot be opened ({error.strerror}); links are not followed"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        _insist_on_a_plain_file(os.fstat(descriptor), path.name, at_most)
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise FileRefused(f"{path.name} grew beyond {at_most} bytes while it was read")
    return content


def _insist_on_a_plain_file(found: os.stat_result, name: str, at_most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"{name} is not a regular file; replace it by one")
    if found.st_mode & stat.S_IWOTH:
        raise FileRefused(
            f"{name} is writable by everyone (mode {stat.S_IMODE(found.st_mode):04o}); chmod o-w it"
        )
    if found.st_size > at_most:
        raise FileRefused(f"{name} has {found.st_size} bytes, at most {at_most} are expected")


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """
    Make a folder that holds these files: on return it is on disk, and at no moment is it there in part.

    A crash leaves at most a hidden `.new-…` folder beside it, which nothing reads.

    Raises:
        FileExistsError: there is such a folder with content already; it stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, content in contents.items():
            _write(draft / name, content)
        draft.chmod(0o755)
        _sync_folder(draft)
        draft.rename(folder)
    except OSError as error:
        rmtree(draft, ignore_errors=True)
        if folder.exists():
            raise FileExistsError(f"{folder} exists; a version is never overwritten") from error
        raise
    _sync_folder(folder.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place of another one, or of none: at every moment either is there, whole."""
    draft = path.with_name(f".new-{path.name}")
    draft.unlink(missing_ok=True)  # left by a crash
    _write(draft, content)
    draft.rename(path)
    _sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
