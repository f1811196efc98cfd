"""Pretrain BERT on the records of data_prep.create_pretraining_data.

    python -m bert_cn.run_pretraining --flagfile=configs/pretrain/bert_tiny_cn.flags \
        --input_file='out/train-*.tfrecord' --output_dir=out/tiny --do_train --do_eval

Running the same command again goes on from the newest checkpoint.
"""

import dataclasses
import functools
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from bert_cn.model import config as config_lib
from bert_cn.model import fused_ops
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import (
    evaluation,
    failure_report,
    input_pipeline,
    losses,
    record_checks,
    run_folder,
    step_settings,
    train_input,
    train_loop,
    train_step,
    warm_start,
)
from bert_cn.pretraining import fingerprint as fingerprint_lib
from bert_cn.training import (
    batch_checks,
    environment,
    hosts,
    optimization,
    reporting,
    stop_request,
    storage_checks,
)
from bert_cn.training import strategy as strategy_lib
from data_prep import command_line
from data_prep.text import vocab as vocab_lib

_BERT_CONFIG_FILE = flags.DEFINE_string(
    "bert_config_file",
    "",
    "Sizes of the model: configs/models/bert_tiny_cn.json, ... (default: those of "
    "--init_checkpoint).",
)
_INPUT_FILE = flags.DEFINE_string(
    "input_file",
    "",
    "TFRecords to train on: a comma list of files or globs, each with a weight or none "
    "(news*.tfrecord:2,wiki*.tfrecord:1).",
)
_EVAL_INPUT_FILE = flags.DEFINE_string(
    "eval_input_file",
    "",
    "TFRecords to evaluate on (default: those of --input_file).",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder for checkpoints, TensorBoard files, curves and results."
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", "", "The vocabulary, where no manifest lies beside the records."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case",
    None,
    "Whether the records were lower-cased, where no manifest lies beside them.",
)
_INIT_CHECKPOINT = flags.DEFINE_string(
    "init_checkpoint",
    "",
    "Start from these weights: anything that convert_checkpoint reads.",
)
_RESIZE_EMBEDDINGS = flags.DEFINE_bool(
    "resize_embeddings",
    False,
    "Let --init_checkpoint have another vocabulary: tokens of both keep their rows.",
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length", 128, "Tokens per sequence; must be the data's.", lower_bound=1
)
_MAX_PREDICTIONS_PER_SEQ = flags.DEFINE_integer(
    "max_predictions_per_seq",
    20,
    "Masked positions per sequence; must be the data's.",
    lower_bound=1,
)
_DO_TRAIN = flags.DEFINE_bool("do_train", False, "Whether to train.")
_DO_EVAL = flags.DEFINE_bool("do_eval", False, "Whether to evaluate, after training.")
_TRAIN_BATCH_SIZE = flags.DEFINE_integer(
    "train_batch_size", 32, "Sequences per update over all replicas.", lower_bound=1
)
_EVAL_BATCH_SIZE = flags.DEFINE_integer(
    "eval_batch_size", 32, "Sequences per evaluation batch.", lower_bound=1
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 5e-5, "Peak learning rate.", lower_bound=0.0
)
_OPTIMIZER = flags.DEFINE_enum(
    "optimizer",
    "bert_adamw",
    list(optimization.OPTIMIZERS),
    "bert_adamw: google-research/bert's, without bias correction; adamw: the paper's; "
    "lamb: for batches of thousands.",
)
_DECAY_POWER = flags.DEFINE_float(
    "decay_power", 1.0, "Power of the polynomial decay; 1 is linear.", lower_bound=0.0
)
_WEIGHT_DECAY_RATE = flags.DEFINE_float(
    "weight_decay_rate",
    0.01,
    "Decoupled weight decay, of all but biases and LayerNorm.",
    lower_bound=0.0,
)
_GRADIENT_ACCUMULATION_STEPS = flags.DEFINE_integer(
    "gradient_accumulation_steps",
    1,
    "Work through each batch in so many parts; the result is that of the whole batch.",
    lower_bound=1,
)
_RECOMPUTE_LAYERS = flags.DEFINE_bool(
    "recompute_layers",
    False,
    "Compute layers again in the backward pass: less memory, up to a third more work.",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "mixed_bfloat16"],
    "What is computed in; variables, logits and losses are float32 either way.",
)
_JIT_COMPILE = flags.DEFINE_bool(
    "jit_compile", False, "Compile the update with XLA; for one CPU or one GPU."
)
_NUM_TRAIN_STEPS = flags.DEFINE_integer(
    "num_train_steps", 100_000, "Updates in the whole run.", lower_bound=1
)
_NUM_WARMUP_STEPS = flags.DEFINE_integer(
    "num_warmup_steps", 10_000, "Updates of linear warm-up.", lower_bound=0
)
_SAVE_CHECKPOINTS_STEPS = flags.DEFINE_integer(
    "save_checkpoints_steps", 1000, "Updates between checkpoints.", lower_bound=1
)
_MAX_CHECKPOINTS = flags.DEFINE_integer(
    "max_checkpoints", 5, "Newest checkpoints to keep.", lower_bound=1
)
_SAVE_CHECKPOINTS_MINUTES = flags.DEFINE_float(
    "save_checkpoints_minutes",
    0.0,
    "A checkpoint also after so many minutes; 0: by steps only.",
    lower_bound=0.0,
)
_EVAL_STEPS = flags.DEFINE_integer(
    "eval_steps",
    0,
    "With --do_eval, evaluate also after so many updates; 0: at the end only.",
    lower_bound=0,
)
_ITERATIONS_PER_LOOP = flags.DEFINE_integer(
    "iterations_per_loop",
    None,
    "Most updates per call into TensorFlow (default: 1000 on a TPU, else 10); fewer "
    "where they take long.",
    lower_bound=1,
)
_LOG_STEPS = flags.DEFINE_integer(
    "log_steps", 100, "Updates between step lines.", lower_bound=1
)
_MAX_EVAL_STEPS = flags.DEFINE_integer(
    "max_eval_steps",
    100,
    "Most batches to evaluate, whatever they are of; 0 for all.",
    lower_bound=0,
)
_INTERRUPTED_EXIT_CODE = flags.DEFINE_integer(
    "interrupted_exit_code",
    0,
    "Exit code after SIGTERM, SIGINT or SIGHUP stopped the run before its last step; "
    f"{command_line.TRANSIENT} tells tpu.supervise to go on.",
    lower_bound=0,
    upper_bound=255,
)
_RANDOM_SEED = flags.DEFINE_integer(
    "random_seed",
    12345,
    "Seed of initial weights, dropout and the order of records.",
    lower_bound=0,
    upper_bound=2**32 - 1,
)
_TPU = flags.DEFINE_string(
    "tpu", "", "Train on a TPU: its name, local, or grpc://address:port."
)


