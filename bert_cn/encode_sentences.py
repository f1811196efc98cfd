r"""Turn each line of a file into a vector, and print the nearest lines of a query.

    python -m bert_cn.encode_sentences --checkpoint=out/sentences/best \
        --input_file=lines.txt --output_file=vectors.npy

    python -m bert_cn.encode_sentences --checkpoint=out/sentences/best \
        --input_file=lines.txt --nearest=5 --query=如何更换绑定的银行卡

The vectors are those of SentenceTransformer(folder).encode(lines), in the order of the
lines. They stand in --output_file only when all of them are there.
"""

from bert_cn.finetuning.sentences import encoding_flags
from data_prep import command_line

encoding_flags.define_flags()


def main(arguments: list[str]) -> None:
    """Encode the lines as the flags say."""
    command_line.refuse_arguments(arguments)
    args = encoding_flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning.sentences import encoding

    encoding.encode(args)


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="an earlier --output_file")
