r"""Measure what each setting of a fast recipe is worth: one change at a time.

    python -m benchmarks.ablation --train_text=NEWS.txt --held_out_text=LATER_NEWS.txt \
        --vocab_file=VOCAB.txt --size=tiny --num_steps=2000 --output_dir=out/ablation

Each variant trains with the recipe configs/pretrain/bert_SIZE_cn_fast.flags but for the
flags that `VARIANTS` names, and is measured on all records of the held-out text: single
tokens, 15 % masked, full vocabulary. All variants get equal time: one whose step costs
more makes fewer steps. Time is counted in steps times the cost of a step (`cost`, in
steps of the recipe, by CPU seconds), so that other programs on the machine do
not decide; the table shows the CPU seconds that each run used.

A run that is finished is not made again, so the command can be stopped and repeated.
"""

import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys

import numpy as np
from absl import app, flags

from bert_cn.conversion import formats
from bert_cn.training import run_files

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# The settings of records, by the names that variants use.
RECORDS = {
    "chunks": ["--packing=chunks"],
    "full_sentences": ["--packing=full_sentences"],
    "pairs": [],
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A change to the recipe.

    Attributes:
        changes: flags that take the place of the recipe's.
        cost: of a step, in steps of the recipe.
        records: a name of `RECORDS`.
        averaged: measure the mean of this many last checkpoints, which are saved after
            every 1 % of the run; 1 for the last one alone. LAWA (Kaddour, 2022,
            https://arxiv.org/abs/2209.14981).
        taught: needs --teacher_checkpoint.
    """

    changes: tuple[str, ...] = ()
    cost: float = 1.0
    records: str = "chunks"
    averaged: int = 1
    taught: bool = False


def change(*changes: str, **more) -> Variant:
    """Return a variant; `more` are its other attributes."""
    return Variant(tuple(f"--{one}" for one in changes), **more)


# The rates are around those of tiny's recipe.
VARIANTS = {
    "the recipe": change(),
    "full sentences": change(cost=0.95, records="full_sentences"),
    "shift_positions off": change("noshift_positions"),
    "initial_masked_lm_prob 0": change("initial_masked_lm_prob=0", cost=0.95),
    "initial_masked_lm_prob 0.4": change("initial_masked_lm_prob=0.4", cost=1.04),
    "initial_masked_lm_prob 0.5": change("initial_masked_lm_prob=0.5", cost=1.08),
    "output_vocabulary all": change("output_vocabulary=all", cost=1.45),
    "attention_initializer random": change("attention_initializer=random"),
    "output_bias_initializer zeros": change("output_bias_initializer=zeros"),
    "kernel_initializer truncated_normal": change(
        "kernel_initializer=truncated_normal"
    ),
    "embedding_initializer_range 0.02": change("embedding_initializer_range=0.02"),
    "embedding_initializer_range 0.1": change("embedding_initializer_range=0.1"),
    "pretraining_dropout 0.1": change("pretraining_dropout=0.1", cost=1.1),
    "adamw 0.004": change(
        "optimizer=adamw", "muon_learning_rate=0", "learning_rate=0.004"
    ),
    "adamw 0.008": change(
        "optimizer=adamw", "muon_learning_rate=0", "learning_rate=0.008"
    ),
    "bert_adamw 0.001, BERT's start, dropout 0.1": change(
        "optimizer=bert_adamw",
        "muon_learning_rate=0",
        "learning_rate=0.001",
        "pretraining_dropout=0.1",
        "attention_initializer=random",
        "output_bias_initializer=zeros",
        "kernel_initializer=truncated_normal",
        "embedding_initializer_range=0.02",
        cost=1.1,
    ),
    "schedule triangle": change("schedule=triangle"),
    "schedule cosine": change("schedule=cosine"),
    "schedule wsd": change("schedule=wsd"),
    "muon_learning_rate 0.002": change("muon_learning_rate=0.002"),
    "muon_learning_rate 0.008": change("muon_learning_rate=0.008"),
    "learning_rate 0.005": change("learning_rate=0.005"),
    "learning_rate 0.02": change("learning_rate=0.02"),
    "adam_beta2 0.98": change("adam_beta2=0.98"),
    "clip_norm 0.5": change("clip_norm=0.5"),
    "weight_decay_rate 0.01": change("weight_decay_rate=0.01"),
    "weight_decay_rate 0.3": change("weight_decay_rate=0.3"),
    "train_batch_size 16": change("train_batch_size=16", cost=0.57),
    "train_batch_size 64": change("train_batch_size=64", cost=1.9),
    "mean of the last 5 checkpoints": change(averaged=5),
    "constant rate": change("decay_power=0"),
    "constant rate, mean of the last 10 checkpoints": change(
        "decay_power=0", averaged=10
    ),
    "teacher_weight 0.5": change("teacher_weight=0.5", cost=1.8, taught=True),
    "teacher relations": change(
        "teacher_weight=0", "teacher_relation_weight=1", cost=1.8, taught=True
    ),
    "teacher_weight 0.9": change("teacher_weight=0.9", cost=1.8, taught=True),
    "pairs, next_sentence_weight 0": change("next_sentence_weight=0", records="pairs"),
    "pairs, next_sentence_weight 0.1": change(
        "next_sentence_weight=0.1", records="pairs"
    ),
    "pairs, next_sentence_weight 1": change("next_sentence_weight=1", records="pairs"),
}


def define_flags() -> None:
    """Define the flags of the command."""
    flags.DEFINE_string("train_text", None, "Text to train on.", required=True)
    flags.DEFINE_string("held_out_text", None, "Text to measure on.", required=True)
    flags.DEFINE_string("vocab_file", None, "WordPiece vocabulary.", required=True)
    flags.DEFINE_string("output_dir", "out/ablation", "Folder of records and runs.")
    flags.DEFINE_enum("size", "tiny", ["tiny", "mini"], "Size of the recipe.")
    flags.DEFINE_integer("num_steps", 2000, "Updates of the recipe itself.")
    flags.DEFINE_string(
        "teacher_checkpoint", "", "The teacher of some variants; without it, none."
    )
    flags.DEFINE_list("seeds", ["12345"], "Seeds of each variant.")
    flags.DEFINE_list("only", [], "Variants that have one of these in their names.")
    flags.DEFINE_bool("table_only", False, "Print the runs that are there.")


def main(_) -> None:
    args = flags.FLAGS
    wanted = {
        name: variant
        for name, variant in VARIANTS.items()
        if (not args.only or any(part in name for part in args.only))
        and (args.teacher_checkpoint or not variant.taught)
    }
    for seed in args.seeds:
        for name, variant in wanted.items():
            if not args.table_only and not os.path.exists(result_path(name, seed)):
                train(name, variant, seed)
    print_table(wanted)


def folder_of(name: str, seed: str) -> str:
    """Return the folder of a run."""
    args = flags.FLAGS
    words = "".join(c if c.isalnum() or c == "." else "_" for c in name)
    place = f"{args.size}-{args.num_steps}"
    return os.path.join(args.output_dir, place, f"{words}-{seed}")


def result_path(name: str, seed: str) -> str:
    """Return where a run's result is kept."""
    return os.path.join(folder_of(name, seed), "ablation.json")


def make_records(text: str, part: str, kind: str) -> str:
    """Make the records of a text if they are not there; return their path."""
    folder = os.path.join(flags.FLAGS.output_dir, f"{part}-{kind}")
    path = os.path.join(folder, "records.tfrecord")
    if not os.path.exists(os.path.join(folder, "records.manifest.json")):
        run(
            "data_prep.create_pretraining_data",
            f"--input_file={text}",
            f"--output_file={path}",
            f"--vocab_file={flags.FLAGS.vocab_file}",
            "--nodo_lower_case",
            "--masking=token",
            "--masking_time=dynamic",
            "--num_shards=1",
            *RECORDS[kind],
        )
    return path


def train(name: str, variant: Variant, seed: str) -> None:
    """Train a variant and keep its result."""
    args = flags.FLAGS
    steps = round(args.num_steps / variant.cost)
    # A model that learned pairs is measured on pairs: a second part is new to others.
    held_out = "pairs" if variant.records == "pairs" else "chunks"
    print(f"{name}, seed {seed}: {steps} steps", flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = folder_of(name, seed)
    run(
        "bert_cn.run_pretraining",
        f"--flagfile=configs/pretrain/bert_{args.size}_cn_fast.flags",
        f"--input_file={make_records(args.train_text, 'train', variant.records)}",
        f"--output_dir={folder}",
        f"--num_train_steps={steps}",
        f"--save_checkpoints_steps={steps if variant.averaged == 1 else steps // 100}",
        f"--max_checkpoints={variant.averaged}",
        f"--random_seed={seed}",
        *([f"--teacher_checkpoint={args.teacher_checkpoint}"] * variant.taught),
        "--do_train",
        *variant.changes,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(
        "bert_cn.run_pretraining",
        f"--input_file={make_records(args.held_out_text, 'held_out', held_out)}",
        f"--output_dir={os.path.join(folder, 'held_out')}",
        f"--init_checkpoint={average_checkpoints(folder, variant.averaged)}",
        "--precision=auto",
        "--max_eval_steps=0",
        "--do_eval",
    )
    metrics = read_results(os.path.join(folder, "held_out", "eval_results.txt"))
    metrics["steps"] = steps
    metrics["cpu_seconds"] = sum(
        getattr(after, name) - getattr(before, name)
        for name in ("ru_utime", "ru_stime")
    )
    pathlib.Path(result_path(name, seed)).write_text(json.dumps(metrics, indent=2))


def average_checkpoints(folder: str, count: int) -> str:
    """Return a folder with the mean weights of the last checkpoints of a run."""
    weights = os.path.join(folder, "weights")
    if count == 1:
        return weights
    runs = [formats.read_checkpoint(path) for path in run_files.find_prefixes(folder)]
    assert len(runs) == count, runs
    mean = {
        name: np.mean([bert.weights[name][...] for bert in runs], axis=0)
        for name in runs[0].weights
    }
    averaged = dataclasses.replace(formats.read_checkpoint(weights), weights=mean)
    target = os.path.join(folder, "mean")
    formats.write_checkpoint(averaged, "tf1", target, overwrite=True)
    return target


def run(module: str, *arguments: str) -> None:
    """Run a command of ours; its output goes to a log beside the runs."""
    os.makedirs(flags.FLAGS.output_dir, exist_ok=True)
    path = os.path.join(flags.FLAGS.output_dir, "log.txt")
    with open(path, "a", encoding="utf-8") as log:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            check=True,
        )


def read_results(path: str) -> dict[str, float]:
    """Return the metrics of an eval_results.txt."""
    lines = pathlib.Path(path).read_text().splitlines()
    return {name: float(value) for name, value in (line.split(" = ") for line in lines)}


def print_table(wanted: dict[str, Variant]) -> None:
    """Print a line for each variant, the best first."""
    rows = []
    for name, variant in wanted.items():
        paths = [result_path(name, seed) for seed in flags.FLAGS.seeds]
        results = [
            json.loads(pathlib.Path(path).read_text())
            for path in paths
            if os.path.exists(path)
        ]
        if results:
            rows.append((name, variant, results))
    rows.sort(key=lambda row: -mean(row[2], "masked_lm_accuracy"))
    print("| variant | steps | held-out accuracy | seeds | loss | NSP | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, _, results in rows:
        values = [100 * result["masked_lm_accuracy"] for result in results]
        sentence = "-"
        if "next_sentence_accuracy" in results[0]:
            sentence = f"{100 * mean(results, 'next_sentence_accuracy'):.1f}"
        print(
            f"| {name} | {results[0]['steps']:,} "
            f"| {statistics.mean(values):.1f} "
            f"| {' '.join(f'{value:.1f}' for value in values)} "
            f"| {mean(results, 'masked_lm_loss'):.3f} "
            f"| {sentence} | {mean(results, 'cpu_seconds'):.0f} |"
        )


def mean(results: list[dict], name: str) -> float:
    """Return the mean of a metric over seeds."""
    return statistics.mean(result[name] for result in results)


if __name__ == "__main__":
    define_flags()
    app.run(main)
