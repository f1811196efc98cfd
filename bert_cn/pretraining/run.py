"""A run of pretraining, from its flags to its curves."""

import dataclasses
import functools

import tensorflow as tf

from bert_cn.pretraining import (
    checkpoints,
    evaluation,
    losses,
    run_folder,
    run_report,
    train_loop,
    train_step,
    warm_start,
)
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import (
    batch_checks,
    folder_lock,
    reporting,
    run_files,
    stop_request,
    storage_checks,
)
from bert_cn.training import precision as precision_lib
from bert_cn.training import strategy as strategy_lib
from data_prep import command_line


def run_pretraining(args: settings_lib.PretrainingArgs) -> bool:
    """Read data, build the model, train, evaluate.

    A resumed run is brought back to where it stopped in this order:
    1. its fingerprint: other data or settings are refused before anything is built;
    2. model, optimizer and random states are built as for a new run, from the seed;
    3. the newest checkpoint that can be read replaces all of their values: weights,
       moments, the step, and the states of dropout's generators;
    4. the data follow from the step, see `shuffle_order`, and so do masks;
    5. when to save, report and evaluate next follows from the step, too.

    Args:
        args: the run's, checked by `settings.check_run`.

    Returns:
        Whether it came to its end; false if a signal stopped it before.

    Raises:
        ValueError: devices, records, model and settings do not go together.
    """
    # Devices, before anything else: several hosts must find each other first
    storage_checks.check_paths(args.tpu, args.paths)
    strategy = strategy_lib.build_strategy(args.tpu)
    batch_checks.check_batch_sizes(
        args.batch_sizes,
        strategy.num_replicas_in_sync,
        args.gradient_accumulation_steps,
    )
    batch_checks.check_jit_compile(args.jit_compile, strategy)
    with (
        strategy_lib.keep_chiefs_files(strategy, args.output_dir) as output_dir,
        folder_lock.hold_folder(output_dir),
    ):
        args = _choose_precision(args)
        records = records_lib.load_records(args)
        args = dataclasses.replace(args, num_train_steps=records.num_train_steps)
        if args.do_train and args.do_eval and records.eval.paths == records.train.paths:
            print(
                "Evaluations are on the records that are trained on: hold some out by "
                "create_pretraining_data --eval_fraction=0.01, or name others by "
                "--eval_input_file."
            )
        trainer, own_checkpoints = _build_model(args, records, strategy, output_dir)
        is_finished = _train_and_evaluate(
            args, records, trainer, own_checkpoints, output_dir
        )
        reporting.draw_run(output_dir, losses.PANELS)
        is_chief = strategy_lib.worker_index(strategy) == 0
        _report(args, trainer.step, is_finished, output_dir, is_chief)
    return is_finished


def _report(
    args: settings_lib.PretrainingArgs,
    step: int,
    is_finished: bool,
    output_dir: str,
    is_chief: bool,
) -> None:
    """Write the run's page; say how to resume, or what comes next."""
    if is_finished and not args.do_train:
        return
    folder = args.output_dir
    following = (
        ("bert_cn.fill_mask", f"--checkpoint={folder}", "今天天气很[MASK]。"),
        (
            "bert_cn.convert_checkpoint",
            f"--input={folder}",
            "--output_format=pt",
            f"--output_dir={folder.rstrip('/')}_pt",
        ),
    )
    if is_finished:
        state = f"Finished at step {step:,}."
        lines = command_line.join_commands(*following)
    else:
        state, lines = f"Stopped at step {step:,}.", [command_line.command_again()]
    page = run_report.write_report(output_dir, state, lines)
    if is_chief:
        print(f"Report: {page}", flush=True)
    if not is_finished:
        print(f"Stopped at step {step}. Resume with:\n  {lines[0]}", flush=True)
    elif is_chief:
        command_line.print_next(*following)


def _choose_precision(
    args: settings_lib.PretrainingArgs,
) -> settings_lib.PretrainingArgs:
    """Return the settings with a precision; a resumed run keeps its own."""
    begun_with = run_files.read_fingerprint(args.output_dir).get("precision", "")
    chosen = precision_lib.choose_precision(
        args.precision, args.tpu, args.jit_compile, begun_with
    )
    return dataclasses.replace(args, precision=chosen)


def _build_model(
    args: settings_lib.PretrainingArgs,
    records: records_lib.Records,
    strategy: tf.distribute.Strategy,
    output_dir: str,
) -> tuple[train_step.Trainer, checkpoints.TrainingCheckpoints]:
    """Build the model and its step, with the weights that the run starts from."""
    start = warm_start.find_start(args, records)
    description = run_folder.describe_run(args, start.config, records, strategy)
    run_folder.check_folder(args, description)
    storage_checks.probe_folder(strategy, "output_dir", output_dir)
    trainer = warm_start.build_trainer(args, start, records, strategy)
    own_checkpoints = warm_start.load_weights(args, start, trainer, records, output_dir)
    if args.do_train and not train_loop.is_finished(trainer):
        run_folder.begin_run(output_dir, description)
    return trainer, own_checkpoints


def _train_and_evaluate(
    args: settings_lib.PretrainingArgs,
    records: records_lib.Records,
    trainer: train_step.Trainer,
    own_checkpoints: checkpoints.TrainingCheckpoints,
    output_dir: str,
) -> bool:
    """Return whether all was done; false if a signal stopped it."""
    evaluator = evaluation.Evaluator(args, trainer, records, output_dir)
    is_finished = True
    with stop_request.StopRequest(trainer.agree) as stop_requested:
        evaluate = functools.partial(evaluator.run, stop_requested)
        if args.do_train:
            loop = train_loop.build_run(
                args, trainer, records, own_checkpoints, evaluate, output_dir
            )
            is_finished = train_loop.train(loop, stop_requested)
        if args.do_eval and is_finished:
            is_finished = evaluate()
    return is_finished
