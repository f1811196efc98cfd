r"""Measure the minutes to an accuracy: our fast recipes beside transformers' Trainer.

    python -m benchmarks.time_to_accuracy --model=tiny \
        --input_file='TRAIN*.tfrecord' --eval_input_file='HELD_OUT*.tfrecord' \
        --output_dir=out/time_to_accuracy

Both sides see the same token sequences, batches of 32, and are measured on the same
masked tokens of the held-out records. Ours is the recipe
configs/pretrain/bert_MODEL_cn_fast.flags. The peer (`time_to_accuracy_peer.py`, which
needs the extra [torch] and the package accelerate) is BertForMaskedLM of the same size
in transformers' Trainer, with DataCollatorForLanguageModeling at 15 %, AdamW, linear
warm-up and decay. transformers 5.23 computes BERT's logits at all positions. Here the
peer computes those of masked positions alone, which takes a fifth of the time with
BERT-tiny; `--nopeer_gathers_masked` is its own way. The peer runs once for each
learning rate, dropout rate, precision and `--peer_compile` in the lists.

Minutes count training from the first step on, tracing and compiling included,
evaluations left out; "whole" is the process's time from start to end. Between two
evaluations, accuracy is taken to grow along a line; "<" marks a target that was passed
before the first evaluation. Runs are made one after the other, each in a process of its
own; the cores should be idle, and each result keeps the load that it began with. A
finished run with the same settings and records is not made again, so the command can be
stopped and repeated. A run that was stopped starts again at its first step.
"""

import dataclasses
import functools
import glob
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

from benchmarks import time_to_accuracy_report as report
from data_prep import storage

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Run:
    """A contender.

    Attributes:
        name: `report.OURS` or `report.PEER`.
        label: its settings, for people.
        settings: all that decides its result, as JSON can hold it.
        train: trains in the folder that it gets; returns "steps", "minutes" and
            "accuracy", lists with an entry for each evaluation.
    """

    name: str
    label: str
    settings: dict
    train: Callable[[str], dict]


def define_flags() -> None:
    """Define the flags of the command."""
    flags.DEFINE_string("input_file", None, "Records to train on.", required=True)
    flags.DEFINE_string("eval_input_file", None, "Records held out.", required=True)
    flags.DEFINE_string("output_dir", "out/time_to_accuracy", "Folder of the runs.")
    flags.DEFINE_enum("model", "tiny", ["tiny", "mini"], "Size of both models.")
    flags.DEFINE_integer("num_steps", 0, "Updates of our run; 0 for the recipe's.")
    flags.DEFINE_integer("eval_every_steps", 250, "Updates between evaluations.")
    flags.DEFINE_integer("max_eval_steps", 0, "Batches per evaluation; 0 for all.")
    flags.DEFINE_bool("ours", True, "Run ours.")
    flags.DEFINE_bool("peer", True, "Run the peer.")
    rates = ["5e-4", "1e-3", "2e-3", "4e-3"]
    flags.DEFINE_list("peer_rates", rates, "Learning rates of the peer.")
    flags.DEFINE_list("peer_dropouts", ["0", "0.1"], "Dropout rates of the peer.")
    flags.DEFINE_list(
        "peer_precisions", ["bfloat16"], "Of the peer: bfloat16, float32 or both."
    )
    flags.DEFINE_integer("peer_steps", 0, "Updates of the peer; 0 for as many as ours.")
    flags.DEFINE_float(
        "peer_minutes",
        0.0,
        "Stop the peer after this many minutes of training; 0 for never. The learning "
        "rate falls to 0 at --peer_steps all the same.",
    )
    flags.DEFINE_integer("peer_warmup_steps", 300, "Warm-up of the peer.")
    flags.DEFINE_list(
        "peer_compile", ["no"], "Compile the peer's model: no, yes or both."
    )
    flags.DEFINE_enum(
        "peer_wait_policy",
        "PASSIVE",
        ["PASSIVE", "ACTIVE"],
        "OMP_WAIT_POLICY of the peer. With ACTIVE its threads spin at barriers: a step "
        "took six times as long while another program used the cores.",
    )
    flags.DEFINE_bool("peer_gathers_masked", True, "Logits of masked tokens alone.")
    flags.DEFINE_bool(
        "peer_next_sentence", False, "BertForPreTraining instead; needs pairs."
    )


def main(_) -> None:
    args = flags.FLAGS
    os.makedirs(args.output_dir, exist_ok=True)
    records = {
        name: hash_files(getattr(args, name))
        for name in ("input_file", "eval_input_file")
    }
    runs = [build_ours(records)] if args.ours else []
    if args.peer:
        runs += build_peers(records)
    results = [find_or_run(run) for run in runs]
    report.print_table(results)
    path = os.path.join(args.output_dir, f"time_to_accuracy_{args.model}.png")
    report.draw(results, f"BERT-{args.model}, cores: {count_cores()}", path)
    print(f"\nCurves: {path}")


