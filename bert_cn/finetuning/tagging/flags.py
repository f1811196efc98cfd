"""The flags of run_ner, and their values. No TensorFlow here."""

import dataclasses

from absl import flags

from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning import tables

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

# The endings of the usual names of files, the preferred one first.
ENDINGS = (".txt", ".tsv", ".conll", ".bio")


@dataclasses.dataclass(frozen=True)
class TaggerArgs(flags_lib.FinetuningArgs):
    """One run of run_ner."""

    data_dir: str
    """The folder of the files."""

    train_file: str
    """The name of the training file; "" for train with one of `ENDINGS`."""

    dev_file: str
    """The name of the dev file; "" for dev with one of `ENDINGS`."""

    test_file: str
    """The name of the test file; "" for test with one of `ENDINGS`."""

    word_column: int
    """The column of the word, from 0; negative from the end."""

    tag_column: int
    """The column of the tag, from 0; negative from the end."""


def define_flags() -> None:
    """Define the flags of `TaggerArgs`."""
    flags_lib.define_flags(
        flags_lib.Defaults(
            "Longer sentences are cut, and words after the cut count as O."
        )
    )
    flags.DEFINE_string("data_dir", "", "Folder of the files.")
    for split in tables.SPLITS:
        flags.DEFINE_string(
            f"{split}_file",
            "",
            f"The file of {split}; without the flag, {split} with the first ending of "
            f"{', '.join(ENDINGS)} that exists.",
        )
    flags.DEFINE_integer(
        "word_column", 0, "The column of the word, from 0; negative from the end."
    )
    flags.DEFINE_integer(
        "tag_column", -1, "The column of the tag; CoNLL's files have it last."
    )


def read_flags() -> TaggerArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing, or they contradict each other.
    """
    return flags_lib.read_flags(
        TaggerArgs, needed={"data_dir": "name the folder of the files"}
    )
