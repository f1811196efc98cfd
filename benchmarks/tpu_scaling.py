"""The wwm-ext recipe on v3-8 to v3-2048, on paper: from compiled steps, nothing run.

    python -m benchmarks.tpu_scaling base large

Compiles the step of each model at both lengths for 8 and 24 sequences of one core (8
compilations for two models, about 1 to 2 minutes each on one idle core), draws a line
through the two, and adds the all-reduce of the gradients, float32, over all links of
the slice. Hours are those of the bound: divide by the share of the roofline that you
expect (0.35 to 0.5). --json_file keeps the compiled figures; if the file exists, the
table is made from it. Input: measures one host's tf.data rate on random records here.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.pretraining import input_pipeline, record_files, train_step
from bert_cn.pretraining import settings as settings_lib
from data_prep.records import schema
from tpu.compiler import (
    roofline,
    slice_strategy,
    slices,
    step_lowering,
    tpu_compiler,
)

# Length, predictions, updates and batch of the two phases of
# configs/pretrain/bert_wwm_ext.flags.
PHASES = ((128, 20, 1_000_000, 2560), (512, 77, 400_000, 384))
BATCHES = (8, 24)
RECORDS = 4_000
SECONDS = 5.0
# The smallest batch of a core that a TPU computes without padding.
ROWS = 8


@dataclasses.dataclass(frozen=True)
class StepCosts:
    """Costs of a step that grow with the batch of a core: fixed + slope * batch.

    Attributes:
        flops: (fixed, slope) of the floating-point operations.
        bytes_accessed: (fixed, slope) of the memory traffic.
        memory: (fixed, slope) of the bytes that the step needs.
        reduced_bytes: bytes that each core adds to the all-reduce, for any batch.
    """

    flops: tuple[float, float]
    bytes_accessed: tuple[float, float]
    memory: tuple[float, float]
    reduced_bytes: float


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a recipe with its own length and batch.

    Attributes:
        num_steps: updates, at `batch_size`.
        batch_size: sequences per update, over all cores.
        record_bytes: bytes of one sequence on disk.
        costs: the costs of the step.
    """

    num_steps: int
    batch_size: int
    record_bytes: float
    costs: StepCosts


@dataclasses.dataclass(frozen=True)
class PhaseBound:
    """The best case of a phase on a slice.

    Attributes:
        per_core_batch: sequences of a core and update.
        micro_batches: micro-batches of a core, so that one fits.
        global_batch: sequences per update; more than the recipe's if a core would have
            too few.
        step: the bound of one update.
        sequences_per_second: the rate of the whole slice.
        hours: the time of the phase, with the recipe's number of sequences.
    """

    per_core_batch: int
    micro_batches: int
    global_batch: int
    step: roofline.StepBound
    sequences_per_second: float
    hours: float


def fit_costs(
    programs: dict[int, tpu_compiler.Program], reduced_bytes: float
) -> StepCosts:
    """Return the costs as straight lines through two compiled batches.

    Args:
        programs: batch of one core -> its program, for two batches.
        reduced_bytes: see `StepCosts`.
    """
    (low, low_program), (high, high_program) = sorted(programs.items())

    def fit(name: str) -> tuple[float, float]:
        at_low, at_high = getattr(low_program, name), getattr(high_program, name)
        slope = (at_high - at_low) / (high - low)
        return at_low - slope * low, slope

    return StepCosts(fit("flops"), fit("bytes_accessed"), fit("memory"), reduced_bytes)


def bound_phase(where: slices.Slice, phase: Phase) -> PhaseBound:
    """Return the best case of a phase on a slice.

    All replicas share the recipe's batch. A replica that would have fewer than 8
    sequences gets 8: then updates are larger, and fewer. A batch that does not fit is
    split into micro-batches, whose costs, but the optimizer's, add up; the sum of their
    gradients takes memory, too.
    """
    costs = phase.costs
    per_core = max(math.ceil(phase.batch_size / where.num_replicas), ROWS)

    def fits(count: int) -> bool:
        memory = costs.memory[0] + costs.memory[1] * per_core / count
        return memory + (count > 1) * costs.reduced_bytes <= where.chip.usable_bytes

    micro_batches = next(
        n
        for n in range(1, per_core + 1)
        if per_core % n == 0 and (fits(n) or n == per_core)
    )
    step = roofline.bound_step(
        where,
        costs.flops[0] + costs.flops[1] * per_core,
        costs.bytes_accessed[0] + costs.bytes_accessed[1] * per_core,
        costs.reduced_bytes,
    )
    global_batch = per_core * where.num_replicas
    rate = global_batch / step.step
    sequences = phase.num_steps * phase.batch_size
    return PhaseBound(
        per_core, micro_batches, global_batch, step, rate, sequences / rate / 3600
    )


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
            Phase(steps, batch, record_bytes, cost)
            for (_, _, steps, batch), (record_bytes, _), cost in zip(
                PHASES, inputs, costs, strict=True
            )
        ]
        print_table(model, where, phases, [rate for _, rate in inputs])


def load_or_compile(model, where, json_file) -> list[StepCosts]:
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
    return [StepCosts(**costs) for costs in found[key]]


def compile_costs(model, where, length, predictions) -> StepCosts:
    strategy = slice_strategy.SliceStrategy(1)
    args = settings_lib.PretrainingArgs(
        optimizer="lamb",
        learning_rate=1e-4,
        num_train_steps=1_000_000,
        num_warmup_steps=3_125,
        precision="mixed_bfloat16",
    )
    config = config_lib.load_config(f"configs/models/bert_{model}_cn.json")
    trainer = train_step.build_trainer(args, config, strategy)
    programs = {}
    for batch in BATCHES:
        features = step_lowering.make_features(batch, length, predictions)
        lowered = step_lowering.TracedStep(trainer, strategy, features).lower()
        programs[batch] = tpu_compiler.compile_module(lowered, where)
    # The program of a whole slice sums every gradient once, in float32, as
    # `tests/tpu/test_preflight.py` reads from the compiled one.
    gradients = 4 * sum(np.prod(v.shape) for v in trainer.model.trainable_variables)
    return fit_costs(programs, float(gradients))


def measure_input(length: int, predictions: int) -> tuple[float, float]:
    """Return bytes of a record, and records a second that the training input reads."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "random.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for _ in range(RECORDS):
                writer.write(make_record(rng, length, predictions))
        files = record_files.check_files(
            record_files.find_files(path, "--input_file"), length, predictions
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
        bounds = [bound_phase(one, phase) for phase in phases]
        print(format_row(one, phases, bounds, rates))
    print("* more than the recipe's batch over all cores, and fewer updates")


def format_row(where, phases, bounds, rates) -> str:
    def pair(values):
        return " / ".join(values)

    batches, needs, hosts = [], [], []
    for phase, bound, rate in zip(phases, bounds, rates, strict=True):
        more = "*" if bound.global_batch > phase.batch_size else ""
        split = f":{bound.micro_batches}" if bound.micro_batches > 1 else ""
        batches.append(f"{bound.per_core_batch}{split}{more}")
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
