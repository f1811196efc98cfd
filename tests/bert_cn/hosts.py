"""Several hosts on one machine, as TF_CONFIG names them."""

import json
import os
import socket

from tests import warm_python


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_hosts(
    warm: warm_python.WarmPython, module: str, arguments: list[list[str]]
) -> list[warm_python.Process]:
    """Start a module for each host, with its arguments; the chief's come first."""
    workers = [f"127.0.0.1:{free_port()}" for _ in arguments]
    processes = []
    for index, own in enumerate(arguments):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        environment = os.environ | {"TF_CONFIG": config}
        processes.append(warm.start(module, own, environment))
    return processes
