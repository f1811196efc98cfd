"""The flags that every fine-tuning command has, and their values. No TensorFlow here.

A kind of task adds flags of its own, and inherits from `FinetuningArgs` for their
values: see `classification.flags`.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping

from absl import flags

from bert_cn.finetuning import tables
from bert_cn.training import choices

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class FinetuningArgs:
    """One run: where it reads and writes, what it does, and how it trains."""

    output_dir: str
    """The folder of the model, the results and the predictions."""

    overwrite: bool
    """Let training replace the model of an earlier run."""

    init_checkpoint: str
    """Anything that convert_checkpoint reads; "" for random weights, or without
    training for the model in `output_dir`."""

    bert_config_file: str
    """The model's sizes, if the checkpoint's folder lacks them; "" for none."""

    vocab_file: str
    """The vocabulary, if the checkpoint's folder lacks one; "" for none."""

    do_lower_case: bool | None
    """None to do as the checkpoint says."""

    cache_dir: str
    """The folder of encoded examples; "" to encode them in each run."""

    do_train: bool
    """Train."""

    do_eval: bool
    """Measure on dev, after each epoch and at the end."""

    do_predict: bool
    """Predict on test."""

    precision: str
    """One of `choices.PRECISIONS`."""

    jit_compile: bool
    """Compile the step with XLA."""

    tpu: str
    """A TPU's name, "local" or grpc://address:port; "" for none."""

    max_seq_length: int
    """Tokens, [CLS] and [SEP] included."""

    train_batch_size: int
    """Examples per update over all replicas."""

    eval_batch_size: int | None
    """Examples per batch on dev; None if the command has no such flag."""

    predict_batch_size: int
    """Examples per batch on test; also on dev if there is no `eval_batch_size`."""

    learning_rate: float
    """The peak learning rate."""

    num_train_epochs: float
    """Passes over the data; may be a fraction."""

    warmup_proportion: float
    """The share of the updates with linear warm-up, from 0 to 1."""

    optimizer: str
    """One of `choices.OPTIMIZERS`."""

    weight_decay_rate: float
    """Decoupled; biases and LayerNorm have none."""

    random_seed: int
    """Decides new weights, dropout and the order of examples."""

    compiled_multiple: typing.ClassVar[int] = 32
    """With `jit_compile`, where each width of a batch costs a compilation, widths are
    multiples of it."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are needed, some of `tables.SPLITS`."""
        wanted = (self.do_train, self.do_eval, self.do_predict)
        pairs = zip(tables.SPLITS, wanted, strict=True)
        return tuple(name for name, is_wanted in pairs if is_wanted)

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Each batch size under its flag's name."""
        sizes = {
            name: getattr(self, name)
            for name in ("train_batch_size", "eval_batch_size", "predict_batch_size")
        }
        return {name: size for name, size in sizes.items() if size is not None}

    @property
    def eval_batch_flag(self) -> str:
        """The name of the flag that sets the batch size on dev."""
        return (
            "predict_batch_size" if self.eval_batch_size is None else "eval_batch_size"
        )


@dataclasses.dataclass(frozen=True)
class Defaults:
    """Defaults and help of the common flags, as one command wants them."""

    length_help: str
    """Help of --max_seq_length."""

    max_seq_length: int = 128
    """Default of the flag."""

    min_seq_length: int = 4
    """The least that --max_seq_length takes."""

    learning_rate: float = 5e-5
    """Default of the flag."""

    predict_help: str = "Whether to predict on test."
    """Help of --do_predict."""

    example: str = "Examples"
    """The name of what batches consist of."""

    eval_batch_size: int | None = 64
    """Default of the flag; None for no flag: --predict_batch_size is for dev too."""

    predict_batch_size: int = 64
    """Default of the flag."""


def define_flags(defaults: Defaults) -> None:
    """Define the flags of `FinetuningArgs`."""
    _define_places()
    _define_actions(defaults)
    _define_batches(defaults)
    _define_training(defaults)


