"""Measure one training step on a CPU, ours beside its peers, interleaved.

    python benchmarks/training_step.py --sizes tiny mini base \
        --model_garden_python=garden/bin/python

Every contender runs in a process of its own (`training_step_worker.py`) and makes the
same step: MLM + NSP on 20 masked positions of 128 tokens, vocabulary 21,128, dropout
0.1, global norm clipped to 1, AdamW; batch 32, 32 and 8 for tiny, mini and base. In
each round every contender runs for some steps while the others wait, so all of them
meet the same load. Torch (the extra [torch]) is left out if it is not installed; TF
Model Garden (tf-models-official 2.20) needs an environment of its own.

`share` is the step's floating-point operations, 3 (B S L (24 H^2 + 4 S H) +
B P (2 H^2 + 2 H V) + B (2 H^2 + 4 H)), by its time and by the rate of a large matrix
product of TensorFlow's in the same precision, measured in the same rounds. CPU
milliseconds are those of all threads: they vary less if other programs share the
machine.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
LENGTH, PREDICTIONS, VOCABULARY = 128, 20, 21128


@dataclasses.dataclass(frozen=True)
class Size:
    """A model and its batch: layers, hidden size, heads, sequences."""

    layers: int
    hidden: int
    heads: int
    batch: int

    @property
    def operations(self) -> float:
        """Floating-point operations of one step."""
        b, s, p, h = self.batch, LENGTH, PREDICTIONS, self.hidden
        layers = b * s * self.layers * (24 * h * h + 4 * s * h)
        heads = b * p * (2 * h * h + 2 * h * VOCABULARY) + b * (2 * h * h + 4 * h)
        return 3.0 * (layers + heads)


SIZES = {
    "tiny": Size(2, 128, 2, 32),
    "mini": Size(4, 256, 4, 32),
    "base": Size(12, 768, 12, 8),
}
OURS = "bert_cn"
TORCH = {
    "transformers, full logits": "torch-full",
    "transformers, gathered": "torch-gathered",
    "transformers, gathered, compiled": "torch-compiled",
}


class Worker:
    """A contender's process, which runs steps when told to."""

    def __init__(self, python: str, kind: str, size: str, precision: str):
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.training_step_worker", kind, size, precision],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("VERBOSE") else None,
            text=True,
        )
        self.wall, self.cpu = [], []

    def run(self, steps: int, keep: bool = True) -> None:
        """Run some steps; add milliseconds per step."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{' '.join(self._process.args)} ended with "
                f"{self._process.wait()}; VERBOSE=1 shows why."
            )
        wall, cpu = json.loads(line)
        if keep:
            self.wall.append(wall / steps * 1e3)
            self.cpu.append(cpu / steps * 1e3)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    arguments = parse_arguments()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for size in arguments.sizes:
        for precision in arguments.precisions:
            measure(arguments, size, precision)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    precisions = ["float32", "bfloat16"]
    parser.add_argument(
        "--precisions", nargs="+", choices=precisions, default=precisions
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="a contender and round")
    parser.add_argument("--model_garden_python", default="")
    parser.add_argument(
        "--without",
        nargs="+",
        choices=list(TORCH),
        default=[],
        help="contenders to leave out: all are in memory at once (base: 20 GiB)",
    )
    return parser.parse_args()


def start_workers(arguments, size: str, precision: str) -> dict[str, Worker]:
    kinds = {OURS: (sys.executable, "ours"), "matrix product": (sys.executable, "gemm")}
    if importlib.util.find_spec("torch"):
        kinds |= {name: (sys.executable, kind) for name, kind in TORCH.items()}
    if arguments.model_garden_python:
        kinds["TF Model Garden"] = (arguments.model_garden_python, "model-garden")
    return {
        name: Worker(python, kind, size, precision)
        for name, (python, kind) in kinds.items()
        if name not in arguments.without
    }


def measure(arguments, size: str, precision: str) -> None:
    workers = start_workers(arguments, size, precision)
    for worker in workers.values():
        # Not measured: compiling, tracing, and the first touch of memory.
        worker.run(2, keep=False)
    for _ in range(arguments.rounds):
        for worker in workers.values():
            worker.run(arguments.steps)
    for worker in workers.values():
        worker.close()
    product = workers.pop("matrix product")
    rate = 2 * 4096**3 / statistics.median(product.wall) / 1e6  # GF/s from ms
    print_table(size, precision, workers, rate)


def print_table(size: str, precision: str, workers: dict, rate: float) -> None:
    sequences, operations = SIZES[size].batch, SIZES[size].operations
    print(
        f"\n{size}, {precision}: {operations / 1e9:.1f} GF a step; a 4096 x 4096 "
        f"product: {rate:.0f} GF/s\n\n"
        "| contender | ms a step | fastest | CPU ms | sequences/s | share | ours is |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    ours = workers[OURS]
    for name, worker in workers.items():
        wall = statistics.median(worker.wall)
        # One ratio for each round, because the machine's load changes between rounds.
        ratios = [a / b for a, b in zip(worker.wall, ours.wall, strict=True)]
        faster = "" if worker is ours else f"{statistics.median(ratios):.2f} x"
        print(
            f"| {name} | {wall:.0f} | {min(worker.wall):.0f} "
            f"| {statistics.median(worker.cpu):.0f} | {sequences / wall * 1e3:.0f} "
            f"| {operations / wall / rate / 1e4:.0f} % | {faster} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
