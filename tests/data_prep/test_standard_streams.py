import doctest
import os
import subprocess
import sys

import pytest

from data_prep import standard_streams
from tests.conftest import REPOSITORY

PROGRAM = """
import os, sys
from data_prep import command_line
def main(arguments):
    print("中文")
    with open(sys.argv[1], "w") as file:
        os.write(2, b"a library speaks")
        file.write("kept")
    raise ValueError("bad 中 \\x1b[31m")
command_line.run_command(main)
"""


@pytest.fixture
def run(tmp_path):
    def run(redirection: str = "", **variables):
        program = tmp_path / "program.py"
        program.write_text(PROGRAM, encoding="utf-8")
        command = f"{sys.executable} {program} {tmp_path}/file {redirection}"
        return subprocess.run(
            command,
            shell=True,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables,
            check=False,
        )

    return run


def test_encoding_without_chinese_gets_escapes(run):
    done = run(PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stdout == "\\u4e2d\\u6587\n"
    assert "error: bad \\u4e2d \\x1b[31m\n" in done.stderr


def test_control_characters_do_not_reach_the_terminal(run):
    done = run()
    assert done.stdout == "中文\n"
    assert done.stderr.endswith("error: bad 中 \\x1b[31m\n")


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_neither_end_a_command_nor_spoil_its_files(
    run, redirection, tmp_path
):
    done = run(redirection)
    assert done.returncode == 1
    assert done.stderr == ""
    assert (tmp_path / "file").read_text() == "kept"


def test_examples_of_the_docstrings():
    assert doctest.testmod(standard_streams) == doctest.TestResults(0, 1)
