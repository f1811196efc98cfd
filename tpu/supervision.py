"""Run a command again whenever its TPU goes away: lives, back-off, making it anew."""

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

# A life so long has come up and trained; failures before it are not counted any more.
_LONG_LIFE_SECONDS = 30 * 60.0
_LONGEST_BACKOFF_SECONDS = 600.0
# How long a command may take to save and end, once its TPU is gone: it may well hang.
_GRACE_SECONDS = 60.0
_CANNOT_RUN = 127  # As shells say that there is no such command.
_CHECK_NAME = "check --tpu, --zone and --project"


class Stopped(Exception):
    """SIGINT, SIGTERM or SIGHUP came while no command was running."""


class SignalRelay:
    """Passes SIGINT, SIGTERM and SIGHUP on to what it started, and notes them.

    Attributes:
        received: number of the last signal; 0 for none.
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
        """Start a process, to which signals go from now on; returns its Popen.

        A session of its own, so a group of its own: a terminal's Ctrl-C reaches it
        once, through the relay, for twice would mean "at once, without saving"; and
        what a shell in between has started gets it, too. Such a group is stopped,
        silently and for ever, where it reads the terminal or sets its modes, as ssh -tt
        does. So it is given none: neither as standard input nor as /dev/tty.
        """
        self._child = subprocess.Popen(
            command, shell=shell, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self.received:  # It came before there was anything to pass it on to.
            send_signal(self._child, self.received)
        return self._child

    def sleep(self, seconds: float) -> None:
        """Sleep so long, unless a signal comes.

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
    """What `supervise` does.

    Attributes:
        command: program and arguments.
        recreate_commands: shell commands, run in turn, that make the TPU anew.
        transient_codes: exit codes after which the command is run again.
        max_restarts: in a row, without a long life between them.
        backoff_seconds: before the first restart in a row; doubles with each.
        poll_seconds: between two looks at the TPU while the command runs.
        wait_seconds: for a TPU that is not healthy.
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
    """Make a TPU that is gone, or was never made, before the first life.

    Args:
        found: at the first look.
        settings: say how it is made.
        relay: of signals.

    Raises:
        ValueError: there is no TPU of that name and nothing that makes it, or it was
            made and there is none all the same.
        Stopped: a signal came.
    """
    if found.verdict is not node.Verdict.GONE:
        return
    if not settings.recreate_commands and found.state == node.NOT_FOUND:
        raise ValueError(
            f"There is no such TPU: {_CHECK_NAME}, or say by --recreate_command how it "
            "is made."
        )
    _make_anew(settings, relay)


def supervise(settings: Settings, relay: SignalRelay) -> int:
    """Run the command until it ends for good; a line for each life on standard error.

    Returns:
        The command's last exit code; 128 + N if signal N ended it.

    Raises:
        ValueError: the TPU was made anew, and there is none of that name all the same.
        Stopped: a signal came between two lives.
    """
    restarts = 0
    for life in range(1, sys.maxsize):
        start = time.monotonic()
        code, gone = _run_once(settings, relay)
        seconds = time.monotonic() - start
        ended = f"life {life} ended after {_duration(seconds)} with {_name_code(code)}"
        # As shells have it.
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
            log(f"{ended}, which running it again does not mend.")
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
    raise AssertionError("nobody lives so often")


def _run_once(settings: Settings, relay: SignalRelay) -> tuple[int, bool]:
    """Run the command; end it if its TPU goes away under it.

    Returns:
        (its code as subprocess has it, whether it was ended because the TPU is gone)
    """
    try:
        child = relay.start(settings.command)
    except OSError as error:
        reason = f"{error.strerror}; check the command behind --"
        log(f"{settings.command[0]!r} cannot be run: {reason}.")
        return _CANNOT_RUN, False
    can_look = True
    while True:
        try:
            return child.wait(settings.poll_seconds if settings.look else None), False
        except subprocess.TimeoutExpired:
            # Once is enough to say that nobody can tell.
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
        # Nothing of this life may write into the next one's folder.
        send_signal(child, signal.SIGKILL)
        child.wait()


def send_signal(child: subprocess.Popen, number: int) -> None:
    """Send a signal to a process's group, unless all of it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _bring_up(settings: Settings, relay: SignalRelay) -> None:
    """Make the TPU anew where it must be, and wait for it."""
    # Looked at again, for the API may lag behind what ended the command.
    found = _look_safely(settings)
    if found is not None and found.verdict is node.Verdict.MAY_RECOVER:
        found = _wait(settings, relay, settings.look)
    # Of a TPU that cannot be asked about, nobody knows that it must be deleted.
    must_be_made = found is not None and found.verdict is not node.Verdict.HEALTHY
    if settings.look is not None and not must_be_made:
        return
    _make_anew(settings, relay)


def _make_anew(settings: Settings, relay: SignalRelay) -> None:
    """Run the commands that make the TPU, and wait for it."""
    for command in settings.recreate_commands:
        log(f"running {command}")
        code = relay.start(command, shell=True).wait()
        if relay.received:
            raise Stopped
        if code:
            # Capacity may be back at the next restart; the limit ends this, too.
            log(f"that ended with {_name_code(code)}.")
            return
    if settings.look is None or not settings.recreate_commands:
        return
    found = _wait(settings, relay, lambda: _look_for_new(settings.look))
    if found is not None and found.state == node.NOT_FOUND:
        # Else a wrong name would delete and make the right TPU until the limit.
        raise ValueError(
            "--recreate_command has ended well, but there is no such TPU: "
            f"{_CHECK_NAME}, which must name what it makes."
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
    """Look once; a TPU that is not there yet may still come, others are looked at."""
    found = look()
    if found.state != node.NOT_FOUND:
        return found
    return dataclasses.replace(found, verdict=node.Verdict.MAY_RECOVER)


def _look_safely(settings: Settings, say_why: bool = True) -> node.Health | None:
    """Return the TPU's health, None if nobody can say: training is not ended for it."""
    if settings.look is None:
        return None
    try:
        return settings.look()
    except (OSError, ValueError) as error:
        if say_why:
            log(f"{error}; going on without.")
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
