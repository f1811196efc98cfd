"""Several hosts on one machine, as TF_CONFIG names them."""

import json
import os
import socket
import subprocess

from tests.conftest import REPOSITORY


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_hosts(commands: list[list[str]]) -> list[subprocess.Popen]:
    """Start a process for each host, the chief's command first."""
    workers = [f"127.0.0.1:{free_port()}" for _ in commands]
    processes = []
    for index, command in enumerate(commands):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        processes.append(
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | {"TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes
