"""Every command answers --help, --version and a mistyped flag at once."""

import pathlib
import resource

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("data_prep", "bert_cn", "tpu")
COMMANDS = sorted(
    f"{package}.{path.stem}"
    for package in PACKAGES
    for path in (REPOSITORY / package).glob("*.py")
    if path.stem != "__main__"
    and 'if __name__ == "__main__":' in pathlib.Path(path).read_text(encoding="utf-8")
)
# CPU seconds; importing TensorFlow alone takes several times as long.
LIMIT = 1.0


@pytest.fixture
def measure(run_command):
    """Run a command with one flag; return (CompletedProcess, CPU seconds)."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def run(module: str, flag: str):
        before = used()
        done = run_command(module, flag, cold=True)
        return done, used() - before

    return run


def test_all_commands_are_found():
    assert len(COMMANDS) == 17


@pytest.mark.parametrize("module", COMMANDS)
def test_help_and_version_are_answered_at_once(module, measure):
    done, seconds = measure(module, "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bert_cn ")
    assert seconds < LIMIT

    done, seconds = measure(module, "--help")
    assert done.returncode == 0, done.stderr
    assert "\n  --[no]version" in done.stdout
    # An example keeps its line breaks.
    assert f"\n    python -m {module}" in done.stdout
    assert seconds < LIMIT

    done, seconds = measure(module, "--helpp")
    assert done.returncode == 1
    assert "Unknown command line flag 'helpp'" in done.stderr
    assert seconds < LIMIT
