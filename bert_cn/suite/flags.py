"""The flags of benchmark_suite, and their values as one."""

import dataclasses

from absl import flags

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class SuiteArgs:
    """What to fine-tune, on which tasks, and where the table goes."""

    checkpoint: str
    """Anything that convert_checkpoint reads."""

    suite: tuple[str, ...]
    """Names of `tasks.SUITES`."""

    tasks: tuple[str, ...]
    """The tasks of the suites to run; empty for all."""

    data_dir: str
    """The folder that holds a folder for each data set."""

    output_dir: str
    """The folder of the table and of all runs."""

    name: str
    """The checkpoint's name in the table; "" for the name of its folder."""

    recipe: str
    """A recipe of configs/finetune, or the path of another one without its ending."""

    run_flags: tuple[str, ...]
    """More flags for every run; they override the recipe's."""

    num_seeds: int
    """Runs of each task, each with its own random seed."""

    random_baseline: bool
    """Run the same model from random weights, too."""

    keep_models: bool
    """Keep the fine-tuned models."""

    overwrite: bool
    """Repeat runs that were finished with other settings, data or weights."""

    bert_config_file: str
    """The model's sizes, if the checkpoint's folder lacks them; "" for none."""

    vocab_file: str
    """The vocabulary, if the checkpoint's folder lacks one; "" for none."""


def define_flags() -> None:
    """Define the flags of `SuiteArgs`."""
    _define_subject()
    _define_runs()


def _define_subject() -> None:
    flags.DEFINE_string(
        "checkpoint", "", "What to fine-tune: anything that convert_checkpoint reads."
    )
    flags.DEFINE_string(
        "name", "", "The checkpoint's name in the table (default: its folder's name)."
    )
    flags.DEFINE_string(
        "bert_config_file",
        "",
        "The model's sizes, if the checkpoint's folder does not hold them.",
    )
    flags.DEFINE_string(
        "vocab_file", "", "The vocabulary, if the checkpoint's folder does not hold it."
    )
    flags.DEFINE_list(
        "suite",
        "glue",
        "glue: CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI; clue: "
        "ChnSentiCorp, AFQMC, LCQMC, BQ, OCNLI, THUCNews, Chinese STS-B, CMRC 2018; "
        "squad: SQuAD 1.1 and 2.0, CMRC 2018, DRCD; sentences: embeddings on Chinese "
        "STS-B, AFQMC, LCQMC, BQ, PAWS-X. Several with commas between them.",
    )
    flags.DEFINE_list("tasks", [], "Run only these tasks of the suites.")
    flags.DEFINE_string(
        "data_dir", "", "The folder that holds a folder for each data set."
    )


def _define_runs() -> None:
    flags.DEFINE_string(
        "output_dir",
        "",
        "The folder of the table and of all runs; finished runs are kept.",
    )
    flags.DEFINE_string(
        "recipe",
        "reference",
        "The settings of fine-tuning: NAME of configs/finetune/NAME_classification"
        ".flags and NAME_squad.flags, or PATH/NAME for two such files of your own.",
    )
    flags.DEFINE_string(
        "run_flags",
        "",
        "More flags for every run, which override the recipe's: "
        "--run_flags='--num_train_epochs=2 --tpu=local'.",
    )
    flags.DEFINE_integer(
        "num_seeds",
        3,
        "Runs of each task, with the random seeds 12345, 12346, ...",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "random_baseline",
        False,
        "Run the same model from random weights too, as a row of its own: it shows "
        "what pretraining is worth.",
    )
    flags.DEFINE_bool(
        "keep_models", False, "Keep the fine-tuned models, not only their results."
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Repeat runs that were finished with other settings, data or weights.",
    )


def read_flags() -> SuiteArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one that is needed is empty, or --name cannot name a folder.
    """
    values = flags.FLAGS.flag_values_dict()
    args = {field.name: values[field.name] for field in dataclasses.fields(SuiteArgs)}
    for name, advice in (
        ("checkpoint", "name what to fine-tune"),
        ("data_dir", "name the folder that holds the data sets"),
        ("output_dir", "name a folder for the table and the runs"),
    ):
        if not args[name]:
            raise ValueError(f"--{name} is empty: {advice}.")
    if "/" in args["name"] or args["name"] in ("cache", ".", ".."):
        raise ValueError(
            f"--name={args['name']} cannot be a row's folder: give a plain name."
        )
    args |= {name: tuple(args[name]) for name in ("suite", "tasks")}
    args["run_flags"] = tuple(args["run_flags"].split())
    return SuiteArgs(**args)
