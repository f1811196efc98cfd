"""A standalone Spark cluster on this machine: one master, some workers, on loopback."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HOST = "127.0.0.1"
_START_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        master: its address, for --spark_master.
        environment: of a driver.
    """

    master: str
    environment: dict[str, str]

    def list_executors(self) -> list[int]:
        """Return the process ids of the executors that work for this master."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = path.read_bytes().decode(errors="replace")
                if "CoarseGrainedExecutorBackend" in line and f"@{HOST}" in line:
                    found.append(int(path.parent.name))
        return sorted(found)


@contextlib.contextmanager
def start(folder: pathlib.Path, workers: int = 2):
    """Start a cluster; stop it at the end."""
    import pyspark

    home = pathlib.Path(pyspark.__file__).parent
    repository = pathlib.Path(__file__).parents[3]
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": HOST,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(repository),
    }
    port, page = _find_port(), _find_port()
    master = f"spark://{HOST}:{port}"

    def launch(name: str, kind: str, *arguments: str) -> subprocess.Popen:
        with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen(
                [home / "bin" / "spark-class", f"org.apache.spark.deploy.{kind}"]
                + list(arguments),
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    started = []
    try:
        started.append(
            launch(
                *("master", "master.Master"),
                *("--host", HOST, "--port", str(port), "--webui-port", str(page)),
            )
        )
        for number in range(workers):
            started.append(
                launch(
                    *(f"worker-{number}", "worker.Worker", "--host", HOST),
                    *("--cores", "1", "--memory", "1g", "--webui-port", "0"),
                    *("--work-dir", str(folder / f"work-{number}"), master),
                )
            )
        _wait_for_workers(f"http://{HOST}:{page}/json/", workers)
        yield Cluster(master, environment)
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _find_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def _wait_for_workers(page: str, count: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(page) as answer:
            text = answer.read().decode()
            alive = re.search(r'"aliveworkers"\s*:\s*(\d+)', text)
            if alive and int(alive[1]) >= count:
                return
        time.sleep(0.5)
    raise TimeoutError(f"{count} Spark workers did not start in {_START_SECONDS} s")
