r"""Measure the minutes to an accuracy: our fast recipes beside transformers' Trainer.

    python -m benchmarks.time_to_accuracy --size=tiny \
        --input_file='TRAIN*.tfrecord' --eval_input_file='HELD_OUT*.tfrecord' \
        --output_dir=out/time_to_accuracy

Both sides see the same token sequences, batches of 32, and are measured on the same
masked tokens of all held-out records. The peer (`time_to_accuracy_peer.py`, which needs
the extra [torch] and the package accelerate) is BertForMaskedLM of the same size in
transformers' Trainer, with DataCollatorForLanguageModeling, AdamW, linear decay after
300 steps of warm-up, and logits at the masked positions alone, which is faster than
its own. `--peer_rates`, `--peer_dropouts`, `--peer_bf16` and `--peer_compile` set what
it is tried with.

Minutes count training from the first step on, tracing and compiling included,
evaluations left out. Runs are made one after the other, each in a process of its own. A
finished run is not made again, so the command can be stopped and repeated.
"""

import itertools
import json
import os
import pathlib
import subprocess
import sys

import matplotlib
import numpy as np
from absl import app, flags

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TARGETS = (20.0, 22.74, 33.54, 40.0, 45.0)
BATCH = 32
OURS = "bert_cn"


def define_flags() -> None:
    """Define the flags of the command."""
    flags.DEFINE_string("input_file", None, "Records to train on.", required=True)
    flags.DEFINE_string("eval_input_file", None, "Records held out.", required=True)
    flags.DEFINE_string("output_dir", "out/time_to_accuracy", "Folder of the runs.")
    flags.DEFINE_enum("size", "tiny", ["tiny", "mini"], "Size of the model.")
    flags.DEFINE_integer("num_steps", 0, "Updates of our run; 0 for the recipe's.")
    flags.DEFINE_integer("peer_steps", 6000, "Updates of each run of the peer.")
    flags.DEFINE_integer("eval_every_steps", 250, "Updates between evaluations.")
    flags.DEFINE_integer("max_eval_steps", 0, "Batches per evaluation; 0 for all.")
    rates = ["0.0005", "0.001", "0.002", "0.004"]
    flags.DEFINE_list("peer_rates", rates, "Learning rates of the peer.")
    flags.DEFINE_list("peer_dropouts", ["0", "0.1"], "Dropout rates of the peer.")
    flags.DEFINE_bool("peer_bf16", True, "Let the peer compute in bfloat16.")
    flags.DEFINE_bool("peer_compile", False, "Compile the peer's model.")
    flags.DEFINE_bool("peer_only", False, "Leave out our run.")


def main(_) -> None:
    args = flags.FLAGS
    os.makedirs(args.output_dir, exist_ok=True)
    data = os.path.join(args.output_dir, "data.npz")
    if not os.path.exists(data):
        export_data(data)
    results = [] if args.peer_only else [find_or_run(OURS, run_ours)]
    for rate, dropout in itertools.product(args.peer_rates, args.peer_dropouts):
        name = f"transformers {rate}, dropout {dropout}"

        def run_peer(folder, rate=rate, dropout=dropout):
            return run_worker(folder, data, rate, dropout)

        results.append(find_or_run(name, run_peer))
    print_table(results)
    path = os.path.join(args.output_dir, f"time_to_accuracy_{args.size}.png")
    draw(results, path)
    print(f"\nCurves: {path}")


def find_or_run(name: str, run) -> dict:
    """Return a run's result: its name, and "steps", "minutes" and "accuracy" lists."""
    args = flags.FLAGS
    folder = os.path.join(args.output_dir, f"{args.size}-{name}".replace(" ", "_"))
    path = f"{folder}.json"
    if not os.path.exists(path):
        print(f"{name} ...", flush=True)
        result = run(folder) | {"name": name}
        pathlib.Path(path).write_text(json.dumps(result))
    return json.loads(pathlib.Path(path).read_text())


def export_data(path: str) -> None:
    """Write training sequences, and the batches that we are measured on, as arrays."""
    from bert_cn.pretraining import input_pipeline
    from bert_cn.pretraining import records as records_lib
    from bert_cn.pretraining import settings as settings_lib
    from data_prep.records import schema

    args = flags.FLAGS
    found = {}
    for name in ("input_file", "eval_input_file"):
        pretraining = settings_lib.PretrainingArgs(input_file=getattr(args, name))
        records = records_lib.load_records(pretraining)
        dataset = input_pipeline.build_eval_dataset(records.eval, BATCH)
        batches = list(dataset.as_numpy_iterator())
        found[name] = {
            feature: np.concatenate([batch[feature] for batch in batches])
            for feature in schema.FEATURES
        }
    train, held_out = found["input_file"], found["eval_input_file"]
    # Training sequences come without masks: the collator of the peer draws its own.
    rows, places = np.nonzero(train["masked_lm_weights"])
    columns = train["masked_lm_positions"][rows, places]
    train["input_ids"][rows, columns] = train["masked_lm_ids"][rows, places]
    filled = train["input_mask"][:, 0] > 0
    vocabulary = records.vocabulary.path
    np.savez_compressed(
        path,
        vocab_file=np.array(vocabulary),
        train_input_ids=train["input_ids"][filled],
        train_input_mask=train["input_mask"][filled],
        **held_out,
    )


