"""A Python that has imported TensorFlow and runs each command in a fork of itself.

    python -m tests.warm_python

A command starts in a tenth of a second of CPU time instead of four seconds, in a
process of its own all the same: nothing that it imports, defines or changes is seen by
the next one. For each line on standard input, a JSON object (`module`, `arguments`,
`folder`, `environment`, and the files `stdout` and `stderr`), two lines are answered:
the process's id when it has started, and its exit code when it has ended.
"""

import atexit
import json
import os
import pathlib
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback


class WarmPython:
    """Starts the process on its first use, and gives it commands one after another.

    Args:
        folder: where commands run.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = str(folder)
        self._server: subprocess.Popen | None = None

    def run(
        self, module: str, arguments: list[str], timeout: float
    ) -> subprocess.CompletedProcess:
        """Run `python -m module arguments...`, as `subprocess.run` does.

        Raises:
            subprocess.TimeoutExpired: the command took longer, and was killed.
        """
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_python"],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        with tempfile.TemporaryDirectory() as streams:
            stdout, stderr = (pathlib.Path(streams, name) for name in ("out", "err"))
            request = {
                "module": module,
                "arguments": arguments,
                "folder": self._folder,
                "environment": dict(os.environ),
                "stdout": str(stdout),
                "stderr": str(stderr),
            }
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            pid = int(self._server.stdout.readline())
            ended, _, _ = select.select([self._server.stdout], [], [], timeout)
            if not ended:
                os.kill(pid, signal.SIGKILL)
            code = int(self._server.stdout.readline())
            if not ended:
                raise subprocess.TimeoutExpired([module, *arguments], timeout)
            return subprocess.CompletedProcess(
                [module, *arguments], code, stdout.read_text(), stderr.read_text()
            )

    def close(self) -> None:
        """End the process."""
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()
            self._server.stdout.close()


def main() -> None:
    """Serve requests; in each fork, run the command as `python -m` would."""
    # TensorFlow starts its threads with its first operation, so forks are safe here.
    import keras_hub  # noqa: F401  It imports keras.
    import tensorflow  # noqa: F401

    request = serve()
    if request is not None:
        enter(request)
        code = run_module(request["module"])
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        # Python's own end takes a second, to free all that TensorFlow has imported.
        os._exit(code)


def run_module(module: str) -> int:
    """Run a module as `python -m` does; returns its exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> dict | None:
    """Answer requests until there are no more; returns one in each fork."""
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            return json.loads(line)
        os.write(answers, f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return None


def enter(request: dict) -> None:
    """Take over the folder, environment, streams and arguments of a command."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.path[0] = request["folder"]
    # As Python has it while it imports the package of the module that -m names.
    sys.argv = ["-m", *request["arguments"]]


if __name__ == "__main__":
    main()
