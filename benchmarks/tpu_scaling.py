"""The wwm-ext recipe on v3-8 to v3-2048, on paper: from compiled steps, nothing run.

    python -m benchmarks.tpu_scaling base large

Compiles the step of each model at both lengths for 8 and 24 sequences of one core (8
compilations for two models, about 1 to 2 minutes each on one idle core), draws a line
through the two, and adds the all-reduce of the gradients, float32, over all links of
the slice. Hours are the bound's: divide by the part of the roofline that you expect
(0.35 to 0.5). --json_file keeps the compiled figures; with a file that is there, the
table is made of it. Input: one host's tf.data rate is measured on random records here.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks import scaling
from bert_cn.model import config as config_lib
from bert_cn.pretraining import input_pipeline, step_settings
from bert_cn.training import optimization
from data_prep.records import schema
from tpu.compiler import slice_strategy, slices, step_lowering, tpu_compiler

# Length, predictions, updates and batch of the two phases of
# configs/pretrain/bert_wwm_ext.flags.
PHASES = ((128, 20, 1_000_000, 2560), (512, 77, 400_000, 384))
BATCHES = (8, 24)
RECORDS = 4_000
SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="base, large, ...")
    parser.add_argument("--topology", default="v3")
    parser.add_argument("--json_file", default="")
    arguments = parser.parse_args()
    chip = slices.CHIPS[arguments.topology]
    where = [slices.parse_slice(f"{chip.name}-{n}") for n in slices.list_sizes(chip)]
    inputs = [measure_input(length, predictions) for length, predictions, *_ in PHASES]
    for (length, *_), (record_bytes, rate) in zip(PHASES, inputs, strict=True):
        print(
            f"Length {length}: {record_bytes:.0f} bytes a record; this host reads "
            f"{rate:,.0f} records/s ({rate * record_bytes / 1e6:.1f} MB/s) on "
            f"{os.cpu_count()} cores."
        )
    for model in arguments.models:
        costs = load_or_compile(model, where[0], arguments.json_file)
        phases = [
            scaling.Phase(steps, batch, record_bytes, cost)
            for (_, _, steps, batch), (record_bytes, _), cost in zip(
                PHASES, inputs, costs, strict=True
            )
        ]
        print_table(model, where, phases, [rate for _, rate in inputs])


def load_or_compile(model, where, json_file) -> list[scaling.StepCosts]:
    found = {}
    if json_file and os.path.exists(json_file):
        found = json.loads(pathlib.Path(json_file).read_text())
    key = f"{model} on {where.chip.name}"
    if key not in found:
        found[key] = [
            dataclasses.asdict(compile_costs(model, where, length, predictions))
            for length, predictions, *_ in PHASES
        ]
        if json_file:
            pathlib.Path(json_file).write_text(json.dumps(found, indent=1))
    return [scaling.StepCosts(**costs) for costs in found[key]]


def compile_costs(model, where, length, predictions) -> scaling.StepCosts:
    strategy = slice_strategy.SliceStrategy(1)
    settings = step_settings.StepSettings(
        config_lib.load_config(f"configs/models/bert_{model}_cn.json"),
        "lamb",
        optimization.WarmupPolynomialDecay(1e-4, 1_000_000, 3_125),
        precision="mixed_bfloat16",
    )
    trainer = step_settings.build_trainer(settings, strategy)
    programs = {}
    for batch in BATCHES:
        features = step_lowering.make_features(batch, length, predictions)
        lowered = step_lowering.TracedStep(trainer, strategy, features).lower()
        programs[batch] = tpu_compiler.compile_module(lowered, where)
    # In the program of a whole slice every gradient is summed once, in float32:
    # `tests/tpu/test_preflight.py` reads it from the compiled one.
    gradients = 4 * sum(np.prod(v.shape) for v in trainer.model.trainable_variables)
    return scaling.fit_costs(programs, float(gradients))


def measure_input(length: int, predictions: int) -> tuple[float, float]:
    """Return bytes of a record, and records a second that the training input reads."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "random.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for _ in range(RECORDS):
                writer.write(make_record(rng, length, predictions))
        files = input_pipeline.check_files(
            input_pipeline.find_files(path, "--input_file"), length, predictions
        )
        batches = iter(input_pipeline.build_train_dataset(files, 64, seed=1))
        for _ in range(20):
            next(batches)
        started, count = time.monotonic(), 0
        while time.monotonic() - started < SECONDS:
            next(batches)
            count += 64
        rate = count / (time.monotonic() - started)
        return os.path.getsize(path) / RECORDS, rate


def make_record(rng, length: int, predictions: int) -> bytes:
    values = dict.fromkeys(schema.SEQUENCE_FEATURES, np.ones(length, np.int64))
    values[schema.INPUT_IDS] = rng.integers(0, 21_128, length)
    values[schema.MASKED_LM_POSITIONS] = np.arange(predictions) + 1
    values[schema.MASKED_LM_IDS] = rng.integers(0, 21_128, predictions)
    values[schema.NEXT_SENTENCE_LABELS] = rng.integers(0, 2, 1)
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        for name, value in values.items()
    }
    features[schema.MASKED_LM_WEIGHTS] = tf.train.Feature(
        float_list=tf.train.FloatList(value=np.ones(predictions))
    )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


def print_table(model, where, phases, rates) -> None:
    print(f"\n{model}, wwm-ext: length 128, then length 512")
    print(
        f"{'slice':<9}{'batch a core':>13}{'step ms':>14}{'all-reduce':>11}"
        f"{'sequences/s':>20}{'hours':>14}{'input MB/s':>14}{'a host':>12}"
        f"{'hosts that feed it':>24}"
    )
    for one in where:
        bounds = [scaling.bound_phase(one, phase) for phase in phases]
        print(format_row(one, phases, bounds, rates))
    print("* more than the recipe's batch over all cores, and fewer updates")


def format_row(where, phases, bounds, rates) -> str:
    def pair(values):
        return " / ".join(values)

    batches, needs, hosts = [], [], []
    for phase, bound, rate in zip(phases, bounds, rates, strict=True):
        more = "*" if bound.global_batch > phase.batch_size else ""
        parts = f":{bound.parts}" if bound.parts > 1 else ""
        batches.append(f"{bound.per_core_batch}{parts}{more}")
        needs.append(bound.sequences_per_second * phase.record_bytes / 1e6)
        needed = int(np.ceil(bound.sequences_per_second / rate))
        hosts.append(f"{needed} of {where.num_hosts}")
    return (
        f"{where.name:<9}{pair(batches):>13}"
        f"{pair(f'{b.step.step * 1e3:.0f}' for b in bounds):>14}"
        f"{pair(f'{b.step.all_reduce_share:.0%}' for b in bounds):>11}"
        f"{pair(f'{b.sequences_per_second:,.0f}' for b in bounds):>20}"
        f"{pair(f'{b.hours:.1f}' for b in bounds):>14}"
        f"{pair(f'{need:.0f}' for need in needs):>14}"
        f"{pair(f'{need / where.num_hosts:.1f}' for need in needs):>12}"
        f"{pair(hosts):>24}"
    )


if __name__ == "__main__":
    main()
