"""Fixtures that several test folders use."""

import os
import pathlib
import subprocess
import sys

# Quiet TensorFlow before any test imports it; errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared_folder() -> pathlib.Path:
    """The folder with real corpora and weights beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            "needs the corpora and weights in ../shared beside the repository; put them "
            "there and run pytest -m shared_data"
        )
    return SHARED


@pytest.fixture(scope="session")
def run_command():
    """Run `python -m module arguments...` as a user would; returns CompletedProcess."""

    def run(module: str, *arguments: str, timeout: float = 600):
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def assert_refused(run_command):
    """Check that a command ends with one sentence, no traceback, exit code not 0.

    Returns the standard error for further checks.
    """

    def check(module: str, *arguments: str, saying: tuple[str, ...]) -> str:
        done = run_command(module, *arguments)
        assert done.returncode not in (0, None), done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        for part in saying:
            assert part in done.stderr, done.stderr
        return done.stderr

    return check
