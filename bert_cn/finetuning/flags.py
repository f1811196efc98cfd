"""The flags that every fine-tuning command has, defined by the command itself."""

import dataclasses

from absl import flags

from bert_cn.training import optimization

# A flag belongs to the command that makes its `CommonFlags`: --help lists it there.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class Defaults:
    """In what the common flags of one command differ from those of the others.

    Attributes:
        length_help: help of --max_seq_length.
        max_seq_length: its default.
        min_seq_length: the least that it takes.
        learning_rate: default of the flag.
        predict_help: help of --do_predict.
        unit: what batches are made of.
        eval_batch_size: default of the flag; None: there is none, and
            --predict_batch_size is for dev too.
        predict_batch_size: default of the flag.
        compiled_multiple: widths of batches are multiples of it with --jit_compile,
            where each width costs a compilation.
    """

    length_help: str
    max_seq_length: int = 128
    min_seq_length: int = 4
    learning_rate: float = 5e-5
    predict_help: str = "Whether to predict on test."
    unit: str = "Examples"
    eval_batch_size: int | None = 64
    predict_batch_size: int = 64
    compiled_multiple: int = 32


class CommonFlags:
    """Defines the flags when it is made, and holds them under their names.

    Args:
        defaults: in what they differ.
    """

    def __init__(self, defaults: Defaults):
        self._defaults = defaults
        self._define_places()
        self._define_what_to_do()
        self._define_batches()
        self._define_training()

    def _define_places(self) -> None:
        self.output_dir = flags.DEFINE_string(
            "output_dir", "", "Folder for the model, results and predictions."
        )
        self.overwrite = flags.DEFINE_bool(
            "overwrite",
            False,
            "Let --do_train replace model, results and curves of an earlier run.",
        )
        self.init_checkpoint = flags.DEFINE_string(
            "init_checkpoint",
            "",
            "Start from these weights: anything that convert_checkpoint reads. Empty: "
            "random weights by --bert_config_file and --vocab_file; without --do_train "
            "the model in --output_dir.",
        )
        self.bert_config_file = flags.DEFINE_string(
            "bert_config_file",
            "",
            "Sizes of the model, where the checkpoint's folder does not say them.",
        )
        self.vocab_file = flags.DEFINE_string(
            "vocab_file", "", "The vocabulary, where the checkpoint's folder has none."
        )
        self.do_lower_case = flags.DEFINE_bool(
            "do_lower_case",
            None,
            "Whether to lower-case; without the flag, what the checkpoint says.",
        )
        self.cache_dir = flags.DEFINE_string(
            "cache_dir", "", "Keep encoded examples here, for runs on the same data."
        )

    def _define_what_to_do(self) -> None:
        self.do_train = flags.DEFINE_bool("do_train", False, "Whether to train.")
        self.do_eval = flags.DEFINE_bool(
            "do_eval",
            False,
            "Whether to measure on dev, after each epoch and at the end.",
        )
        self.do_predict = flags.DEFINE_bool(
            "do_predict", False, self._defaults.predict_help
        )
        self.precision = flags.DEFINE_enum(
            "precision",
            "float32",
            ["float32", "mixed_bfloat16"],
            "What is computed in; variables, logits and losses are float32 either way.",
        )
        self.jit_compile = flags.DEFINE_bool(
            "jit_compile", False, "Compile the step with XLA; a TPU always does."
        )
        self.tpu = flags.DEFINE_string(
            "tpu", "", "Train on a TPU: its name, local, or grpc://address:port."
        )

    def _define_batches(self) -> None:
        defaults = self._defaults
        self.max_seq_length = flags.DEFINE_integer(
            "max_seq_length",
            defaults.max_seq_length,
            defaults.length_help,
            lower_bound=defaults.min_seq_length,
        )
        self.train_batch_size = flags.DEFINE_integer(
            "train_batch_size",
            32,
            f"{defaults.unit} per update over all replicas.",
            lower_bound=1,
        )
        self.batch_sizes = [self.train_batch_size]
        held_out = "dev and test"
        if defaults.eval_batch_size is not None:
            held_out = "test"
            self.eval_batch_size = flags.DEFINE_integer(
                "eval_batch_size",
                defaults.eval_batch_size,
                f"{defaults.unit} per batch on dev.",
                lower_bound=1,
            )
            self.batch_sizes.append(self.eval_batch_size)
        self.predict_batch_size = flags.DEFINE_integer(
            "predict_batch_size",
            defaults.predict_batch_size,
            f"{defaults.unit} per batch on {held_out}.",
            lower_bound=1,
        )
        self.batch_sizes.append(self.predict_batch_size)

    def _define_training(self) -> None:
        self.learning_rate = flags.DEFINE_float(
            "learning_rate",
            self._defaults.learning_rate,
            "Peak learning rate.",
            lower_bound=0.0,
        )
        self.num_train_epochs = flags.DEFINE_float(
            "num_train_epochs", 3.0, "Passes over the data.", lower_bound=0.0
        )
        self.warmup_proportion = flags.DEFINE_float(
            "warmup_proportion",
            0.1,
            "Share of the updates with linear warm-up; linear decay follows.",
            lower_bound=0.0,
            upper_bound=1.0,
        )
        self.optimizer = flags.DEFINE_enum(
            "optimizer",
            "adamw",
            list(optimization.OPTIMIZERS),
            "adamw: with bias correction, which makes small data sets stable (Zhang et "
            "al., 2021, arXiv:2006.05987); bert_adamw: google-research/bert's, "
            "without.",
        )
        self.weight_decay_rate = flags.DEFINE_float(
            "weight_decay_rate",
            0.01,
            "Decoupled weight decay, of all but biases and LayerNorm.",
            lower_bound=0.0,
        )
        self.random_seed = flags.DEFINE_integer(
            "random_seed",
            12345,
            "Seed of new weights, dropout and the order of examples.",
            lower_bound=0,
            upper_bound=2**32 - 1,
        )
