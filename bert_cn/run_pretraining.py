r"""Pretrain BERT on the records of data_prep.create_pretraining_data.

    python -m bert_cn.run_pretraining --flagfile=configs/pretrain/bert_tiny_cn.flags \
        --input_file='out/train-*.tfrecord' --output_dir=out/tiny --do_train --do_eval

Running the same command again resumes from the newest checkpoint.
"""

import functools
import sys

from bert_cn.pretraining import flags
from bert_cn.pretraining import settings as settings_lib
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Read data, build the model, train, evaluate.

    A resumed run is brought back to where it stopped in this order:
    1. its fingerprint: other data or settings are refused before anything is built;
    2. model, optimizer and random states are built as for a new run, from the seed;
    3. the newest checkpoint that can be read replaces all of their values: weights,
       moments, the step, and the states of dropout's generators;
    4. the data follow from the step, see `shuffle_order`, and so do masks;
    5. when to save, report and evaluate next follows from the step, too.
    """
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    settings_lib.check_run(args)
    # These import TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.pretraining import (
        evaluation,
        losses,
        run_folder,
        train_loop,
        train_step,
        warm_start,
    )
    from bert_cn.pretraining import records as records_lib
    from bert_cn.training import batch_checks, reporting, stop_request, storage_checks
    from bert_cn.training import strategy as strategy_lib

    # Devices, before anything else: several hosts must find each other first
    storage_checks.check_paths(args.tpu, args.paths)
    strategy = strategy_lib.build_strategy(args.tpu)
    batch_checks.check_batch_sizes(
        args.batch_sizes,
        strategy.num_replicas_in_sync,
        args.gradient_accumulation_steps,
    )
    batch_checks.check_jit_compile(args.jit_compile, strategy)
    with strategy_lib.keep_chiefs_files(strategy, args.output_dir) as output_dir:
        # Data
        records = records_lib.load_records(args)

        # Model
        start = warm_start.find_start(args, records)
        description = run_folder.describe_run(args, start.config, records, strategy)
        run_folder.check_folder(args, description)
        storage_checks.probe_folder(strategy, "output_dir", output_dir)
        ops = train_step.choose_training_ops(args)
        outputs = warm_start.find_outputs(args, records.train)
        trainer = train_step.build_trainer(
            args, start.config, strategy, records.sentence_task, ops, outputs
        )
        checkpoints = warm_start.load_weights(args, start, trainer, records, output_dir)

        # Loop
        if args.do_train and not train_loop.is_finished(trainer):
            run_folder.begin_run(output_dir, description)
        evaluator = evaluation.Evaluator(args, trainer, records, output_dir)
        finished = True
        with stop_request.StopRequest(trainer.agree) as stop_requested:
            evaluate = functools.partial(evaluator.run, stop_requested)
            if args.do_train:
                run = train_loop.build_run(
                    args, trainer, records, checkpoints, evaluate, output_dir
                )
                finished = train_loop.train(run, stop_requested)
            if args.do_eval and finished:
                finished = evaluate()

        # Results
        reporting.draw_run(output_dir, losses.PANELS)
    if not finished:
        again = command_line.command_again()
        print(f"Stopped at step {trainer.step}. Resume with:\n  {again}", flush=True)
        sys.exit(args.interrupted_exit_code)


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="the newest checkpoint")
