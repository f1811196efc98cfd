r"""Embed each line of a file, and look at the nearest lines of a sentence.

    python -m bert_cn.encode_sentences --checkpoint=out/sentences/best \
        --input_file=lines.txt --output_file=vectors.npy

With --query='今天天气很好' --nearest=5 it prints the five nearest lines, too.
"""

from bert_cn.finetuning.sentences import encode_flags
from data_prep import command_line

encode_flags.define_flags()


def main(arguments: list[str]) -> None:
    """Embed as the flags say."""
    command_line.refuse_arguments(arguments)
    args = encode_flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning.sentences import encoding

    encoding.encode_file(args)


if __name__ == "__main__":
    command_line.run_command(main, "an earlier --output_file")
