"""Measure create_pretraining_data, and google-research/bert's for comparison.

    python benchmarks/data_stage.py --vocab_file=vocab.txt text.txt \
        --google_bert_python=tf115/bin/python

Each line of the table is a whole command, imports included. CPU seconds are those of
all its processes. Memory is read every 50 ms from /proc (Linux): the sum over the
command's processes, which counts shared pages once per process, and the largest one.

google-research/bert is the package bert-tensorflow 1.0.4 under Python 3.7 and
TensorFlow 1.15.5. Its memory grows with the text, so it gets only the first part of
the text: compare rates. It masks single tokens: for Chinese its flag does nothing.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Run:
    """One measured command."""

    megabytes: float
    sequences: int
    wall_seconds: float
    cpu_seconds: float
    all_mib: float
    largest_mib: float


def main() -> None:
    arguments = parse_arguments()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"dupe_factor {arguments.dupe_factor}, length 128, 20 predictions\n")
    print(
        "| command | text MB | wall s | CPU s | CPU s per MB | MB/s | sequences/s "
        "| sequences per CPU s | MiB, all | MiB, largest |\n|---|" + "---:|" * 9
    )
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        for workers in arguments.workers:
            runs = [
                measure_ours(arguments, folder, workers)
                for _ in range(arguments.repeats)
            ]
            print_line(f"bert_cn, {workers} process{'es'[: 2 * (workers > 1)]}", runs)
        if arguments.google_bert_python:
            part = cut_text(arguments.text, folder, arguments.google_megabytes)
            runs = [
                measure_google(arguments, folder, part)
                for _ in range(arguments.repeats)
            ]
            print_line("google-research/bert, 1 process, no whole words", runs)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "text", help="one sentence a line, blank lines between documents"
    )
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--dupe_factor", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="medians are printed")
    parser.add_argument("--num_shards", type=int, default=1)
    parser.add_argument("--google_bert_python", help="has bert-tensorflow; see above")
    parser.add_argument("--google_megabytes", type=float, default=3.0)
    parser.add_argument("--scratch", help="folder for temporary files")
    return parser.parse_args()


def measure_ours(arguments, folder: str, workers: int) -> Run:
    return measure(
        [
            *(sys.executable, "-m", "data_prep.create_pretraining_data"),
            f"--input_file={os.path.abspath(arguments.text)}",
            f"--output_file={folder}/out.tfrecord",
            f"--num_shards={arguments.num_shards}",
            f"--num_workers={workers}",
            "--do_whole_word_mask",
            "--overwrite",
            *shared_flags(arguments),
        ],
        arguments.text,
        r"Records: (\d+) sequences",
    )


def measure_google(arguments, folder: str, text: str) -> Run:
    return measure(
        [
            *(arguments.google_bert_python, "-m", "bert.create_pretraining_data"),
            f"--input_file={text}",
            f"--output_file={folder}/google.tfrecord",
            *shared_flags(arguments),
        ],
        text,
        r"Wrote (\d+) total instances",
    )


def shared_flags(arguments) -> list[str]:
    return [
        f"--vocab_file={os.path.abspath(arguments.vocab_file)}",
        f"--dupe_factor={arguments.dupe_factor}",
        "--max_seq_length=128",
        "--max_predictions_per_seq=20",
    ]


def measure(command: list[str], text: str, says_sequences: str) -> Run:
    with tempfile.TemporaryFile() as log:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT
        )
        peak_all = peak_largest = 0
        while process.poll() is None:
            sizes = [read_resident_bytes(pid) for pid in find_processes(process.pid)]
            peak_all = max(peak_all, sum(sizes))
            peak_largest = max(peak_largest, *sizes, 0)
            time.sleep(SAMPLE_SECONDS)
        wall = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
    found = re.search(says_sequences, said)
    if process.returncode or not found:
        sys.exit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(
        os.path.getsize(text) / 1e6,
        int(found.group(1)),
        wall,
        cpu,
        peak_all / 2**20,
        peak_largest / 2**20,
    )


def find_processes(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:
                continue  # The process has ended.
    return found


def read_resident_bytes(pid: int) -> int:
    try:
        pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def cut_text(path: str, folder: str, megabytes: float) -> str:
    """Write the first whole documents of a text."""
    with open(path, "rb") as file:
        data = file.read(int(megabytes * 1e6))
    part = os.path.join(folder, "part.txt")
    pathlib.Path(part).write_bytes(data[: data.rindex(b"\n\n") + 1])
    return part


def print_line(name: str, runs: list[Run]) -> None:
    def median(attribute: str) -> float:
        return statistics.median(getattr(run, attribute) for run in runs)

    megabytes, sequences = runs[0].megabytes, runs[0].sequences
    wall, cpu = median("wall_seconds"), median("cpu_seconds")
    print(
        f"| {name} | {megabytes:.1f} | {wall:.1f} | {cpu:.1f} | {cpu / megabytes:.2f} "
        f"| {megabytes / wall:.2f} | {sequences / wall:.0f} | {sequences / cpu:.0f} "
        f"| {median('all_mib'):.0f} | {median('largest_mib'):.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
