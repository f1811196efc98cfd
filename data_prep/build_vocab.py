"""Train a WordPiece vocabulary on raw text.

    python -m data_prep.build_vocab --input_file='corpus/*.txt' --output_file=vocab.txt

Special tokens come first; docs/data.md has more.
"""

import sys

from absl import flags

from data_prep import command_line
from data_prep.text import corpus, lines, vocabulary_training

_INPUT_FILE = flags.DEFINE_string(
    "input_file",
    None,
    "File, folder, glob or comma list, as create_pretraining_data reads them.",
    required=True,
)
_OUTPUT_FILE = flags.DEFINE_string(
    "output_file", None, "The vocab.txt to write.", required=True
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 21128, "Largest number of tokens, special tokens included."
)
_MIN_FREQUENCY = flags.DEFINE_integer(
    "min_frequency", 0, "Join a pair of pieces only if it occurs at least this often."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case", False, "Lower-case the text and strip accents."
)
_TEXT_FIELD = flags.DEFINE_string(
    "text_field",
    "text",
    "Field or column that holds the document in files with fields; several separated "
    "by commas are joined.",
)
_ON_BAD_UTF8 = flags.DEFINE_enum(
    "on_bad_utf8",
    "fail",
    lines.ON_BAD_UTF8,
    "Stop at bytes that are not UTF-8, or read them as U+FFFD.",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an existing vocabulary.")


def main(arguments: list[str]) -> None:
    """Read flags, train, write, print the result."""
    command_line.refuse_arguments(arguments)
    path = _OUTPUT_FILE.value
    vocabulary_training.check_output(path, _OVERWRITE.value)
    files = corpus.find_files(_INPUT_FILE.value, _warn)
    if any(file.copies != 1 for file in files):
        raise ValueError(
            "--input_file has weights, which are for create_pretraining_data: leave "
            "them out, each text counts once here."
        )
    if _TEXT_FIELD.present:
        corpus.check_text_field(files, _TEXT_FIELD.value)
    tokens = vocabulary_training.train_vocabulary(
        files,
        _VOCAB_SIZE.value,
        _MIN_FREQUENCY.value,
        _DO_LOWER_CASE.value,
        corpus.ReadingRules(_TEXT_FIELD.value, _ON_BAD_UTF8.value),
    )
    vocabulary_training.write_vocabulary(tokens, path)
    print(f"Vocabulary: {path}, {len(tokens)} tokens.")
    if len(tokens) < _VOCAB_SIZE.value:
        print(
            f"The text yields only {len(tokens)} of the {_VOCAB_SIZE.value} tokens "
            "that --vocab_size asks for."
        )
    command_line.print_next(
        (
            "data_prep.create_pretraining_data",
            f"--input_file={_INPUT_FILE.value}",
            f"--vocab_file={path}",
            "--output_file=out/train.tfrecord",
            "--do_lower_case" if _DO_LOWER_CASE.value else "--nodo_lower_case",
            "--do_whole_word_mask",
        )
    )


def _warn(text: str) -> None:
    print(f"build_vocab: warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    command_line.run_command(main, "an existing vocabulary")