def main(arguments: list[str]) -> None:
    """Choose where to run and where to write, then run."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    paths = (_INPUT_FILE, _EVAL_INPUT_FILE, _OUTPUT_DIR, _INIT_CHECKPOINT)
    storage_checks.check_paths(_TPU.value, {flag.name: flag.value for flag in paths})
    # Early, because several hosts must find each other before TensorFlow is used.
    strategy = strategy_lib.build_strategy(_TPU.value)
    with strategy_lib.keep_chiefs_files(strategy, _OUTPUT_DIR.value) as output_dir:
        _run(strategy, output_dir)


def _run(strategy: tf.distribute.Strategy, output_dir: str) -> None:
    """Read flags, build, train, evaluate.

    A run that goes on is brought back to where it stopped in this order:
    1. its fingerprint: other data or settings are refused before anything is built;
    2. model, optimizer and random states are built as for a new run, from the seed;
    3. the newest checkpoint that can be read replaces all of their values: weights,
       moments, the step, and the states of dropout's generators;
    4. the data follow from the step, see `shuffle_order`, and so do masks;
    5. when to save, report and evaluate next follows from the step, too.
    """
    config = warm_start.choose_config(
        _BERT_CONFIG_FILE.value,
        _OUTPUT_DIR.value,
        _INIT_CHECKPOINT.value,
        any_vocabulary=_RESIZE_EMBEDDINGS.value,
    )
    batch_checks.check_positions(_MAX_SEQ_LENGTH.value, config)
    eval_flag = _EVAL_INPUT_FILE if _EVAL_INPUT_FILE.value else _INPUT_FILE
    eval_files = _load_files(eval_flag)
    train_files = eval_files
    if _DO_TRAIN.value and _EVAL_INPUT_FILE.value:
        train_files = _load_files(_INPUT_FILE)
    description = _describe_run(config, train_files, eval_files)
    fingerprint = _take_fingerprint(strategy, train_files, description.vocabulary)
    _check_run(strategy, output_dir, train_files, description, fingerprint)
    schedule = optimization.WarmupPolynomialDecay(
        _LEARNING_RATE.value,
        _NUM_TRAIN_STEPS.value,
        _NUM_WARMUP_STEPS.value,
        _DECAY_POWER.value,
    )
    trainer = _build_trainer(description.config, train_files, schedule, strategy)
    checkpoints = _load_weights(trainer, description, output_dir)
    if _DO_TRAIN.value and trainer.step < _NUM_TRAIN_STEPS.value:
        run_folder.begin_run(output_dir, description, fingerprint)
    evaluator = _build_evaluator(
        output_dir, trainer, eval_files, strategy, description.vocabulary
    )
    batches = train_input.TrainInput(
        strategy, train_files, _TRAIN_BATCH_SIZE.value, _RANDOM_SEED.value
    )
    finished = True
    with stop_request.StopRequest(trainer.agree) as stop_requested:
        evaluate = functools.partial(_evaluate, evaluator, stop_requested)
        if _DO_TRAIN.value:
            reporter = _build_reporter(output_dir, schedule, trainer.step)
            with failure_report.explain(
                _TRAIN_BATCH_SIZE.value,
                _MAX_SEQ_LENGTH.value,
                batches.locate,
                output_dir,
            ):
                finished = _train(
                    trainer, batches, checkpoints, reporter, evaluate, stop_requested
                )
                weights = checkpoints_lib.save_weights(
                    trainer.model, output_dir, trainer.step
                )
                print(f"Weights alone: {weights}", flush=True)
        if _DO_EVAL.value and finished:
            finished = evaluate()
    reporting.draw_run(output_dir, losses.PANELS)
    if not finished:
        again = command_line.command_again()
        print(f"Stopped at step {trainer.step}. Go on with:\n  {again}", flush=True)
        sys.exit(_INTERRUPTED_EXIT_CODE.value)


def _build_trainer(config, files, schedule, strategy) -> train_step.Trainer:
    keras.utils.set_random_seed(_RANDOM_SEED.value)
    is_on_cpu = not (_TPU.value or tf.config.list_physical_devices("GPU"))
    compiles_for_cpu = is_on_cpu and environment.has_compiler_for_cpu()
    settings = step_settings.StepSettings(
        config,
        _OPTIMIZER.value,
        schedule,
        _WEIGHT_DECAY_RATE.value,
        _PRECISION.value,
        _GRADIENT_ACCUMULATION_STEPS.value,
        _RECOMPUTE_LAYERS.value,
        training_ops=fused_ops.CPU if compiles_for_cpu else fused_ops.XLA,
        sentence_task=record_checks.find_sentence_task(files),
        jit_compile=_JIT_COMPILE.value,
    )
    return step_settings.build_trainer(settings, strategy)


def _load_weights(
    trainer: train_step.Trainer, description: run_folder.Description, output_dir: str
) -> checkpoints_lib.TrainingCheckpoints:
    """Load what the run starts from; returns the checkpoints of the run."""
    checkpoints = checkpoints_lib.TrainingCheckpoints(
        trainer.model,
        trainer.optimizer,
        output_dir,
        # What other hosts than the chief save is thrown away.
        _MAX_CHECKPOINTS.value if output_dir == _OUTPUT_DIR.value else 1,
        restore_dir=_OUTPUT_DIR.value,
    )
    loaded = warm_start.load_weights(
        trainer.model,
        description.config,
        description.vocabulary,
        checkpoints,
        _INIT_CHECKPOINT.value,
        np.random.default_rng(_RANDOM_SEED.value) if _RESIZE_EMBEDDINGS.value else None,
        _BERT_CONFIG_FILE.value,
    )
    if not (loaded or _DO_TRAIN.value):
        raise ValueError(
            f"{_OUTPUT_DIR.value!r} holds no checkpoint to evaluate: train first, or "
            "name one with --init_checkpoint."
        )
    if not hosts.have_same(trainer.strategy, trainer.step):
        raise ValueError(
            f"The hosts go on from different steps (this one from {trainer.step}): "
            f"--output_dir={_OUTPUT_DIR.value} must be one folder that all of them see."
        )
    return checkpoints


def _build_reporter(
    output_dir: str, schedule: optimization.WarmupPolynomialDecay, step: int
) -> reporting.StepReporter:
    log_dir = reporting.log_dir(output_dir, "train")
    return reporting.StepReporter(
        log_dir, schedule, _TRAIN_BATCH_SIZE.value, step, losses.LINE_METRICS
    )


def _check_flags() -> None:
    if not (_DO_TRAIN.value or _DO_EVAL.value):
        raise ValueError("Nothing to do: pass --do_train, --do_eval or both.")
    if not _OUTPUT_DIR.value:
        raise ValueError("--output_dir is empty: name a folder for the checkpoints.")
    run_folder.check_path(_OUTPUT_DIR.value)


def _load_files(flag: flags.FlagHolder) -> input_pipeline.RecordFiles:
    return input_pipeline.check_files(
        input_pipeline.find_files(flag.value, f"--{flag.name}"),
        _MAX_SEQ_LENGTH.value,
        _MAX_PREDICTIONS_PER_SEQ.value,
    )


def _check_run(
    strategy: tf.distribute.Strategy,
    output_dir: str,
    files: input_pipeline.RecordFiles,
    description: run_folder.Description,
    fingerprint: fingerprint_lib.Fingerprint,
) -> None:
    """Check what can be checked without a model; nothing is written but a probe."""
    batch_checks.check_batch_sizes(
        {
            size.name: size.value
            for size, is_used in (
                (_TRAIN_BATCH_SIZE, _DO_TRAIN.value),
                (_EVAL_BATCH_SIZE, _DO_EVAL.value),
            )
            if is_used
        },
        strategy.num_replicas_in_sync,
        _GRADIENT_ACCUMULATION_STEPS.value,
    )
    batch_checks.check_jit_compile(_JIT_COMPILE.value, strategy)
    # Of several hosts only the chief writes into the run's folder, but all must come to
    # the same end.
    run_folder.check_folder(
        _OUTPUT_DIR.value, description, fingerprint if _DO_TRAIN.value else None
    )
    if not _DO_TRAIN.value:
        run_folder.check_start(_OUTPUT_DIR.value, _INIT_CHECKPOINT.value)
    for group in files.groups if _DO_TRAIN.value else ():
        storage_checks.warn_of_few_files(train_input.count_hosts(strategy), group.paths)
    storage_checks.probe_folder(strategy, _OUTPUT_DIR.name, output_dir)


def _describe_run(
    config: config_lib.BertConfig, *files: input_pipeline.RecordFiles
) -> run_folder.Description:
    """Say what the weights are; the vocabulary must fit the configuration."""
    manifests = tuple(manifest for some in files for manifest in some.manifests)
    vocabulary = record_checks.load_vocabulary(manifests, _VOCAB_FILE.value)
    if vocabulary and _RESIZE_EMBEDDINGS.value and not _BERT_CONFIG_FILE.value:
        # The checkpoint's own configuration is that of its vocabulary.
        config = dataclasses.replace(config, vocab_size=len(vocabulary))
    config_file = _BERT_CONFIG_FILE.value or _INIT_CHECKPOINT.value
    record_checks.check_vocabulary_size(vocabulary, config, config_file)
    lower = record_checks.find_casing(manifests, _DO_LOWER_CASE.value)
    return run_folder.Description(config, vocabulary, lower, manifests)


def _take_fingerprint(
    strategy: tf.distribute.Strategy,
    files: input_pipeline.RecordFiles,
    vocabulary: vocab_lib.Vocabulary | None,
) -> fingerprint_lib.Fingerprint:
    fixed = (
        _TRAIN_BATCH_SIZE,
        _LEARNING_RATE,
        _NUM_WARMUP_STEPS,
        _DECAY_POWER,
        _OPTIMIZER,
        _WEIGHT_DECAY_RATE,
        _PRECISION,
        _INIT_CHECKPOINT,
        _RANDOM_SEED,
    )
    free = (_NUM_TRAIN_STEPS, _GRADIENT_ACCUMULATION_STEPS, _JIT_COMPILE)
    return fingerprint_lib.Fingerprint(
        {flag.name: flag.value for flag in fixed}
        | fingerprint_lib.describe_data(files, vocabulary),
        {flag.name: flag.value for flag in free}
        | {
            "num_replicas": strategy.num_replicas_in_sync,
            "num_hosts": train_input.count_hosts(strategy),
        },
    )


def _train(trainer, batches, checkpoints, reporter, evaluate, stop_requested) -> bool:
    step = trainer.step
    if step >= _NUM_TRAIN_STEPS.value:
        print(
            f"Nothing to train: the checkpoint is at step {step} and "
            f"--num_train_steps={_NUM_TRAIN_STEPS.value}."
        )
        return True
    cadence = train_loop.Cadence(
        _NUM_TRAIN_STEPS.value,
        _ITERATIONS_PER_LOOP.value or (1000 if _TPU.value else 10),
        _SAVE_CHECKPOINTS_STEPS.value,
        _LOG_STEPS.value,
        _EVAL_STEPS.value if _DO_EVAL.value else 0,
        _SAVE_CHECKPOINTS_MINUTES.value,
    )
    print(
        f"Training {trainer.model.count_params():,} parameters on "
        f"{trainer.num_replicas} replica(s) from step {step} on; the first step takes "
        "longer.",
        flush=True,
    )
    # Killed between the checkpoint of a step and its evaluation. All hosts look at what
    # the chief wrote, since all must take part.
    evaluated = reporting.read_evaluated_step(_OUTPUT_DIR.value) or 0
    return train_loop.train(
        trainer,
        batches.distribute(step),
        checkpoints,
        reporter,
        cadence,
        stop_requested,
        evaluate,
        evaluate_first=step > evaluated and cadence.is_eval_due(step),
    )


def _evaluate(evaluator: evaluation.Evaluator, stop_requested) -> bool:
    with failure_report.explain_memory(
        _EVAL_BATCH_SIZE.value,
        _MAX_SEQ_LENGTH.value,
        "lower the first. The checkpoints are as they were.",
        _EVAL_BATCH_SIZE.name,
    ):
        return evaluator.run(stop_requested)


def _build_evaluator(
    output_dir, trainer, files, strategy, vocabulary
) -> evaluation.Evaluator:
    return evaluation.Evaluator(
        trainer,
        evaluation.distribute_eval_dataset(strategy, files, _EVAL_BATCH_SIZE.value),
        _MAX_EVAL_STEPS.value,
        output_dir,
        reporting.log_dir(output_dir, "eval"),
        "--eval_input_file" if _EVAL_INPUT_FILE.value else "the training records",
        vocabulary,
        # What is evaluated alone may be measured on anything.
        keep_best=_DO_TRAIN.value,
        measured_on=fingerprint_lib.describe_evaluation(
            files, _EVAL_BATCH_SIZE.value, _MAX_EVAL_STEPS.value
        ),
    )


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="the newest checkpoint")
