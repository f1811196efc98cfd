"""A Python that has imported TensorFlow and runs each command in a fork of itself.

    python -m tests.warm_python

A command starts in a tenth of a second of CPU time instead of four seconds, in a
process of its own all the same: nothing that it imports, defines or changes is seen by
the next one. For each line on standard input, a JSON object (`module` or `program`,
`arguments`, `folder`, `environment`, and the files `stdout`, `stderr` and `ended`), the
process's id is answered on standard output. Its exit code goes to the file `ended`.
"""

import atexit
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence


class Process:
    """A command in a fork, with the names of `subprocess.Popen`.

    Args:
        name: the module, for error messages.
        pid: the process's id.
        files: the folder of its streams and its exit code.

    Attributes:
        pid: the process's id.
        returncode: its exit code, or minus the signal that ended it; None while it
            runs.
    """

    def __init__(self, name: str, pid: int, files: pathlib.Path):
        self.pid = pid
        self.returncode: int | None = None
        self._name, self._files = name, files

    def read_stdout(self) -> str:
        """Return what it has written so far."""
        return (self._files / "stdout").read_text()

    def read_stderr(self) -> str:
        """Return what it has written so far."""
        return (self._files / "stderr").read_text()

    def follow_stdout(self) -> Iterator[str]:
        """Yield each line that it writes, until it ends."""
        count = 0
        while True:
            ended = self.poll() is not None
            lines = self.read_stdout().splitlines(keepends=True)
            whole = [line for line in lines if ended or line.endswith("\n")]
            yield from whole[count:]
            if ended:
                return
            count = len(whole)
            time.sleep(0.02)

    def poll(self) -> int | None:
        """Return `returncode`."""
        if self.returncode is None and (self._files / "ended").exists():
            self.returncode = int((self._files / "ended").read_text())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if the process still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 600) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it took longer, and was killed.
        """
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(self._name, timeout)
            time.sleep(0.005)
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Wait for its end and return what it has written."""
        self.wait(timeout)
        return self.read_stdout(), self.read_stderr()


class WarmPython:
    """Starts the process at its first use, and commands in forks of it.

    Args:
        folder: where commands run.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = str(folder)
        self._server: subprocess.Popen | None = None
        self._files = tempfile.TemporaryDirectory()

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        program: str = "",
    ) -> Process:
        """Start `python -m module arguments...`, as `subprocess.Popen` does.

        Args:
            module: the module, or the name of `program`.
            arguments: its arguments.
            environment: its environment; None for this process's own.
            program: text to run instead of a module, as `python -c` does.
        """
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_python"],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        files = pathlib.Path(tempfile.mkdtemp(dir=self._files.name))
        request = {
            "module": module,
            "program": program,
            "arguments": list(map(str, arguments)),
            "folder": self._folder,
            "environment": dict(os.environ if environment is None else environment),
        }
        for name in ("stdout", "stderr", "ended"):
            request[name] = str(files / name)
        (files / "stdout").touch()
        (files / "stderr").touch()
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return Process(module, int(self._server.stdout.readline()), files)

    def run(
        self, *start_arguments, timeout: float = 600, **more
    ) -> subprocess.CompletedProcess:
        """Start a command and wait for it; see `start` and `Process.wait`."""
        process = self.start(*start_arguments, **more)
        code = process.wait(timeout)
        return subprocess.CompletedProcess(
            start_arguments, code, process.read_stdout(), process.read_stderr()
        )

    def close(self) -> None:
        """End the process."""
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()
            self._server.stdout.close()
        self._files.cleanup()


def main() -> None:
    """Serve requests; in each fork, run the command as `python -m` would."""
    # TensorFlow starts its threads with its first operation, so forks are safe here.
    import keras_hub  # noqa: F401  It imports keras.
    import tensorflow  # noqa: F401

    code = 0
    request = serve()
    if request is not None:
        enter(request)
        code = run(request["module"], request["program"])
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    # Python's own end takes a second, to free all that TensorFlow has imported.
    os._exit(code)


def run(module: str, program: str) -> int:
    """Run a module as `python -m` does, or a program; returns its exit code."""
    try:
        if program:
            exec(compile(program, module, "exec"), {"__name__": "__main__"})
        else:
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
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # So no keeper waits to be reaped.
    for line in sys.stdin:
        if os.fork() == 0:
            request = json.loads(line)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keep(request, answers)
            os.close(answers)
            return request
    return None


def keep(request: dict, answers: int) -> None:
    """Fork the command, and note its end; returns in the command's process only."""
    pid = os.fork()
    if pid == 0:
        return
    os.write(answers, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    partial = request["ended"] + ".partial"
    pathlib.Path(partial).write_text(str(os.waitstatus_to_exitcode(status)))
    os.rename(partial, request["ended"])
    os._exit(0)


def enter(request: dict) -> None:
    """Take over the folder, environment, streams and arguments of a command."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.path[0] = request["folder"]
    # As Python has it while it imports the package of the module that -m names.
    sys.argv = ["-c" if request["program"] else "-m", *request["arguments"]]


if __name__ == "__main__":
    main()
