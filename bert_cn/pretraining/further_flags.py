"""The flags of plan_further_pretraining, and their values as one."""

import dataclasses

from absl import flags

from bert_cn.training import choices

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class PlanArgs:
    """What to look at, and how."""

    init_checkpoint: str
    """The checkpoint to train further: anything that convert_checkpoint reads."""

    input_file: str
    """The text of the domain, as create_pretraining_data reads it."""

    output_dir: str
    """The folder for words.txt, and for the commands that are printed."""

    max_seq_length: int
    """Tokens per sequence."""

    train_batch_size: int
    """Sequences per update."""

    precision: str
    """One of `choices.PRECISIONS`."""

    sample_megabytes: float
    """How much of the text is looked at."""

    measured_steps: int
    """Updates whose time is measured."""

    min_count: int
    """Words that are rarer than this in the sample are not worth a token."""

    text_field: str
    """Fields that hold the document in files with fields."""

    random_seed: int
    """Decides the masks."""


def define_flags() -> None:
    """Define the flags of `PlanArgs`."""
    flags.DEFINE_string(
        "init_checkpoint",
        None,
        "The checkpoint to train further: anything that convert_checkpoint reads.",
        required=True,
    )
    flags.DEFINE_string(
        "input_file",
        None,
        "The text of the domain: file, folder, glob or comma list, as "
        "create_pretraining_data reads them.",
        required=True,
    )
    flags.DEFINE_string(
        "output_dir", "out/further", "The folder for words.txt and of the commands."
    )
    flags.DEFINE_integer("max_seq_length", 128, "Tokens per sequence.", lower_bound=8)
    flags.DEFINE_integer("train_batch_size", 32, "Sequences per update.", lower_bound=1)
    flags.DEFINE_enum("precision", "auto", choices.PRECISIONS, "As run_pretraining's.")
    flags.DEFINE_float(
        "sample_megabytes",
        4.0,
        "Look at this much of the text; more costs time.",
        lower_bound=0.001,
    )
    flags.DEFINE_integer(
        "measured_steps",
        5,
        "Measure the time of this many updates; 0 leaves speed and minutes out.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "min_count",
        20,
        "Words that are rarer than this in the sample are not worth a token.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "text_field",
        "text",
        "Field or column that holds the document in files with fields.",
    )
    flags.DEFINE_integer("random_seed", 12345, "Decides the masks.", lower_bound=0)


def read_flags() -> PlanArgs:
    """Return the values of the parsed flags."""
    values = flags.FLAGS.flag_values_dict()
    names = [field.name for field in dataclasses.fields(PlanArgs)]
    return PlanArgs(**{name: values[name] for name in names})
