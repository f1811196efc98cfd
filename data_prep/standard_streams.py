"""Standard streams that are closed, or that know few characters."""

import io
import os
import sys


def prepare() -> None:
    """Let output neither fail nor go astray.

    A closed stream writes nowhere: else the next file that is opened gets its number,
    and what TensorFlow prints to standard error would land in it. A character that
    the stream's encoding lacks is written as an escape.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest number that is free.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def escape(text: str) -> str:
    r"""Return text without control characters: a file's may command a terminal.

    >>> escape("中\x1b[31m")
    '中\\x1b[31m'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
