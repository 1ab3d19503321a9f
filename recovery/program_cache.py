"""Compiled programs kept on disk, so that a script need not compile again when it runs again.

The library never does so by itself: a script calls `enable()`. Those of this project do.
"""

import contextlib
import os
import sys
import time
import warnings
from pathlib import Path

import jax

from recovery._cores import num_cores

VARIABLE = "RECOVERY_PROGRAM_CACHE"
_LARGEST = 2**30  # bytes
_DAY = 86_400  # seconds

_enabled = False


def enable() -> None:
    """From here on load compiled programs from a folder of the user's, and keep there new ones.

    The folder is recovery/programs in the user's cache folder, or the one that the environment
    variable RECOVERY_PROGRAM_CACHE names; "off" switches the cache off. Where jax has a folder
    already, from JAX_COMPILATION_CACHE_DIR for example, nothing changes. Processes that a sweep
    starts do the same.

    Warns of a folder that others can write to, and does not use it: a program that is loaded runs
    with all rights of the user. Without a place to write to, everything is compiled as before.
    """
    global _enabled
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    place = folder()
    if place is None:
        return
    _trim(place.parent, _LARGEST)
    # A file that is damaged or cannot be written costs a compilation, nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(place))
    # Small programs too: the completion of README takes 4.4 s, then 1.5 s, and 2.1 s without those
    # that compile in less than 0.05 s.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _enabled = True


def is_enabled() -> bool:
    """Whether `enable` found a folder in this process."""
    return _enabled


def folder() -> Path | None:
    """Where this process keeps programs, made if it is missing; None where it cannot keep any."""
    named = os.environ.get(VARIABLE, "")
    if named == "off":
        return None
    try:
        place = Path(named).expanduser() if named else _default_folder()
        place = _own(place.absolute())
        return place and _own(place / _threads())
    except (OSError, RuntimeError) as error:  # a home that cannot be written, or none
        if named:
            _warn(f"{VARIABLE} names {named}, which cannot be used ({error}): name another folder.")
        return None


def _own(place: Path) -> Path | None:
    """A folder, made if it is missing, unless others might put a program of theirs into it."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = place.stat()
    if sys.platform == "win32":
        return place
    if status.st_uid != os.getuid():
        _warn(f"{place} belongs to another user: set {VARIABLE} to a folder of yours, or to off.")
        return None
    if status.st_mode & 0o022:
        _warn(f"others can write to {place}: take that right away (chmod go-w), or name another.")
        return None
    return place


def _threads() -> str:
    """XLA divides a program among its threads when it compiles it, for which jax's key is the same.

    The key does tell processors of other instruction sets apart.
    """
    number = os.environ.get("NPROC", "")
    return f"{number if number.isdigit() else num_cores()}-threads"


def _default_folder() -> Path:
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "recovery" / "programs"


def _warn(reason: str) -> None:
    warnings.warn(f"compiled programs are not kept: {reason}", stacklevel=2)


def _trim(place: Path, largest: int) -> None:
    """Once a day, delete what was not used for longest, down to `largest` bytes.

    jax can keep to a limit itself, but then looks at all files for each that it adds (0.1 s for
    5000), and adds none any more after a process was killed between the two files of a program.
    """
    looked = place / "trimmed"
    with contextlib.suppress(OSError):  # another process trims too, or nothing can be written
        if looked.exists() and time.time() - looked.stat().st_mtime < _DAY:
            return
        looked.touch()
        programs = [(path, path.stat()) for path in place.glob("*-threads/*-cache")]
        size = 0
        for path, status in sorted(programs, key=lambda p: -max(p[1].st_atime, p[1].st_mtime)):
            size += status.st_size
            if size > largest or status.st_size == 0:  # empty: the disk was full
                path.unlink()
