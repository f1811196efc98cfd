"""Signals that ask a training run to save and end."""

import contextlib
import errno
import os
import signal
import stat
import threading
from collections.abc import Callable
from typing import TextIO


class StopRequest:
    """Notes SIGINT, SIGTERM and SIGHUP, so that the loop can save before it ends.

    A second SIGINT or SIGTERM ends the program as it would without this class. A second
    SIGHUP does not: a closing terminal sends one, and its shell may send another. The
    truth value says whether to stop; if there are several hosts, all of them must ask
    at the same point.

    Args:
        agree: returns the hosts' common answer, such as
            `functools.partial(hosts.agree_any, strategy)`.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool):
        self._agree = agree
        self._event = threading.Event()
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        # nohup's SIG_IGN stays.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._note)
        return self

    def __exit__(self, *_):
        for number in self._previous:
            self._restore_handler(number)

    def __bool__(self) -> bool:
        return self._agree(self._event.is_set())

    def _note(self, number, _):
        name = signal.Signals(number).name
        # Nothing may prevent the saving: neither a closed terminal (OSError) nor a
        # print that this signal has interrupted (RuntimeError).
        with contextlib.suppress(OSError, RuntimeError):
            print(
                f"{name}: saving after the current steps; a second signal ends the run "
                "at once.",
                flush=True,
            )
        if number == signal.SIGHUP:
            release_terminal()
        self._event.set()
        self._restore_handler(signal.SIGINT)
        self._restore_handler(signal.SIGTERM)

    def _restore_handler(self, number):
        signal.signal(number, self._previous[number])


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print a line of a run, even while its terminal closes.

    A write that comes between the closing and its SIGHUP is an error that must not end
    the run before the signal has it saved; and under nohup there is no signal.

    Args:
        text: the line.
        file: standard output unless it is another.
    """
    try:
        print(text, file=file, flush=True)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        release_terminal()


def release_terminal() -> None:
    """Discard everything printed from now on, unless it goes to a file.

    Writing to a closed terminal is an error, and so is writing to a pipe whose reader
    got the same signal. Neither may cost the training since the last checkpoint.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        if not stat.S_ISREG(os.fstat(output).st_mode):
            os.dup2(nowhere, output)
    os.close(nowhere)
