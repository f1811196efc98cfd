"""Run a command's main: one sentence instead of a traceback, and clean interruption."""

import errno
import logging
import os
import select
import shlex
import sys
from collections.abc import Callable

from absl import app
from absl import logging as absl_logging

INTERRUPTED = 130  # 128 + SIGINT, as shells report it.
BROKEN_PIPE = 141  # 128 + SIGPIPE.
# A device or a connection went away, as preempted TPUs do: the same command may well
# succeed when it is run again. sysexits.h calls this EX_TEMPFAIL.
TRANSIENT = 75


def run_command(
    main: Callable[[list[str]], None],
    kept_on_interrupt: str = "what is finished",
    begins_anew: bool = False,
) -> None:
    """Parse flags, run `main` and exit.

    A `ValueError`, `OSError`, `FloatingPointError` (a loss that is not finite) or
    TensorFlow error ends the command with `NAME: error: SENTENCE` on standard error and
    exit code 1, or TRANSIENT where running it again may help. A reader of standard
    output that goes away ends it in silence, with exit code 141. Ctrl-C ends it with
    one line that says what is kept and how to go on, and exit code 130.

    Args:
        main: takes the arguments that are not flags, as `absl.app.run` passes them,
            the program's name first.
        kept_on_interrupt: what a rerun finds again, for the line after Ctrl-C, such as
            "finished shards".
        begins_anew: whether a rerun begins anew, and needs --overwrite for it.
    """
    name = _command_name()
    # Libraries' INFO lines would bury ours; `--verbosity=0` shows them again.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)

    def guarded(arguments: list[str]) -> None:
        try:
            main(arguments)
        except KeyboardInterrupt:
            again = f"To go on: {command_again()}"
            if begins_anew:
                again = f"To begin anew: {command_again()} --overwrite"
            print(
                f"\n{name}: interrupted; {kept_on_interrupt} stays. {again}",
                file=sys.stderr,
            )
            sys.exit(INTERRUPTED)
        except (ValueError, OSError, FloatingPointError, *_file_errors()) as error:
            if isinstance(error, BrokenPipeError) and not _is_read():
                sys.exit(BROKEN_PIPE)
            print(f"{name}: error: {describe_error(error)}", file=sys.stderr)
            sys.exit(TRANSIENT if _is_transient(error) else 1)

    app.run(guarded)


def _is_read() -> bool:
    """Say whether anybody still reads standard output; head has soon seen enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return True
    # So that what is held back does not raise again when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def refuse_arguments(arguments: list[str]) -> None:
    """Raise ValueError where a word on the command line belongs to no flag."""
    if len(arguments) > 1:
        raise ValueError(
            f"Argument {arguments[1]!r} belongs to no flag: write --name=value, and "
            "quote a value with spaces or wildcards."
        )


def describe_error(error: BaseException) -> str:
    """Return an error as one line for a user."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename!r}: " if error.filename else ""
        advice = "check the path, its rights and free space."
        if error.errno == errno.ENOSPC:
            advice = "free some space and run the same command again."
        return f"{place}{error.strerror}; {advice}"
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = " ".join(text.split())
    if os.strerror(errno.ENOSPC) in text:
        return f"{text}: free some space and run the same command again."
    return text


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name if it has none.

    Errors of TensorFlow and PyTorch go on with traces that say nothing to a user.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _file_errors() -> tuple[type[BaseException], ...]:
    # None of its errors where it was never imported, and importing takes seconds.
    tf = sys.modules.get("tensorflow")
    return (tf.errors.OpError,) if tf else ()


def _is_transient(error: BaseException) -> bool:
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return False
    return isinstance(
        error,
        (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.DeadlineExceededError,
        ),
    )


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else ""


def _command_name() -> str:
    return _module().rpartition(".")[2] or sys.argv[0].rpartition("/")[2]


def command_again() -> str:
    """Return the command line that runs this command again, quoted for a shell."""
    start = ["python", "-m", _module()] if _module() else [sys.argv[0]]
    return shlex.join([*start, *sys.argv[1:]])
