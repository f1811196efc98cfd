"""The flags of run_classifier, and their values. No TensorFlow here.

run_sentence_bert, which reads files of the same kinds, shares `define_data_flags` and
`parse_columns`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from absl import flags

from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning import tables
from bert_cn.finetuning.classification import tasks

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

# The roles of the columns of a user's own file.
TEXT_A, TEXT_B, LABEL = "text_a", "text_b", "label"
ROLES = (TEXT_A, TEXT_B, LABEL)


@dataclasses.dataclass(frozen=True)
class ClassifierArgs(flags_lib.FinetuningArgs):
    """One run of run_classifier."""

    task_name: str
    """A name of `tasks.TASKS` or `tasks.OWN`."""

    data_dir: str
    """The folder of the task's files."""

    columns: Mapping[str, tables.Column]
    """For a user's own files: one of `ROLES` -> the column's name or number."""

    regression: bool
    """For a user's own files: the label is a score."""

    train_file: str
    """The name of a user's own training file; "" for the usual name."""

    dev_file: str
    """The name of a user's own dev file; "" for the usual name."""

    test_file: str
    """The name of a user's own test file; "" for the usual name."""

    def find_task(self) -> tasks.Task:
        """Return the task, built from the columns for a user's own files.

        Raises:
            ValueError: it is unknown.
        """
        if not tasks.is_own(self.task_name):
            return tasks.find_task(self.task_name)
        files = (self.train_file, self.dev_file, self.test_file)
        columns = tables.Columns(**self.columns)
        return tasks.build_own_task(self.task_name, columns, files, self.regression)


def define_flags() -> None:
    """Define the flags of `ClassifierArgs`."""
    flags_lib.define_flags(flags_lib.Defaults("Longer examples are cut."))
    define_data_flags(
        f"One of {', '.join(tasks.TASKS)}; or tsv or jsonl for files of your own.",
        "text_a, text_b (if there is a second text) and label",
        "text_a:question,label:intent",
    )
    flags.DEFINE_bool(
        "regression", False, "With tsv or jsonl: the label is a score and not a class."
    )


def define_data_flags(task_help: str, roles: str, example: str) -> None:
    """Define the flags that name a task and a user's own files.

    Args:
        task_help: help of --task_name.
        roles: the columns that --columns names, for its help.
        example: a value of --columns.
    """
    flags.DEFINE_string("task_name", "", task_help)
    flags.DEFINE_alias("task", "task_name")
    flags.DEFINE_string("data_dir", "", "Folder of the task's files.")
    flags.DEFINE_list(
        "columns",
        [],
        f"With tsv or jsonl: the columns of {roles}, such as {example}: by name from "
        "the first line (in JSON the key), or by number from 0 if a TSV file has no "
        "such line.",
    )
    for split in tables.SPLITS:
        flags.DEFINE_string(
            f"{split}_file",
            "",
            f"With tsv or jsonl: the file of {split}; without the flag, {split}.tsv or "
            f"{split}.jsonl.",
        )


def read_flags() -> ClassifierArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing, is malformed or contradicts another one.
    """
    args = flags_lib.read_flags(
        ClassifierArgs,
        needed={
            "task_name": f"name one of {', '.join((*tasks.TASKS, *tasks.OWN))}",
            "data_dir": "name the folder of the task's files",
        },
        columns=parse_columns(ROLES),
    )
    if tasks.is_own(args.task_name):
        require_columns(args.columns, (TEXT_A, LABEL), args.task_name)
        return args
    own = ("columns", "regression", *(f"{split}_file" for split in tables.SPLITS))
    for name in own:
        if getattr(args, name):
            raise ValueError(
                f"--{name} is for --task_name=tsv or jsonl, and the files and labels "
                f"of {args.task_name} are known: leave it out."
            )
    return args


def parse_columns(roles: Sequence[str], prefix: str = "") -> dict[str, tables.Column]:
    """Return role -> column, as --columns says.

    Args:
        roles: the roles that it may name.
        prefix: what the flag's name begins with.

    Raises:
        ValueError: a part is no ROLE:COLUMN, a role is unknown or named twice, or names
            and numbers are mixed.
    """
    parts = flags.FLAGS[f"{prefix}columns"].value
    columns: dict[str, tables.Column] = {}
    for part in parts:
        role, _, column = part.partition(":")
        if role not in roles or role in columns or not column:
            raise ValueError(
                f"--{prefix}columns has ROLE:COLUMN with commas between, and each ROLE "
                f"is one of {', '.join(roles)}, once. Received: {part!r} in "
                f"{','.join(parts)}."
            )
        columns[role] = int(column) if column.isdecimal() else column
    if len({type(column) for column in columns.values()}) > 1:
        raise ValueError(
            f"--{prefix}columns has either names of the first line (in JSON keys), or, "
            "for TSV without such a line, numbers from 0. Received: "
            f"{','.join(parts)}."
        )
    return columns


def require_columns(
    columns: Mapping[str, tables.Column],
    roles: Sequence[str],
    task_name: str,
    prefix: str = "",
) -> None:
    """Check the columns of a user's own files.

    Args:
        columns: from `parse_columns`.
        roles: those that are needed.
        task_name: one of `tasks.OWN`.
        prefix: what the names of both flags begin with.

    Raises:
        ValueError: a role is missing, or columns of JSON are numbered.
    """
    for role in roles:
        if role not in columns:
            raise ValueError(
                f"--{prefix}task_name={task_name} needs {role} in --{prefix}columns: "
                f"add {role}:NAME, or the column's number from 0 instead of its name."
            )
    numbered = [column for column in columns.values() if isinstance(column, int)]
    if numbered and task_name.lower() == tables.JSONL:
        raise ValueError(
            f"--{prefix}columns has numbers, but JSON has keys: write ROLE:KEY. "
            f"Received: {', '.join(map(str, numbered))}."
        )
