r"""Look at a checkpoint and at text of a domain before training the one on the other.

    python -m bert_cn.plan_further_pretraining --init_checkpoint=bert-base-chinese \
        --input_file='domain/*.txt'

Prints the share of [UNK], the words worth adding to the vocabulary, how well the
checkpoint predicts masked tokens of the text now, what epochs take on this machine, and
the two commands that train it further.
"""

from bert_cn.pretraining import further_flags
from data_prep import command_line

further_flags.define_flags()


def main(arguments: list[str]) -> None:
    """Print a plan as the flags say."""
    command_line.refuse_arguments(arguments)
    args = further_flags.read_flags()
    # This imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.pretraining import further_plan

    further_plan.plan(args)


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="nothing")
