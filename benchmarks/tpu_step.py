"""Memory, FLOPs and memory traffic of our training step and of TF Model Garden's.

    BERT_CN_MODEL_GARDEN_PYTHON=.venv-garden/bin/python python -m benchmarks.tpu_step

libtpu's compiler (extra [preflight]) compiles both for one TPU core: forward and
backward pass, clipping and AdamW, dropout on, bfloat16 activations. Model Garden's step
is `MaskedLMTask.train_step` of tf-models-official 2.20, lowered in an environment of
its own. Nothing is run.
"""

import argparse
import os
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bert_cn.model import config as config_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import train_step
from tpu.compiler import slice_strategy, slices, step_lowering, tpu_compiler

GARDEN_PYTHON = "BERT_CN_MODEL_GARDEN_PYTHON"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/models/bert_base_cn.json")
    parser.add_argument("--batch_size", type=int, default=32, help="of one core")
    parser.add_argument("--max_seq_length", type=int, default=512)
    parser.add_argument("--max_predictions_per_seq", type=int, default=77)
    parser.add_argument("--topology", default="v3-8")
    parser.add_argument("--recompute_layers", action="store_true")
    arguments = parser.parse_args()
    where = slices.parse_slice(arguments.topology)
    rows = {"bert_cn": tpu_compiler.compile_module(lower_ours(arguments), where)}
    if os.environ.get(GARDEN_PYTHON):
        garden = lower_model_garden(arguments)
        rows["Model Garden"] = tpu_compiler.compile_module(garden, where)
    else:
        print(f"{GARDEN_PYTHON} names no Python with tf-models-official: ours alone.")
    print_rows(rows)


def lower_ours(arguments) -> bytes:
    strategy = slice_strategy.SliceStrategy(1)
    args = settings_lib.PretrainingArgs(
        learning_rate=1e-4,
        num_train_steps=1_000_000,
        precision="mixed_bfloat16",
        recompute_layers=arguments.recompute_layers,
    )
    config = config_lib.load_config(arguments.config)
    trainer = train_step.build_trainer(args, config, strategy)
    features = step_lowering.make_features(*_sizes(arguments))
    return step_lowering.TracedStep(trainer, strategy, features).lower()


def lower_model_garden(arguments) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(
            [
                os.environ[GARDEN_PYTHON],
                *("-m", "benchmarks.model_garden_step"),
                *(file.name, arguments.config),
                *map(str, _sizes(arguments)),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        return file.read()


def _sizes(arguments) -> tuple[int, int, int]:
    return (
        arguments.batch_size,
        arguments.max_seq_length,
        arguments.max_predictions_per_seq,
    )


def print_rows(rows: dict[str, tpu_compiler.Program]) -> None:
    print(
        f"{'':<14}{'memory GB':>10}{'arguments':>10}{'temporaries':>12}"
        f"{'program':>9}{'FLOPs':>10}{'traffic GB':>11}{'compiled in':>12}"
    )
    for name, program in rows.items():
        print(
            f"{name:<14}{program.memory / 1e9:>10.2f}{program.arguments / 1e9:>10.2f}"
            f"{program.temporaries / 1e9:>12.2f}{program.program / 1e9:>9.2f}"
            f"{program.flops:>10.3g}{program.bytes_accessed / 1e9:>11.1f}"
            f"{program.compile_seconds:>10.0f} s"
        )
    if len(rows) == 2:
        ours, peer = rows.values()
        print(
            f"{'ratio':<14}{ours.memory / peer.memory:>10.2f}"
            f"{ours.arguments / peer.arguments:>10.2f}"
            f"{ours.temporaries / peer.temporaries:>12.2f}"
            f"{ours.program / peer.program:>9.2f}{ours.flops / peer.flops:>10.3f}"
            f"{ours.bytes_accessed / peer.bytes_accessed:>11.2f}"
        )


if __name__ == "__main__":
    main()
