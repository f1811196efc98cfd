"""The flags of run_pretraining, and their values as one. Imports no TensorFlow.

tpu.preflight takes the same flags, so that a recipe's flag file suits both.
"""

import dataclasses
import functools
from collections.abc import Callable

from absl import flags

from bert_cn.training import choices
from data_prep import command_line

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

# The shape of records if neither a manifest nor a flag gives it: Google BERT's.
DEFAULT_MAX_SEQ_LENGTH = 128
DEFAULT_MAX_PREDICTIONS_PER_SEQ = 20
# The kind of flag for each type of field.
_DEFINE = {
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
    bool | None: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
}


@dataclasses.dataclass(frozen=True)
class PretrainingArgs:
    """One training run; the defaults are those of the flags."""

    bert_config_file: str = ""
    """The model's sizes; "" for those of the run's own or the initial checkpoint."""

    input_file: str = ""
    """Globs of training records, separated by commas, each with a weight or none."""

    eval_input_file: str = ""
    """Globs of records to evaluate on; "" for `input_file`."""

    output_dir: str = ""
    """The folder of checkpoints, TensorBoard files, curves and results."""

    vocab_file: str = ""
    """The vocabulary of records without a manifest; "" if unknown."""

    do_lower_case: bool | None = None
    """Whether records without a manifest were lower-cased; None if unknown."""

    init_checkpoint: str = ""
    """The weights to start from: anything that convert_checkpoint reads, or ""."""

    resize_embeddings: bool = False
    """Fit `init_checkpoint` to the vocabulary of the records."""

    max_seq_length: int | None = None
    """Tokens per sequence; None to take it from the records' manifests."""

    max_predictions_per_seq: int | None = None
    """Masked positions per sequence; None to take it from the manifests."""

    do_train: bool = False
    """Train."""

    do_eval: bool = False
    """Evaluate, after training and perhaps during it."""

    train_batch_size: int = 32
    """Sequences per update over all replicas."""

    eval_batch_size: int = 32
    """Sequences per evaluation batch over all replicas."""

    learning_rate: float = 5e-5
    """The peak learning rate."""

    optimizer: str = choices.OPTIMIZERS[0]
    """One of `choices.OPTIMIZERS`."""

    muon_learning_rate: float = 0.0
    """The peak rate of Muon's kernels, if `optimizer` is muon."""

    adam_beta2: float = 0.999
    """The decay of second moments."""

    clip_norm: float = 1.0
    """The largest global norm of the gradients."""

    next_sentence_weight: float = 1.0
    """The factor of the next-sentence loss."""

    initial_masked_lm_prob: float = 0.0
    """The share of tokens that is masked at first, to fall to the records'; 0 to stay
    there."""

    pretraining_dropout: float | None = None
    """Both dropout rates of this run; None for those of the configuration."""

    embedding_initializer_range: float | None = None
    """The standard deviation of new embeddings; None for the configuration's."""

    kernel_initializer: str = choices.KERNEL_INITIALIZERS[0]
    """One of `choices.KERNEL_INITIALIZERS`, for new kernels."""

    output_bias_initializer: str = choices.OUTPUT_BIAS_INITIALIZERS[0]
    """One of `choices.OUTPUT_BIAS_INITIALIZERS`, for a new masked-LM head."""

    attention_initializer: str = choices.ATTENTION_INITIALIZERS[0]
    """One of `choices.ATTENTION_INITIALIZERS`, for new queries and keys."""

    schedule: str = choices.SCHEDULES[0]
    """One of `choices.SCHEDULES`, the learning rate after the warm-up."""

    decay_power: float = 1.0
    """The power of the learning rate's polynomial decay; 1 is linear."""

    weight_decay_rate: float = 0.01
    """Decoupled; biases and LayerNorm have none."""

    gradient_accumulation_steps: int = 1
    """Micro-batches that each replica's share of a batch is computed in."""

    recompute_layers: bool = False
    """Compute layers again in the backward pass, to save memory."""

    output_vocabulary: str = choices.OUTPUT_VOCABULARIES[0]
    """One of `choices.OUTPUT_VOCABULARIES`, the tokens of the training softmax."""

    precision: str = choices.PRECISIONS[0]
    """One of `choices.PRECISIONS`."""

    jit_compile: bool = False
    """Compile the update with XLA."""

    num_train_steps: int = 100_000
    """Updates in the whole run, those before a resumption included."""

    train_minutes: float = 0.0
    """Minutes of the whole run, in place of `num_train_steps`; 0 for none."""

    num_warmup_steps: int = 10_000
    """Updates of linear warm-up."""

    save_checkpoints_steps: int = 1000
    """Updates between checkpoints."""

    save_checkpoints_minutes: float = 0.0
    """Minutes after which a checkpoint is saved too; 0 for never."""

    max_checkpoints: int = 5
    """The newest checkpoints that are kept."""

    eval_every_steps: int = 0
    """With `do_eval`, updates between evaluations; 0 for one at the end."""

    max_eval_steps: int = 100
    """The most batches of an evaluation; 0 for all."""

    iterations_per_loop: int | None = None
    """The most updates per call into TensorFlow; None for 1000 on a TPU, else 10."""

    log_steps: int = 100
    """Updates between step lines."""

    interrupted_exit_code: int = 0
    """The exit code after a signal ended the run before its last step."""

    random_seed: int = 12345
    """Decides initial weights, dropout and the order of records."""

    tpu: str = ""
    """A TPU's name, "local" or grpc://address:port; "" for none."""

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The batch sizes in use, by the names of their flags."""
        in_use = {"train_batch_size": self.do_train, "eval_batch_size": self.do_eval}
        return {name: getattr(self, name) for name in in_use if in_use[name]}

    @property
    def paths(self) -> dict[str, str]:
        """The paths that the hosts of a TPU open themselves, by the names of flags."""
        names = ("input_file", "eval_input_file", "output_dir", "init_checkpoint")
        return {name: getattr(self, name) for name in names}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define a flag for each field of `PretrainingArgs`, and older names of some.

    A flag has the type and the default of its field.

    Args:
        values: where to define them; the command's own by default.
    """
    define = functools.partial(_define, values)
    define(
        "bert_config_file",
        "Sizes of the model: configs/models/bert_tiny_cn.json, ...; without the flag, "
        "those of --init_checkpoint.",
    )
    define(
        "input_file",
        "TFRecords to train on: files or globs, separated by commas, each with a "
        "weight or none (news*.tfrecord:2,wiki*.tfrecord:1).",
    )
    define(
        "eval_input_file",
        "TFRecords to evaluate on; without the flag, those of --input_file.",
    )
    define(
        "output_dir", "Folder for checkpoints, TensorBoard files, curves and results."
    )
    define("vocab_file", "The vocabulary, if no manifest lies beside the records.")
    define(
        "do_lower_case",
        "Whether the records were lower-cased, if no manifest lies beside them.",
    )
    define(
        "init_checkpoint",
        "Start from these weights: anything that convert_checkpoint reads.",
    )
    define(
        "resize_embeddings",
        "Let --init_checkpoint have another vocabulary: tokens of both keep their "
        "rows.",
    )
    define(
        "max_seq_length",
        "Tokens per sequence, checked against the records; without the flag, taken "
        f"from their manifest ({DEFAULT_MAX_SEQ_LENGTH} if there is none).",
        lower_bound=1,
    )
    define(
        "max_predictions_per_seq",
        "Masked positions per sequence, checked against the records; without the flag, "
        f"taken from their manifest ({DEFAULT_MAX_PREDICTIONS_PER_SEQ} if there is "
        "none).",
        lower_bound=1,
    )
    _define_step(define)
    _define_initial_weights(define)
    _define_loop(define)
    flags.DEFINE_alias("eval_steps", "eval_every_steps", flag_values=values)
    define(
        "interrupted_exit_code",
        "Exit code after SIGTERM, SIGINT or SIGHUP stopped the run before its last "
        f"step; {command_line.TRANSIENT} tells tpu.supervise to resume it.",
        lower_bound=0,
        upper_bound=255,
    )
    define(
        "random_seed",
        "Seed of initial weights, dropout and the order of records.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )
    define("tpu", "Train on a TPU: its name, local, or grpc://address:port.")


def _define_step(define: Callable[..., None]) -> None:
    define("train_batch_size", "Sequences per update over all replicas.", lower_bound=1)
    define("learning_rate", "Peak learning rate.", lower_bound=0.0)
    define(
        "optimizer",
        "bert_adamw: google-research/bert's, without bias correction; adamw: the "
        "paper's; lamb: for batches of thousands; muon: Muon for the kernels of "
        "encoder and masked-LM head, adamw for the rest.",
        enum_values=choices.OPTIMIZERS,
    )
    define(
        "muon_learning_rate",
        "With --optimizer=muon, the peak learning rate of Muon's kernels; "
        "--learning_rate is adamw's.",
        lower_bound=0.0,
    )
    define(
        "adam_beta2",
        "Decay of second moments; 0.98 forgets faster.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    define("clip_norm", "Clip gradients to this global norm.", lower_bound=0.0)
    define(
        "next_sentence_weight",
        "Factor of the next-sentence loss; with 1 it keeps a small model from learning "
        "masked tokens.",
        lower_bound=0.0,
    )
    define(
        "initial_masked_lm_prob",
        "Begin with this share of masked tokens, such as 0.3, and fall linearly to "
        "that of the records; for records made with --masking_time=dynamic. 0: no "
        "change.",
        lower_bound=0.0,
        upper_bound=0.5,
    )
    define(
        "pretraining_dropout",
        "Both dropout rates of this run; checkpoints and exports keep those of the "
        "configuration.",
        lower_bound=0.0,
        upper_bound=0.99,
    )
    define(
        "schedule",
        "The learning rate after its warm-up: polynomial (google-research/bert's, see "
        "--decay_power), linear (transformers'), cosine, triangle (rises to 25 % of "
        "the run) or wsd (constant, then down in the last 20 %).",
        enum_values=choices.SCHEDULES,
    )
    define(
        "decay_power",
        "Power of the learning rate's polynomial decay; 1 is linear.",
        lower_bound=0.0,
    )
    define(
        "weight_decay_rate",
        "Decoupled weight decay of everything but biases and LayerNorm.",
        lower_bound=0.0,
    )
    define(
        "gradient_accumulation_steps",
        "Compute each batch in this many micro-batches; the result is that of the "
        "whole batch.",
        lower_bound=1,
    )
    define(
        "recompute_layers",
        "Compute layers again in the backward pass: less memory, up to a third more "
        "work.",
    )
    define(
        "output_vocabulary",
        "The tokens of the softmax in training: all, or those that occur in the "
        "records (seen), which costs less; the output bias of the others is then so "
        "low that they are never predicted.",
        enum_values=choices.OUTPUT_VOCABULARIES,
    )
    define(
        "precision",
        "The dtype of computation; variables, logits and losses are always float32.",
        enum_values=choices.PRECISIONS,
    )
    define("jit_compile", "Compile the update with XLA; for one CPU or one GPU.")


def _define_initial_weights(define: Callable[..., None]) -> None:
    define(
        "embedding_initializer_range",
        "Standard deviation of new embeddings; without the flag, the configuration's "
        "initializer_range.",
        lower_bound=0.0,
    )
    define(
        "kernel_initializer",
        "Standard deviation of new kernels: the configuration's initializer_range "
        "(truncated_normal) or 1/sqrt(fan-in) (lecun_normal).",
        enum_values=choices.KERNEL_INITIALIZERS,
    )
    define(
        "output_bias_initializer",
        "A new output bias: zeros, or the log frequency of each token in the records "
        "(unigram).",
        enum_values=choices.OUTPUT_BIAS_INITIALIZERS,
    )
    define(
        "attention_initializer",
        "New attention heads: random, or each looking at one neighbor of its own token "
        "(neighbors: sinusoidal positions, and queries that meet the key beside them).",
        enum_values=choices.ATTENTION_INITIALIZERS,
    )


def _define_loop(define: Callable[..., None]) -> None:
    define("do_train", "Whether to train.")
    define("do_eval", "Whether to evaluate, after training.")
    define("num_train_steps", "Updates in the whole run.", lower_bound=1)
    define(
        "train_minutes",
        "Train for this many minutes, in place of --num_train_steps: the learning rate "
        "reaches 0 then, also if the run is interrupted and resumed. Evaluations "
        "count, starting does not; 0: by steps.",
        lower_bound=0.0,
    )
    define("num_warmup_steps", "Updates of linear warm-up.", lower_bound=0)
    define("save_checkpoints_steps", "Updates between checkpoints.", lower_bound=1)
    define(
        "save_checkpoints_minutes",
        "Also save a checkpoint after this many minutes; 0: by steps only.",
        lower_bound=0.0,
    )
    define("max_checkpoints", "Newest checkpoints to keep.", lower_bound=1)
    define(
        "eval_every_steps",
        "With --do_eval, also evaluate after every this many updates; 0: at the end "
        "only.",
        lower_bound=0,
    )
    define("eval_batch_size", "Sequences per evaluation batch.", lower_bound=1)
    define(
        "max_eval_steps",
        "Batches to evaluate at most, on any records; 0 for all.",
        lower_bound=0,
    )
    define(
        "iterations_per_loop",
        "Updates per call into TensorFlow at most, fewer if they take long; without "
        "the flag, 1000 on a TPU, else 10.",
        lower_bound=1,
    )
    define("log_steps", "Updates between step lines.", lower_bound=1)


def _define(values: flags.FlagValues, name: str, text: str, **limits) -> None:
    """Define one flag; `limits` are its bounds, or `enum_values` for a choice."""
    (kind,) = (f.type for f in dataclasses.fields(PretrainingArgs) if f.name == name)
    define = flags.DEFINE_enum if "enum_values" in limits else _DEFINE[kind]
    default = getattr(PretrainingArgs, name)
    define(name, default, help=text, flag_values=values, **limits)


def read_flags(values: flags.FlagValues = flags.FLAGS) -> PretrainingArgs:
    """Return the values of the parsed flags."""
    names = [field.name for field in dataclasses.fields(PretrainingArgs)]
    return PretrainingArgs(**{name: values[name].value for name in names})


def check_run(args: PretrainingArgs) -> None:
    """Check that a run has work and a folder.

    Raises:
        ValueError: it has not, or TensorFlow finds no checkpoints under that name.
    """
    if not (args.do_train or args.do_eval):
        raise ValueError("Nothing to do: pass --do_train, --do_eval or both.")
    if not args.output_dir:
        raise ValueError("--output_dir is empty: name a folder for the checkpoints.")
    for character in "[\\":
        if character in args.output_dir:
            raise ValueError(
                f"--output_dir={args.output_dir} has a {character} in it, which "
                "TensorFlow takes for a wildcard when it looks for a checkpoint: name "
                "a folder without."
            )
    if args.initial_masked_lm_prob and args.train_minutes:
        raise ValueError(
            "--initial_masked_lm_prob falls with the steps of a run, and a run of "
            "--train_minutes does not know how many it will make: pass one of the two, "
            "the first with --num_train_steps."
        )
    if (args.optimizer == "muon") != bool(args.muon_learning_rate):
        raise ValueError(
            f"--optimizer={args.optimizer} and --muon_learning_rate="
            f"{args.muon_learning_rate:g} do not go together: pass --optimizer=muon "
            "with a rate such as --muon_learning_rate=0.004, or leave out the rate."
        )
    if args.optimizer == "muon" and not args.learning_rate:
        raise ValueError(
            "--learning_rate=0 is no schedule for --optimizer=muon, whose kernels "
            "follow the same curve: pass a rate such as --learning_rate=0.01."
        )


def count_training_predictions(
    args: PretrainingArgs, max_seq_length: int, max_predictions_per_seq: int
) -> int:
    """Return the masked positions per sequence in training.

    Args:
        args: the run's, which may begin with more masks than the records say.
        max_seq_length: of the records.
        max_predictions_per_seq: of the records.
    """
    at_first = round(args.initial_masked_lm_prob * max_seq_length)
    return max(max_predictions_per_seq, at_first)


def fill_in_shape(args: PretrainingArgs) -> PretrainingArgs:
    """Return the flags with the shape of records that have no manifest."""
    return dataclasses.replace(
        args,
        max_seq_length=args.max_seq_length or DEFAULT_MAX_SEQ_LENGTH,
        max_predictions_per_seq=(
            args.max_predictions_per_seq or DEFAULT_MAX_PREDICTIONS_PER_SEQ
        ),
    )
