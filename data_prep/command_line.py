"""Run a command's main: one sentence instead of a traceback, and clean interruption.

This module imports nothing heavy. A command whose `main` imports what it needs, instead
of its module, answers `--help`, `--version` and a mistyped flag at once.
"""

import errno
import importlib.metadata
import logging
import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging

from data_prep import command_help, recipe_files, standard_streams

DISTRIBUTION = "bert_cn"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it.
BROKEN_PIPE = 141  # 128 + SIGPIPE.
# A device or a connection went away, as preempted TPUs do: the same command may succeed
# when it is run again. sysexits.h calls this EX_TEMPFAIL.
TRANSIENT = 75


def run_command(
    main: Callable[[list[str]], None],
    kept_on_interrupt: str = "what is finished",
    needs_overwrite: bool = False,
) -> None:
    """Parse flags, run `main` and exit.

    A `ValueError`, `OSError`, `FloatingPointError` (a loss that is not finite) or
    TensorFlow error ends the command with `NAME: error: SENTENCE` on standard error and
    exit code 1, or TRANSIENT if running it again may help. If the reader of standard
    output goes away, the command ends silently with exit code 141. Ctrl-C ends it with
    one line that says what is kept and how to resume, and exit code 130. `--version`
    prints the version and ends it with exit code 0.

    Args:
        main: takes the arguments that are not flags, as `absl.app.run` passes them,
            the program's name first.
        kept_on_interrupt: what a rerun finds again, for the line after Ctrl-C, such as
            "finished shards".
        needs_overwrite: whether a rerun starts from the beginning and needs
            --overwrite for that.
    """
    standard_streams.prepare()
    name = _command_name()
    if _VersionFlag.NAME not in flags.FLAGS:
        # As a flag of the command's own module, so that --help lists it.
        flags.DEFINE_flag(_VersionFlag(), module_name=sys.argv[0])
    # Libraries' INFO lines would bury ours; `--verbosity=0` shows them again.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)

    def guarded(arguments: list[str]) -> None:
        try:
            main(arguments)
        except KeyboardInterrupt:
            again = f"To resume: {command_again()}"
            if needs_overwrite:
                again = f"To start again: {command_again()} --overwrite"
            print(
                f"\n{name}: interrupted; {kept_on_interrupt} stays. {again}",
                file=sys.stderr,
            )
            sys.exit(INTERRUPTED)
        except (ValueError, OSError, FloatingPointError, *file_errors()) as error:
            if isinstance(error, BrokenPipeError) and not _is_read():
                sys.exit(BROKEN_PIPE)
            print(f"{name}: error: {describe_error(error)}", file=sys.stderr)
            sys.exit(TRANSIENT if _is_transient(error) else 1)

    if command_help.is_asked_for(sys.argv):
        print(command_help.describe())
        sys.exit(0)
    try:
        arguments = recipe_files.expand(sys.argv)
    except ValueError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(1)
    app.run(guarded, arguments)


class _VersionFlag(flags.BooleanFlag):
    """Prints the version when it is parsed, as absl's --help does with the flags."""

    NAME = "version"

    def __init__(self):
        super().__init__(self.NAME, False, "Print the version and exit.")

    def parse(self, argument):
        if self._parse(argument):
            print(describe_version())
            sys.exit(0)


def describe_version() -> str:
    """Return the name and version of the package."""
    try:
        return f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{DISTRIBUTION} (not installed; run pip install -e .)"


def _is_read() -> bool:
    """Say whether anybody still reads standard output; `head` stops reading early."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return True
    # Otherwise Python raises again when it flushes standard output at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def refuse_arguments(arguments: list[str]) -> None:
    """Raise ValueError if a word on the command line belongs to no flag."""
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
    text = standard_streams.escape(" ".join(text.split()))
    if os.strerror(errno.ENOSPC) in text:
        return f"{text}: free some space and run the same command again."
    return text


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name if it has none.

    Messages of TensorFlow and PyTorch continue with traces that do not help a user.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def file_errors() -> tuple[type[BaseException], ...]:
    """Return the errors of files besides OSError: TensorFlow's, of remote ones."""
    # If TensorFlow was never imported, it raised nothing; importing it takes seconds.
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


def print_next(*commands: Sequence[str]) -> None:
    """Print what a user may run after this command, ready to copy.

    Args:
        *commands: each a module and its arguments.
    """
    print("Next:")
    for command in join_commands(*commands):
        print(f"  {command}", flush=True)


def join_commands(*commands: Sequence[str]) -> list[str]:
    """Return modules with their arguments as lines for a shell."""
    return [shlex.join(["python", "-m", *command]) for command in commands]