def _define_places() -> None:
    flags.DEFINE_string(
        "output_dir", "", "Folder for the model, results and predictions."
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Let --do_train replace model, results and curves of an earlier run.",
    )
    flags.DEFINE_string(
        "init_checkpoint",
        "",
        "Start from these weights: anything that convert_checkpoint reads. Empty: "
        "random weights by --bert_config_file and --vocab_file; without --do_train "
        "the model in --output_dir.",
    )
    flags.DEFINE_string(
        "bert_config_file",
        "",
        "The model's sizes, if the checkpoint's folder does not hold them.",
    )
    flags.DEFINE_string(
        "vocab_file", "", "The vocabulary, if the checkpoint's folder does not hold it."
    )
    flags.DEFINE_bool(
        "do_lower_case",
        None,
        "Whether to lower-case; without the flag, as the checkpoint says.",
    )
    flags.DEFINE_string(
        "cache_dir", "", "Keep encoded examples here, for runs on the same data."
    )


def _define_actions(defaults: Defaults) -> None:
    flags.DEFINE_bool("do_train", False, "Whether to train.")
    flags.DEFINE_bool(
        "do_eval", False, "Whether to measure on dev, after each epoch and at the end."
    )
    flags.DEFINE_bool("do_predict", False, defaults.predict_help)
    flags.DEFINE_enum(
        "precision",
        choices.PRECISIONS[0],
        choices.PRECISIONS,
        "The dtype of computation; variables, logits and losses are always float32. "
        "auto: the faster one on this machine.",
    )
    flags.DEFINE_bool(
        "jit_compile", False, "Compile the step with XLA; a TPU always does."
    )
    flags.DEFINE_string(
        "tpu", "", "Train on a TPU: its name, local, or grpc://address:port."
    )


def _define_batches(defaults: Defaults) -> None:
    flags.DEFINE_integer(
        "max_seq_length",
        defaults.max_seq_length,
        defaults.length_help,
        lower_bound=defaults.min_seq_length,
    )
    flags.DEFINE_integer(
        "train_batch_size",
        32,
        f"{defaults.example} per update over all replicas.",
        lower_bound=1,
    )
    held_out = "dev and test"
    if defaults.eval_batch_size is not None:
        held_out = "test"
        flags.DEFINE_integer(
            "eval_batch_size",
            defaults.eval_batch_size,
            f"{defaults.example} per batch on dev.",
            lower_bound=1,
        )
    flags.DEFINE_integer(
        "predict_batch_size",
        defaults.predict_batch_size,
        f"{defaults.example} per batch on {held_out}.",
        lower_bound=1,
    )


def _define_training(defaults: Defaults) -> None:
    flags.DEFINE_float(
        "learning_rate", defaults.learning_rate, "Peak learning rate.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "num_train_epochs", 3.0, "Passes over the data.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "warmup_proportion",
        0.1,
        "Share of the updates with linear warm-up; linear decay follows.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_enum(
        "optimizer",
        "adamw",
        choices.OPTIMIZERS,
        "adamw: with bias correction, which makes small data sets stable (Zhang et "
        "al., 2021, arXiv:2006.05987); bert_adamw: google-research/bert's, without.",
    )
    flags.DEFINE_float(
        "weight_decay_rate",
        0.01,
        "Decoupled weight decay of everything but biases and LayerNorm.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "random_seed",
        12345,
        "Seed of new weights, dropout and the order of examples.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )


Args = typing.TypeVar("Args", bound=FinetuningArgs)


def read_flags(
    kind: type[Args], needed: Mapping[str, str] | None = None, **parsed
) -> Args:
    """Return the values of the parsed flags, checked as far as all commands agree.

    Args:
        kind: the command's arguments; each field is named after its flag.
        needed: the flags that must not be empty, and what to do if they are.
        **parsed: values that replace those of their flags.

    Raises:
        ValueError: there is nothing to do or to learn, a number is not finite, or a
            flag that is needed is empty.
    """
    values = {"eval_batch_size": None} | flags.FLAGS.flag_values_dict() | parsed
    if not (values["do_train"] or values["do_eval"] or values["do_predict"]):
        raise ValueError(
            "Nothing to do: pass --do_train, --do_eval, --do_predict or several."
        )
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name}={value} is no number: give a finite one.")
    if values["do_train"] and not values["num_train_epochs"]:
        raise ValueError(
            "--num_train_epochs=0 trains nothing: raise it, or leave --do_train out."
        )
    output = {"output_dir": "name a folder for the model and its results"}
    for name, advice in ((needed or {}) | output).items():
        if not values[name]:
            raise ValueError(f"--{name} is empty: {advice}.")
    return kind(
        **{field.name: values[field.name] for field in dataclasses.fields(kind)}
    )
