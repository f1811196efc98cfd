import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import tensorflow as tf
from data_prep import command_line

def main(_):
    raise {error}

command_line.run_command(main)
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("tf.errors.UnavailableError(None, None, 'Socket closed')", 75),
        ("tf.errors.AbortedError(None, None, 'The TPU was preempted')", 75),
        ("tf.errors.InvalidArgumentError(None, None, 'Bad shape')", 1),
        ("FloatingPointError('The loss is not finite')", 1),
    ],
)
def test_errors_that_may_pass_have_an_exit_code_of_their_own(error, code):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(error=error)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr


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