def count_cores() -> int:
    """Return how many cores the runs may use; `taskset` may leave fewer."""
    return len(os.sched_getaffinity(0))


def hash_files(pattern: str) -> str:
    """Return a hash of the contents of files.

    Raises:
        ValueError: no file matches.
    """
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise ValueError(
            f"Records must exist. Received: {pattern}, which matches no file; make "
            "them with data_prep.create_pretraining_data --masking_time=dynamic."
        )
    found = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


def read_recipe(model: str) -> list[str]:
    """Return the flags of our recipe."""
    path = REPOSITORY / f"configs/pretrain/bert_{model}_cn_fast.flags"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("--")]


def find_steps(recipe: list[str]) -> int:
    """Return the updates of our run."""
    if flags.FLAGS.num_steps:
        return flags.FLAGS.num_steps
    found = [re.fullmatch(r"--num_train_steps=(\d+)", line) for line in recipe]
    return next(int(match[1]) for match in found if match)


def build_common_settings(records: dict) -> dict:
    """Return what decides the result of either side."""
    args = flags.FLAGS
    names = ("model", "eval_every_steps", "max_eval_steps")
    return records | {name: getattr(args, name) for name in names} | {"batch": BATCH}


def build_ours(records: dict) -> Run:
    """Return our run."""
    recipe = read_recipe(flags.FLAGS.model)
    steps = find_steps(recipe)
    settings = build_common_settings(records) | {"recipe": recipe, "steps": steps}
    label = f"fast recipe, {steps:,} steps"
    return Run(report.OURS, label, settings, lambda folder: train_ours(folder, steps))


def build_peers(records: dict) -> list[Run]:
    """Return the peer's runs: each learning rate, dropout rate and precision."""
    args = flags.FLAGS
    common = build_common_settings(records) | {
        "config": f"configs/models/bert_{args.model}_cn.json",
        "steps": args.peer_steps or find_steps(read_recipe(args.model)),
        "most_minutes": args.peer_minutes,
        "warmup_steps": args.peer_warmup_steps,
        "wait_policy": args.peer_wait_policy,
        "gathers_masked": args.peer_gathers_masked,
        "next_sentence": args.peer_next_sentence,
    }
    check_choices("peer_precisions", ("bfloat16", "float32"))
    check_choices("peer_compile", ("no", "yes"))
    grid = itertools.product(
        args.peer_rates, args.peer_dropouts, args.peer_precisions, args.peer_compile
    )
    runs = []
    for rate, dropout, precision, compiles in grid:
        settings = common | {
            "rate": float(rate),
            "dropout": float(dropout),
            "precision": precision,
            "compile": compiles == "yes",
        }
        train = functools.partial(train_peer, settings)
        runs.append(Run(report.PEER, describe_peer(settings), settings, train))
    return runs