def run_ours(folder: str) -> dict:
    """Train with the recipe, and read its curves."""
    from bert_cn.training import reporting

    args = flags.FLAGS
    steps = [f"--num_train_steps={args.num_steps}"] if args.num_steps else []
    call(
        folder,
        "bert_cn.run_pretraining",
        f"--flagfile=configs/pretrain/bert_{args.size}_cn_fast.flags",
        f"--input_file={args.input_file}",
        f"--eval_input_file={args.eval_input_file}",
        f"--output_dir={folder}",
        "--do_train",
        "--do_eval",
        f"--eval_every_steps={args.eval_every_steps}",
        f"--max_eval_steps={args.max_eval_steps}",
        *steps,
    )
    rates = reporting.read_scalars(reporting.log_dir(folder, "train"))
    minutes, last, seconds = {0: 0.0}, 0, 0.0
    for step, rate in rates["sequences_per_second"].items():
        seconds += (step - last) * BATCH / rate
        minutes[step], last = seconds / 60, step
    curve = reporting.read_scalars(reporting.log_dir(folder, "eval"))
    points = curve["masked_lm_accuracy"]
    return {
        "steps": list(points),
        "minutes": np.interp(
            list(points), list(minutes), list(minutes.values())
        ).tolist(),
        "accuracy": list(points.values()),
    }


def run_worker(folder: str, data: str, rate: str, dropout: str) -> dict:
    """Train the peer in a process of its own."""
    args = flags.FLAGS
    settings = {
        "data": data,
        "config": f"configs/models/bert_{args.size}_cn.json",
        "result": f"{folder}.curve",
        "rate": float(rate),
        "dropout": float(dropout),
        "steps": args.peer_steps,
        "eval_every_steps": args.eval_every_steps,
        "max_eval_steps": args.max_eval_steps,
        "bf16": args.peer_bf16,
        "compile": args.peer_compile,
    }
    call(folder, "benchmarks.time_to_accuracy_peer", json.dumps(settings))
    return json.loads(pathlib.Path(settings["result"]).read_text())


def call(folder: str, module: str, *arguments: str) -> None:
    """Run a module; its output goes to FOLDER.log."""
    with open(f"{folder}.log", "w", encoding="utf-8") as log:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            check=True,
        )


def find_target(result: dict, target: float) -> tuple[float, float] | None:
    """Return (steps, minutes) at which a target is reached, between evaluations."""
    accuracy = 100 * np.array(result["accuracy"])
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return None
    place = reached[0]
    if place == 0:
        return result["steps"][0], result["minutes"][0]
    pair = accuracy[place - 1], accuracy[place]
    steps = np.interp(target, pair, result["steps"][place - 1 : place + 1])
    return steps, np.interp(target, pair, result["minutes"][place - 1 : place + 1])


def print_table(results: list[dict]) -> None:
    """Print a line for each run, and how much sooner ours is than the best peer."""
    titles = " | ".join(f"{target:g} %" for target in TARGETS)
    print(f"\n| run | ms a step | best | {titles} |")
    print("|---|---|---|" + "---|" * len(TARGETS))
    minutes = {}
    for result in results:
        found = [find_target(result, target) for target in TARGETS]
        cells = [
            f"{m:.1f} min, {s:,.0f}" if f else "-"
            for f in found
            for s, m in [f or (0, 0)]
        ]
        minutes[result["name"]] = [f[1] if f else np.inf for f in found]
        cost = 60_000 * result["minutes"][-1] / result["steps"][-1]
        print(
            f"| {result['name']} | {cost:.0f} | {100 * max(result['accuracy']):.1f} "
            f"| {' | '.join(cells)} |"
        )
    peers = [value for name, value in minutes.items() if name != OURS]
    if OURS in minutes and peers:
        best = np.min(peers, axis=0)
        pairs = zip(best, minutes[OURS], strict=True)
        cells = [f"{b / o:.1f}" if np.isfinite([b, o]).all() else "-" for b, o in pairs]
        print(f"| best peer's minutes by ours | | | {' | '.join(cells)} |")


def draw(results: list[dict], path: str) -> None:
    """Draw accuracy over minutes."""
    figure, axis = plt.subplots(figsize=(9, 5.5), constrained_layout=True)
    for result in results:
        width = 2.5 if result["name"] == OURS else 1.2
        accuracy = 100 * np.array(result["accuracy"])
        axis.plot(result["minutes"], accuracy, linewidth=width, label=result["name"])
    for target in TARGETS:
        axis.axhline(target, color="0.7", linestyle="--", linewidth=0.8)
    axis.set_xlabel("minutes of training on the same cores")
    axis.set_ylabel("masked_lm_accuracy on held-out text, %")
    axis.set_title(f"BERT-{flags.FLAGS.size}")
    axis.legend(loc="best", fontsize=9)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    define_flags()
    app.run(main)
