"""The flags of run_squad, and their values. No TensorFlow here."""

import dataclasses
import typing

from absl import flags

from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning import tables
from bert_cn.finetuning.reading import metrics

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class ReaderArgs(flags_lib.FinetuningArgs):
    """One run of run_squad."""

    train_file: str
    """The path of the questions to learn from."""

    dev_file: str
    """The path of the questions to measure on; `predict_file` if the flag is empty."""

    predict_file: str
    """The path of the questions to answer."""

    doc_stride: int
    """Tokens from one window of a long context to the next."""

    max_query_length: int
    """Tokens of a question; the rest of it is dropped."""

    n_best_size: int
    """The most answers in the n-best file."""

    max_answer_length: int
    """The most tokens of an answer."""

    version_2_with_negative: bool
    """Questions may have no answer."""

    null_score_diff_threshold: float | None
    """See `spans.Prediction.decide`; None to find the best value on dev."""

    metric: str
    """A name of `metrics.DEFINITIONS`, or `AUTO`."""

    skip_bad_answers: bool
    """Leave out training questions whose context does not hold their answer."""

    compiled_multiple: typing.ClassVar[int] = 64

    @property
    def held_out_files(self) -> dict[str, str]:
        """The splits that are measured or answered, and the paths of their files."""
        paths = {tables.DEV: self.dev_file, tables.TEST: self.predict_file}
        return {split: path for split, path in paths.items() if split in self.splits}


def define_flags() -> None:
    """Define the flags of `ReaderArgs`."""
    flags_lib.define_flags(
        flags_lib.Defaults(
            "Tokens of a window.",
            max_seq_length=384,
            min_seq_length=5,
            predict_help="Whether to answer the questions of --predict_file.",
            example="Windows",
            eval_batch_size=None,
            predict_batch_size=32,
        )
    )
    _define_files()
    _define_windows()
    _define_measure()


def _define_files() -> None:
    flags.DEFINE_string("train_file", "", "JSON file in SQuAD's layout.")
    flags.DEFINE_string(
        "dev_file", "", "--do_eval measures on it; without the flag, on --predict_file."
    )
    flags.DEFINE_string(
        "predict_file", "", "JSON file of the questions that --do_predict answers."
    )
    flags.DEFINE_bool(
        "skip_bad_answers",
        False,
        "Leave out training questions whose context does not hold their answer.",
    )


def _define_windows() -> None:
    flags.DEFINE_integer(
        "doc_stride",
        128,
        "Tokens from one window of a long context to the next.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "max_query_length",
        64,
        "Longer questions are cut to this many tokens.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "n_best_size", 20, "Answers in nbest_predictions.json.", lower_bound=1
    )
    flags.DEFINE_integer(
        "max_answer_length", 30, "The most tokens of an answer.", lower_bound=1
    )


def _define_measure() -> None:
    flags.DEFINE_bool(
        "version_2_with_negative",
        False,
        "Whether questions may have no answer, as in SQuAD 2.0; without it such "
        "questions are left out.",
    )
    flags.DEFINE_float(
        "null_score_diff_threshold",
        None,
        "A question has no answer if [CLS] scores more than this above the best "
        "answer. Without the flag, --do_eval finds the best value on dev, which is "
        "kept with the model; without --do_eval and a kept value, it is 0.",
    )
    flags.DEFINE_enum(
        "metric",
        AUTO,
        [AUTO, *metrics.DEFINITIONS],
        "Whose definition of exact match and F1; auto: cmrc2018 (also DRCD's) if the "
        "contexts are Chinese, or else SQuAD's.",
    )


def read_flags() -> ReaderArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing or contradicts another one.
    """
    values = flags.FLAGS.flag_values_dict()
    args = flags_lib.read_flags(
        ReaderArgs, dev_file=values["dev_file"] or values["predict_file"]
    )
    for action, name, advice in (
        ("do_train", "train_file", "name the questions to learn from"),
        ("do_eval", "dev_file", "name the questions to measure on"),
        ("do_predict", "predict_file", "name the questions"),
    ):
        if getattr(args, action) and not getattr(args, name):
            raise ValueError(f"--{name} is empty, and --{action} needs it: {advice}.")
    if args.max_seq_length <= args.max_query_length + 3:
        raise ValueError(
            f"--max_seq_length={args.max_seq_length} leaves no room for a context "
            f"after --max_query_length={args.max_query_length} tokens, [CLS] and two "
            "[SEP]: raise one or lower the other."
        )
    if args.null_score_diff_threshold is not None and not args.version_2_with_negative:
        raise ValueError(
            "--null_score_diff_threshold is for questions without an answer: pass "
            "--version_2_with_negative too, or leave it out."
        )
    return args