def check_choices(flag: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError if a list has what is not among the choices."""
    for value in getattr(flags.FLAGS, flag):
        if value not in choices:
            raise ValueError(
                f"--{flag} is a list of {' or '.join(choices)}. Received: {value}."
            )


def describe_peer(settings: dict) -> str:
    """Return what sets a run of the peer apart, for people."""
    parts = [
        f"rate {settings['rate']:g}",
        f"dropout {settings['dropout']:g}",
        settings["precision"],
        "compiled" if settings["compile"] else "",
        "" if settings["gathers_masked"] else "all logits",
        "next sentence" if settings["next_sentence"] else "",
        f"{settings['steps']:,} steps",
    ]
    return ", ".join(part for part in parts if part)


def find_or_run(run: Run) -> dict:
    """Return a run's result: what its `train` returns, its name, label and times."""
    args = flags.FLAGS
    # Other settings have another key: no run passes for a longer one.
    key = hashlib.sha256(json.dumps(run.settings, sort_keys=True).encode())
    name = f"{args.model}-{run.name}-{key.hexdigest()[:8]}"
    folder = os.path.join(args.output_dir, name)
    path = f"{folder}.json"
    if not os.path.exists(path):
        load = os.getloadavg()[0]
        print(
            f"{run.name}, {run.label}: log in {folder}.log; load before {load:.1f} on "
            f"{count_cores()} cores",
            flush=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        result = run.train(folder) | {
            "name": run.name,
            "label": run.label,
            "load_before": load,
            "cores": count_cores(),
            "settings": run.settings,
        }
        storage.write_whole(path, json.dumps(result, indent=1))
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def train_ours(folder: str, steps: int) -> dict:
    """Train with the recipe, and read its curves."""
    from bert_cn.training import reporting

    args = flags.FLAGS
    whole = call(
        folder,
        "bert_cn.run_pretraining",
        f"--flagfile=configs/pretrain/bert_{args.model}_cn_fast.flags",
        f"--input_file={args.input_file}",
        f"--eval_input_file={args.eval_input_file}",
        f"--output_dir={folder}",
        f"--num_train_steps={steps}",
        f"--train_batch_size={BATCH}",
        f"--eval_batch_size={BATCH}",
        "--do_train",
        "--do_eval",
        f"--eval_every_steps={args.eval_every_steps}",
        f"--max_eval_steps={args.max_eval_steps}",
    )
    scalars = reporting.read_scalars(reporting.log_dir(folder, "train"))
    minutes, last, seconds = {0: 0.0}, 0, 0.0
    for step, rate in scalars["sequences_per_second"].items():
        seconds += (step - last) * BATCH / rate
        minutes[step], last = seconds / 60, step
    scalars = reporting.read_scalars(reporting.log_dir(folder, "eval"))
    points = scalars["masked_lm_accuracy"]
    at_points = np.interp(list(points), list(minutes), list(minutes.values()))
    return {
        "steps": list(points),
        "minutes": at_points.tolist(),
        "accuracy": list(points.values()),
        "whole_minutes": whole,
    }


def train_peer(settings: dict, folder: str) -> dict:
    """Train the peer in a process of its own, and read its curve."""
    result = os.path.join(folder, "curve.json")
    places = {
        "data": find_or_export_data(settings),
        "work_dir": os.path.join(folder, "trainer"),
        "result": result,
    }
    whole = call(
        folder,
        "benchmarks.time_to_accuracy_peer",
        json.dumps(settings | places),
        OMP_WAIT_POLICY=settings["wait_policy"],
    )
    curve = json.loads(pathlib.Path(result).read_text(encoding="utf-8"))
    return curve | {"whole_minutes": whole}


def call(folder: str, module: str, *arguments: str, **variables: str) -> float:
    """Run a module, with its output in FOLDER.log; return minutes from start to end.

    Args:
        folder: of the run.
        module: what `python -m` runs.
        *arguments: its command line.
        **variables: of its environment, beside ours.

    Raises:
        RuntimeError: it failed.
    """
    begin = time.monotonic()
    with open(f"{folder}.log", "w", encoding="utf-8") as log:
        command = [sys.executable, "-m", module, *arguments]
        code = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            check=False,
        ).returncode
    if code:
        raise RuntimeError(f"{module} ended with {code}; {folder}.log says why.")
    return (time.monotonic() - begin) / 60


def find_or_export_data(settings: dict) -> str:
    """Return the path of the arrays for the peer, which are written if missing."""
    name = f"data-{settings['input_file']}-{settings['eval_input_file']}.npz"
    path = os.path.join(flags.FLAGS.output_dir, name)
    if not os.path.exists(path):
        export_data(path)
    return path


def export_data(path: str) -> None:
    """Write training sequences, and the batches that we are measured on, as arrays.

    They are the features of `schema.FEATURES`, [records, ...]: the held-out ones under
    their own names, with our masks; the training ones without masks, as "train_" and
    their names; and "vocab_file".
    """
    from bert_cn.pretraining import input_pipeline
    from bert_cn.pretraining import records as records_lib
    from bert_cn.pretraining import settings as settings_lib
    from data_prep.records import schema

    args = flags.FLAGS
    found = []
    for pattern in (args.input_file, args.eval_input_file):
        pretraining = settings_lib.PretrainingArgs(input_file=pattern)
        records = records_lib.load_records(pretraining)
        dataset = input_pipeline.build_eval_dataset(records.eval, BATCH)
        batches = list(dataset.as_numpy_iterator())
        found.append(
            {
                feature: np.concatenate([batch[feature] for batch in batches])
                for feature in schema.FEATURES
            }
        )
    train, held_out = found
    # Put the tokens back: the collator of the peer draws masks of its own.
    rows, places = np.nonzero(train[schema.MASKED_LM_WEIGHTS])
    columns = train[schema.MASKED_LM_POSITIONS][rows, places]
    train[schema.INPUT_IDS][rows, columns] = train[schema.MASKED_LM_IDS][rows, places]
    is_filled = train[schema.INPUT_MASK][:, 0] > 0
    names = (*schema.SEQUENCE_FEATURES, schema.NEXT_SENTENCE_LABELS)
    unmasked = {f"train_{name}": train[name][is_filled] for name in names}
    with open(f"{path}.part", "wb") as file:
        vocabulary = np.array(records.vocabulary.path)
        np.savez_compressed(file, vocab_file=vocabulary, **held_out, **unmasked)
    os.replace(f"{path}.part", path)


if __name__ == "__main__":
    define_flags()
    app.run(main)
