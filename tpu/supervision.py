"""Run a command again whenever its TPU goes away: lives, back-off, new TPUs.

A life is one run of the command, from its start to its end.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from data_prep import command_line
from tpu import node

# A life of this length did train, so failures before it no longer count.
_LONG_LIFE_SECONDS = 30 * 60.0
_LONGEST_BACKOFF_SECONDS = 600.0
# The time that a command has to save and end after its TPU is gone: it may hang.
_GRACE_SECONDS = 60.0
_CANNOT_RUN = 127  # The exit code of shells for a command that does not exist.
_CHECK_NAME = "check --tpu, --zone and --project"


class Stopped(Exception):
    """SIGINT, SIGTERM or SIGHUP came while no command was running."""


class SignalRelay:
    """Passes SIGINT, SIGTERM and SIGHUP on to the process that it started.

    Attributes:
        received: the number of the last signal; 0 for none.
    """

    def __init__(self):
        self.received = 0
        self._child: subprocess.Popen | None = None
        self._event = threading.Event()
        self._previous = {}

    def __enter__(self) -> "SignalRelay":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup's SIG_IGN stays.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def start(self, command: Sequence[str] | str, shell: bool = False):
        """Start a process, which gets all signals from now on; returns its Popen.

        The process has a session and a process group of its own. So a terminal's Ctrl-C
        reaches it once, through the relay: a second one would end it at once, without
        saving. The relay signals the whole group, so processes that a shell started get
        the signal, too. The kernel stops such a group, silently and for ever, when it
        reads the terminal or sets its modes, as ssh -tt does. So it has no terminal,
        neither as standard input nor as /dev/tty.
        """
        self._child = subprocess.Popen(
            command, shell=shell, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self.received:  # It came before there was a process to pass it on to.
            send_signal(self._child, self.received)
        return self._child

    def sleep(self, seconds: float) -> None:
        """Sleep this long, unless a signal comes.

        Raises:
            Stopped: one came.
        """
        if self._event.wait(seconds):
            raise Stopped

    def _note(self, number, _):
        self.received = number
        self._event.set()
        if self._child is not None and self._child.poll() is None:
            send_signal(self._child, number)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `supervise` runs, and when it runs it again.

    Attributes:
        command: program and arguments.
        recreate_commands: shell commands, run in turn, that create the TPU again.
        transient_codes: exit codes after which the command runs again.
        max_restarts: the most restarts in a row, without a long life between them.
        backoff_seconds: the wait before the first restart in a row; it doubles with
            each.
        poll_seconds: the time between two questions while the command runs.
        wait_seconds: the longest wait for a TPU that is not healthy.
        look: asks for the TPU's health; None if there is no TPU to ask for.
    """

    command: Sequence[str]
    recreate_commands: Sequence[str] = ()
    transient_codes: frozenset[int] = frozenset({command_line.TRANSIENT})
    max_restarts: int = 20
    backoff_seconds: float = 10.0
    poll_seconds: float = 60.0
    wait_seconds: float = 1200.0
    look: Callable[[], node.Health] | None = None


def bring_up_first(found: node.Health, settings: Settings, relay: SignalRelay) -> None:
    """Before the first life, create a TPU that is gone or does not exist.

    Args:
        found: the first answer about its health.
        settings: its `recreate_commands` create it.
        relay: passes signals on.

    Raises:
        ValueError: there is no TPU of that name and no command that creates it, or
            the command ended well and there is still none.
        Stopped: a signal came.
    """
    if found.verdict is not node.Verdict.GONE:
        return
    if not settings.recreate_commands and found.state == node.NOT_FOUND:
        raise ValueError(
            f"There is no such TPU: {_CHECK_NAME}, or give the command that creates "
            "it in --recreate_command."
        )
    _recreate(settings, relay)


def supervise(settings: Settings, relay: SignalRelay) -> int:
    """Run the command until it ends for good; log a line for each life.

    Returns:
        The command's last exit code; 128 + N if signal N ended it.

    Raises:
        ValueError: the TPU was created again, and there is still none of that name.
        Stopped: a signal came between two lives.
    """
    restarts = 0
    for life in range(1, sys.maxsize):
        start = time.monotonic()
        code, gone = _run_once(settings, relay)
        seconds = time.monotonic() - start
        ended = f"life {life} ended after {_duration(seconds)} with {_name_code(code)}"
        # As shells report it.
        exit_code = 128 - code if code < 0 else code
        if relay.received:
            log(f"{ended}, as {signal.Signals(relay.received).name} asked.")
            return exit_code
        if code == 0 and not gone:
            log(f"{ended}: done.")
            return 0
        transient = gone or code < 0 or code in settings.transient_codes
        found = _look_safely(settings)
        gone = gone or _is_gone(found)
        if not (transient or gone):
            log(f"{ended}; running it again would not help.")
            return exit_code
        restarts = 1 if seconds >= _LONG_LIFE_SECONDS else restarts + 1
        if restarts > settings.max_restarts:
            log(f"{ended}; given up after --max_restarts={settings.max_restarts}.")
            return exit_code
        pause = min(
            settings.backoff_seconds * 2 ** (restarts - 1), _LONGEST_BACKOFF_SECONDS
        )
        tpu = f"; the TPU is {found}" if found else ""
        log(f"{ended}{tpu}; restart {restarts} in {_duration(pause)}.")
        relay.sleep(pause)
        _bring_up(settings, relay)
    raise AssertionError("more lives than sys.maxsize")


