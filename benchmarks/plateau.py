r"""What a small BERT does on the plateau of its masked-LM accuracy, and what ends it.

    python -m benchmarks.plateau --input_file='out/train*.tfrecord' \
        --eval_input_file='HELD_OUT*.tfrecord' --output_dir=out/plateau \
        --figure=out/plateau.png

Trains BERT-tiny from each start of `STARTS`, one after the other, and looks inside it
every --measure_every steps on one batch of held-out records. Each start's measurements
are a JSON file in --output_dir; a start that has one is not trained again. At the end
all of them become one figure and one Markdown table.

The records: masked while training, full sentences, no sentence task, as in the head of
configs/pretrain/bert_tiny_cn_fast.flags.
"""

import dataclasses
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from absl import flags

from benchmarks import plateau_figure, plateau_probe
from bert_cn.pretraining import input_pipeline, train_step, warm_start
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import strategy as strategy_lib
from data_prep import command_line, storage

flags.DEFINE_string("input_file", None, "Records to train on.", required=True)
flags.DEFINE_string("eval_input_file", None, "Held-out records.", required=True)
flags.DEFINE_string("output_dir", None, "Folder of the results.", required=True)
flags.DEFINE_string("figure", "", "PNG to draw; without the flag, none.")
flags.DEFINE_list("starts", None, "Names in STARTS; without the flag, all.")
flags.DEFINE_integer("num_train_steps", 1500, "Updates of each run.", lower_bound=1)
flags.DEFINE_integer("measure_every", 50, "Updates between two looks.", lower_bound=1)

# Google's recipe, but for an optimizer that corrects its bias and no dropout.
GOOGLE = settings_lib.PretrainingArgs(
    bert_config_file="configs/models/bert_tiny_cn.json",
    do_train=True,
    do_eval=True,
    optimizer="adamw",
    learning_rate=1e-3,
    num_warmup_steps=100,
    pretraining_dropout=0.0,
    precision="mixed_bfloat16",
)
_BIAS = {
    "output_bias_initializer": "unigram",
    "embedding_initializer_range": 0.05,
    "learning_rate": 4e-3,
}
_KERNELS = {**_BIAS, "kernel_initializer": "lecun_normal"}
_NEIGHBORS = {"attention_initializer": "neighbors"}
# As in configs/pretrain/bert_tiny_cn_fast.flags.
_MUON = {
    **_KERNELS,
    "optimizer": "muon",
    "learning_rate": 0.01,
    "muon_learning_rate": 0.004,
}
# Name -> the fields of GOOGLE that it changes.
STARTS = {
    "a_bert": {},
    "b_bias": _BIAS,
    "c_kernels": _KERNELS,
    "d_neighbors": {**_KERNELS, **_NEIGHBORS},
    "e_muon": _MUON,
    "f_muon_neighbors": {**_MUON, **_NEIGHBORS},
}


def main(arguments: list[str]) -> None:
    """Train and measure the starts that have no results yet; draw, print a table."""
    command_line.refuse_arguments(arguments)
    values = flags.FLAGS
    names = values.starts or list(STARTS)
    if unknown := set(names) - set(STARTS):
        raise ValueError(
            f"--starts={','.join(sorted(unknown))}: name some of {','.join(STARTS)}."
        )
    os.makedirs(values.output_dir, exist_ok=True)
    results = []
    for name in names:
        path = os.path.join(values.output_dir, f"{name}.json")
        if not os.path.exists(path):
            result = run_start(name, build_args(name, values), values.measure_every)
            text = json.dumps(result, ensure_ascii=False, indent=1)
            storage.write_whole(path, text)
        with open(path, encoding="utf-8") as file:
            results.append(json.load(file))
    if values.figure:
        plateau_figure.draw(results, values.figure)
    print(plateau_figure.write_table(results))


def build_args(name: str, values: flags.FlagValues) -> settings_lib.PretrainingArgs:
    """Return the run of a start; `values` are this command's flags."""
    return dataclasses.replace(
        GOOGLE,
        input_file=values.input_file,
        eval_input_file=values.eval_input_file,
        output_dir=os.path.join(values.output_dir, name),  # Nothing is written there.
        num_train_steps=values.num_train_steps,
        **STARTS[name],
    )


def run_start(
    name: str, args: settings_lib.PretrainingArgs, measure_every: int
) -> dict:
    """Train one start and return its measurements.

    Args:
        name: of the start.
        args: its run.
        measure_every: updates between two measurements.

    Raises:
        FloatingPointError: a loss or gradient is not finite.
    """
    keras.utils.clear_session()
    strategy = strategy_lib.build_strategy(args.tpu)
    records = records_lib.load_records(args)
    start = warm_start.find_start(args, records)
    ops = train_step.choose_training_ops(args)
    trainer = train_step.build_trainer(
        args, start.config, strategy, records.sentence_task, ops
    )
    warm_start.draw_weights(args, start.config, trainer.model, records.train)
    batches = input_pipeline.TrainInput(
        strategy, records.train, args.train_batch_size, args.random_seed
    )
    counts = input_pipeline.count_masked_tokens(
        records.train, start.config.vocab_size, args.random_seed
    )
    batch = plateau_probe.read_batch(records.eval)
    probe = plateau_probe.Probe(trainer, batch, records.vocabulary, counts)
    iterator = iter(batches.distribute(0))
    measurements = [probe.measure()]
    while trainer.step < args.num_train_steps:
        due = measure_every - trainer.step % measure_every
        num_steps = min(due, args.num_train_steps - trainer.step)
        done = trainer.train_steps(iterator, tf.constant(num_steps))
        if done.num_finite < num_steps:
            raise FloatingPointError(f"{name}: a loss or gradient is not finite.")
        trained = trainer.summarize(done.sums.numpy())
        measurements.append({**probe.measure(), "train": trained})
        shown = {key: measurements[-1][key] for key in ("step", "accuracy")}
        print(f"{name}: {shown}, loss in training {trained['loss']:.3f}", flush=True)
    return {"name": name, **probe.constants, "measurements": measurements}


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="every finished start")
