import subprocess
import sys

import pytest
import tensorflow as tf

from data_prep import command_line
from tests.conftest import REPOSITORY

EXIT_CODES = {
    "connection lost": (tf.errors.UnavailableError(None, None, "Socket closed"), 75),
    "device lost": (tf.errors.AbortedError(None, None, "The TPU was preempted"), 75),
    "bad shape": (tf.errors.InvalidArgumentError(None, None, "Bad shape"), 1),
    "loss not finite": (FloatingPointError("The loss is not finite"), 1),
    "user's mistake": (ValueError("Name one\nfile"), 1),
}


@pytest.fixture
def exit_code(monkeypatch):
    """Run a main as `run_command` does, without flags; return its exit code."""

    def run(main, **arguments) -> int:
        monkeypatch.setattr(sys, "argv", ["many", "--a_flag=a value"])
        monkeypatch.setattr(
            command_line.app, "run", lambda guarded, _: guarded(sys.argv)
        )
        with pytest.raises(SystemExit) as raised:
            command_line.run_command(main, **arguments)
        return raised.value.code

    return run


@pytest.mark.parametrize("name", EXIT_CODES)
def test_errors_that_may_pass_have_their_own_exit_code(name, exit_code, capsys):
    error, code = EXIT_CODES[name]

    def main(_):
        raise error

    assert exit_code(main) == code
    message = " ".join(str(getattr(error, "message", error)).split())
    assert capsys.readouterr().err.endswith(f": error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({}, "what is finished stays. To resume: {command}"),
        (
            {"kept_on_interrupt": "the best model", "needs_overwrite": True},
            "the best model stays. To start again: {command} --overwrite",
        ),
    ],
)
def test_interrupted_command_says_what_is_kept(arguments, advice, exit_code, capsys):
    def main(_):
        raise KeyboardInterrupt

    assert exit_code(main, **arguments) == 130
    advice = advice.format(command=command_line.command_again())
    assert capsys.readouterr().err.endswith(f": interrupted; {advice}\n")
    assert command_line.command_again().endswith(" '--a_flag=a value'")


PRINTING = """
import sys
from data_prep import command_line

def main(_):
    for number in range(100_000):
        print(number)

sys.argv = ["many"]
command_line.run_command(main)
"""


def test_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTING],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_full_disk_is_named_with_what_to_do():
    error = OSError(28, "No space left on device", "out/a.tfrecord.partial")
    assert command_line.describe_error(error) == (
        "'out/a.tfrecord.partial': No space left on device; free some space and run "
        "the same command again."
    )


def test_full_disk_under_tensorflow_is_named_with_what_to_do():
    error = tf.errors.ResourceExhaustedError(
        None, None, "out/a.tfrecord.partial; No space left on device"
    )
    assert command_line.describe_error(error) == (
        "out/a.tfrecord.partial; No space left on device: free some space and run the "
        "same command again."
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\nBad shape\n  at op 7"), "Bad shape"),
        (ValueError(), "ValueError"),
    ],
)
def test_first_line_shortens_a_message(error, line):
    assert command_line.first_line(error) == line


def test_argument_without_a_flag_is_refused():
    command_line.refuse_arguments(["many"])
    with pytest.raises(ValueError, match="'b.txt' belongs to no flag: write --name="):
        command_line.refuse_arguments(["many", "b.txt"])
