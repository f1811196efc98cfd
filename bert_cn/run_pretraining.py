r"""Pretrain BERT on the records of data_prep.create_pretraining_data.

    python -m bert_cn.run_pretraining --flagfile=configs/pretrain/bert_tiny_cn.flags \
        --input_file='out/train-*.tfrecord' --output_dir=out/tiny --do_train --do_eval

Running the same command again resumes from the newest checkpoint.
"""

import sys

from bert_cn.pretraining import flags
from bert_cn.pretraining import settings as settings_lib
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Check the flags, and make the run that they describe."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    settings_lib.check_run(args)
    # This imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.pretraining import run

    if not run.run_pretraining(args):
        sys.exit(args.interrupted_exit_code)


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="the newest checkpoint")
