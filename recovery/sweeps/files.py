"""Files that several processes share: each is written once, by one of them."""

import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recovery.sweeps.errors import StoreError

_DAY = 86_400.0


def create_json(path: Path, content: Any) -> bool:
    """Write a file that does not exist yet; False if somebody was faster."""
    if path.exists():
        return False
    complete = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with complete.open("wb") as file:
        file.write(json.dumps(content, indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(complete, path)  # unlike a renaming it fails where the file exists
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        os.replace(complete, path)
    finally:
        complete.unlink(missing_ok=True)
    return True


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from None


def check_writable(folder: Path) -> None:
    """Fail before any work is done, not after."""
    probe = folder / f".{uuid.uuid4().hex}.tmp"
    probe.write_bytes(b"0")
    probe.unlink()


def remove_leftovers(folder: Path) -> None:
    """What killed processes left behind, if older than a day: a younger file may be in use."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink(missing_ok=True)
        except OSError:
            continue  # another process was faster


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """A failure of the disk as one sentence."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "its disk is full: make room",
            errno.EDQUOT: "your quota is used up: make room",
            errno.EROFS: "it is read-only: give another folder",
            errno.EACCES: "you may not write there: give another folder",
        }
        reason = reasons.get(error.errno or 0, f"{error.strerror}: see to it")
        raise StoreError(
            f"the store {root} cannot be written, {reason} and run again. What is finished is safe."
        ) from error
