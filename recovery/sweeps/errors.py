"""What a sweep refuses, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class StudyError(ValueError):
    """A study that cannot be run."""


class StoreError(RuntimeError):
    """A store that cannot be read, written or used for a study; what it holds is untouched."""


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name."""
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def refuse_unknown(where: object, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            raise StudyError(f"{where}: unknown entry {name!r}, {nearest(name, known)}")
