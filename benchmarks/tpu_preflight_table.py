"""The largest batch of each model that fits on a TPU slice: the table of docs/tpu.md.

    python -m benchmarks.tpu_preflight_table

Runs `python -m tpu.preflight --find_batch` for each row, one at a time; a row takes
three to five compilations of one to three minutes each on an idle core. --rows chooses
the rows whose names contain its value, such as base-512-v3-8; -recompute ends the names
of rows whose layers are recomputed in the backward pass.
"""

import argparse
import json
import subprocess
import sys

# Model, length, predictions, batch of a replica to begin with, --recompute_layers.
MODELS = (
    ("base", 128, 20, 128, False),
    ("base", 512, 77, 32, False),
    ("large", 512, 77, 8, False),
    ("large", 512, 77, 32, True),
    ("giant", 512, 77, 8, False),
    ("giant", 512, 77, 32, True),
)
SLICES = {"v3-8": 8, "v4-8": 4}
_ROW = (
    "| {model}{how} | {length} | {slice} | {batch} | {memory:.1f} GB | {flops:.3g} | "
    "{traffic:.1f} GB | {bound:.0f} ms | {rate:,.0f} |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="")
    wanted = parser.parse_args().rows
    print(
        "| model | length | slice | largest batch of a replica | memory | FLOPs | "
        "traffic | at least | sequences/s at most |\n" + "|---" * 9 + "|"
    )
    for where in SLICES:
        for model, length, predictions, first, recompute in MODELS:
            row = f"{model}-{length}-{where}" + "-recompute" * recompute
            if wanted in row:
                print_row(model, length, predictions, first, recompute, where)


def print_row(model, length, predictions, first, recompute, where) -> None:
    replicas = SLICES[where]
    how = ", layers recomputed" * recompute
    flags = (
        f"--topology={where}",
        f"--bert_config_file=configs/models/bert_{model}_cn.json",
        f"--max_seq_length={length}",
        f"--max_predictions_per_seq={predictions}",
        "--precision=mixed_bfloat16",
        f"--recompute_layers={recompute}",
    )
    found = run_preflight(
        *flags, f"--train_batch_size={first * replicas}", "--find_batch"
    ).get("largest")
    if not found:
        print(f"| {model}{how} | {length} | {where} | none | | | | | |", flush=True)
        return
    batch = found["per_replica_batch"]
    step = found["bound_seconds"]["step"]
    print(
        _ROW.format(
            model=model,
            how=how,
            length=length,
            slice=where,
            batch=batch,
            memory=found["memory_bytes"] / 1e9,
            flops=found["program"]["flops"],
            traffic=found["program"]["bytes_accessed"] / 1e9,
            bound=step * 1e3,
            rate=batch * replicas / step,
        ),
        flush=True,
    )


def run_preflight(*flags: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tpu.preflight", "--json", *flags],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
