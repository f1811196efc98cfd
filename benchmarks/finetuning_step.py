"""Examples per second of fine-tuning, beside transformers' Trainer.

    pip install 'bert_cn[torch]' accelerate
    python benchmarks/finetuning_step.py --checkpoint=out/mini_pt \
        --task_name=chnsenticorp --data_dir=data/chnsenticorp

Both sides train the same checkpoint (a transformers folder) on the same examples of the
same task. Both use batches of the same size, padded to their longest example, AdamW,
dropout and clipping, and each runs in a process of its own. Text is tokenized before
the clock starts, and the first steps (tracing, warming up) are not measured.
transformers is measured twice: with its default random order, and with similar lengths
together, as bert_cn has them. The sides take turns, and the medians are printed.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SKIPPED_STEPS = 20
OURS = "bert_cn"
OURS_XLA = "bert_cn --jit_compile"
TRAINER = "transformers Trainer"
TRAINER_GROUPED = "transformers Trainer, lengths grouped"
SIDES = (TRAINER, TRAINER_GROUPED, OURS, OURS_XLA)


def main() -> None:
    """Measure each side in turn and print a table, or measure one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a transformers folder")
    parser.add_argument("--task_name", required=True, help="as in run_classifier")
    parser.add_argument("--data_dir", required=True, help="folder of the task's files")
    parser.add_argument("--train_batch_size", type=int, default=32)
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--num_steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", default=",".join(map(str, range(len(SIDES)))))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        seconds = MEASURES[arguments.side](arguments)
        print(json.dumps({"seconds": seconds}))
        return
    sides = [SIDES[int(number)] for number in arguments.sides.split(",")]
    if {TRAINER, TRAINER_GROUPED} & set(sides) and not find_spec("accelerate"):
        parser.error("transformers' Trainer needs accelerate: pip install accelerate")
    found = {side: [] for side in sides}
    for _ in range(arguments.repeats):
        for side in sides:
            found[side].append(run_side(side))
    print(f"| | examples/s (all runs) | median | times {sides[0]} |")
    print("|---|---|---|---|")
    medians = {}
    for side, seconds in found.items():
        rates = [arguments.num_steps * arguments.train_batch_size / s for s in seconds]
        medians[side] = statistics.median(rates)
        shown = ", ".join(f"{rate:.1f}" for rate in rates)
        ratio = medians[side] / medians[sides[0]]
        print(f"| {side} | {shown} | {medians[side]:.1f} | {ratio:.2f} |")


def run_side(side: str) -> float:
    """Measure in a process of its own; returns seconds of the measured steps."""
    command = [sys.executable, __file__, *sys.argv[1:], f"--side={side}"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def load(arguments):
    """Return where training starts, and features of the examples that are needed."""
    import numpy as np

    from bert_cn.finetuning import features as features_lib
    from bert_cn.finetuning import tables, warm_start
    from bert_cn.finetuning.classification import data as classification_data
    from bert_cn.finetuning.classification import model as classification_model
    from bert_cn.finetuning.classification import tasks

    task = tasks.find_task(arguments.task_name)
    read = classification_data.read_tables(task, arguments.data_dir, [tables.TRAIN])
    labels = classification_data.find_labels(task, read)
    split = classification_data.number_labels(tables.TRAIN, read[tables.TRAIN], labels)
    start = warm_start.load_starting_point(arguments.checkpoint)
    needed = arguments.train_batch_size * (SKIPPED_STEPS + arguments.num_steps)
    chosen = np.random.default_rng(0).permutation(len(split.table))[:needed]
    if len(chosen) < needed:
        sys.exit(f"{len(chosen)} examples are too few for {needed}: lower --num_steps.")
    pairs = split.table.pairs
    sequences, _ = features_lib.encode_texts(
        [split.table.texts[index] for index in chosen],
        pairs and [pairs[index] for index in chosen],
        start.tokenizer,
        start.vocabulary,
        arguments.max_seq_length,
    )
    column = {classification_model.LABEL: split.labels[chosen]}
    return start, labels, features_lib.Features({"": sequences}, column)


def measure_ours(arguments, jit_compile: bool = False) -> float:
    """Train as run_classifier does."""
    import keras
    import tensorflow as tf

    from bert_cn.finetuning import batches, best_weights, training
    from bert_cn.finetuning.classification import model as classification_model

    start, labels, features = load(arguments)
    keras.utils.set_random_seed(0)
    classifier = classification_model.Classifier(start, labels)
    times = []

    class TimedTrainer(training.Trainer):
        def train_step(self, batch):
            result = super().train_step(batch)
            if len(times) in (SKIPPED_STEPS - 1, 0):
                result.numpy()  # Wait for what was skipped.
            times.append(time.perf_counter())
            return result

    trainer = TimedTrainer(
        tf.distribute.get_strategy(), classifier.build_learner(), jit_compile
    )
    length = arguments.max_seq_length
    multiple = 32 if jit_compile else 16
    shape = batches.Shape(arguments.train_batch_size, length, multiple)
    if jit_compile:
        # Compile every shape before the clock starts.
        trainer.start(recipe(training), 1)
        lengths = features.lengths
        for longest in range(multiple, length + multiple, multiple):
            rows = (lengths <= longest).nonzero()[0]
            rows = rows[lengths[rows].argsort()][-arguments.train_batch_size :]
            if len(rows):
                trainer.train_step(batches.make_batch(features, rows, shape))
        times.clear()
        trainer.start = lambda *_: None
    keeper = best_weights.BestKeeper(
        classifier.model, None, "", lambda: times.append(time.perf_counter()), ""
    )
    training.train(trainer, features, shape, recipe(training), keeper)
    # The last entry is the time when the last loss was computed.
    return times[-1] - times[SKIPPED_STEPS - 1]


def recipe(training):
    """Return the settings of one epoch."""
    return training.Recipe(2e-5, 1.0, 0.1, "adamw", 0.01, 0)


def measure_trainer(arguments, grouped: bool = False) -> float:
    """Train with transformers' Trainer."""
    import transformers

    start, labels, features = load(arguments)
    sequences = features.sequences[""]
    rows = [
        {
            "input_ids": sequences.tokens["token_ids"][begin:end].tolist(),
            "token_type_ids": sequences.tokens["segment_ids"][begin:end].tolist(),
            "attention_mask": [1] * int(end - begin),
            "label": label,
        }
        for begin, end, label in zip(
            sequences.starts,
            sequences.starts[1:],
            features.columns["label"].tolist(),
            strict=False,
        )
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint,
        num_labels=labels.num_outputs,
        problem_type="regression" if labels.is_regression else None,
    )
    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=arguments.train_batch_size,
            num_train_epochs=1,
            learning_rate=2e-5,
            weight_decay=0.01,
            warmup_steps=0.1,
            train_sampling_strategy="group_by_length" if grouped else "random",
            save_strategy="no",
            report_to=[],
            logging_steps=20,
            disable_tqdm=True,
            seed=0,
        )
        transformers.Trainer(
            model=model,
            args=settings,
            train_dataset=rows,
            # Padded as our batches are.
            data_collator=transformers.DataCollatorWithPadding(
                tokenizer, pad_to_multiple_of=16
            ),
            callbacks=[Clock()],
        ).train()
    return times[-1] - times[SKIPPED_STEPS - 1]


MEASURES = {
    OURS: measure_ours,
    OURS_XLA: lambda arguments: measure_ours(arguments, jit_compile=True),
    TRAINER: measure_trainer,
    TRAINER_GROUPED: lambda arguments: measure_trainer(arguments, grouped=True),
}


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