def _run_once(settings: Settings, relay: SignalRelay) -> tuple[int, bool]:
    """Run the command; end it if its TPU goes away.

    Returns:
        (its exit code as subprocess gives it, whether it was ended because the TPU is
        gone)
    """
    try:
        child = relay.start(settings.command)
    except OSError as error:
        reason = f"{error.strerror}; check the command after --"
        log(f"{settings.command[0]!r} cannot be run: {reason}.")
        return _CANNOT_RUN, False
    can_look = True
    while True:
        try:
            return child.wait(settings.poll_seconds if settings.look else None), False
        except subprocess.TimeoutExpired:
            # Log only the first failed question.
            found = _look_safely(settings, say_why=can_look)
            can_look = found is not None
            if not relay.received and _is_gone(found):
                log("the TPU is gone; ending the command.")
                return _end(child), True


def _end(child: subprocess.Popen) -> int:
    send_signal(child, signal.SIGTERM)
    try:
        return child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        # No process of this life may write into the folder of the next one.
        send_signal(child, signal.SIGKILL)
        child.wait()


def send_signal(child: subprocess.Popen, number: int) -> None:
    """Send a signal to a process's group, unless all of it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _bring_up(settings: Settings, relay: SignalRelay) -> None:
    """Create the TPU again if it must be, and wait for it."""
    # Ask again: the first answer may be older than the event that ended the command.
    found = _look_safely(settings)
    if found is not None and found.verdict is node.Verdict.MAY_RECOVER:
        found = _wait(settings, relay, settings.look)
    # A TPU of unknown health is not deleted.
    must_be_created = found is not None and found.verdict is not node.Verdict.HEALTHY
    if settings.look is not None and not must_be_created:
        return
    _recreate(settings, relay)


def _recreate(settings: Settings, relay: SignalRelay) -> None:
    """Run the commands that create the TPU, and wait for it."""
    for command in settings.recreate_commands:
        log(f"running {command}")
        code = relay.start(command, shell=True).wait()
        if relay.received:
            raise Stopped
        if code:
            # At the next restart there may be capacity; max_restarts limits this, too.
            log(f"that ended with {_name_code(code)}.")
            return
    if settings.look is None or not settings.recreate_commands:
        return
    found = _wait(settings, relay, lambda: _look_for_new(settings.look))
    if found is not None and found.state == node.NOT_FOUND:
        # A wrong --tpu would otherwise delete and create the right TPU at each restart.
        raise ValueError(
            "--recreate_command has ended well, but there is no such TPU: "
            f"{_CHECK_NAME}, which must name the TPU that it creates."
        )


def _wait(
    settings: Settings, relay: SignalRelay, look: Callable[[], node.Health]
) -> node.Health | None:
    try:
        return node.wait_until_healthy(
            look, settings.wait_seconds, settings.poll_seconds, relay.sleep
        )
    except (OSError, ValueError) as error:
        log(str(error))
        return None


def _look_for_new(look: Callable[[], node.Health]) -> node.Health:
    """Ask once; a TPU that does not exist yet counts as one that may recover."""
    found = look()
    if found.state != node.NOT_FOUND:
        return found
    return dataclasses.replace(found, verdict=node.Verdict.MAY_RECOVER)


def _look_safely(settings: Settings, say_why: bool = True) -> node.Health | None:
    """Return the TPU's health; None if it is unknown, which does not end training."""
    if settings.look is None:
        return None
    try:
        return settings.look()
    except (OSError, ValueError) as error:
        if say_why:
            log(f"{error}; continuing without it.")
        return None


def _is_gone(found: node.Health | None) -> bool:
    return found is not None and found.verdict is node.Verdict.GONE


def _name_code(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def log(line: str) -> None:
    """Print a line with the time on standard error."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{clock} supervise: {line}", file=sys.stderr, flush=True)
