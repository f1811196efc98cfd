"""The settings of a training run. Imports no TensorFlow.

`flags` defines a flag for each; tpu.preflight and tests build them without flags.
"""

import dataclasses

from bert_cn.training import choices

# The shape of records if neither a manifest nor a flag gives it: Google BERT's.
DEFAULT_MAX_SEQ_LENGTH = 128
DEFAULT_MAX_PREDICTIONS_PER_SEQ = 20


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

    verify_records: bool = False
    """Check every byte of the records against their manifests before training."""

    vocab_file: str = ""
    """The vocabulary of records without a manifest; "" if unknown."""

    do_lower_case: bool | None = None
    """Whether records without a manifest were lower-cased; None if unknown."""

    init_checkpoint: str = ""
    """The weights to start from: anything that convert_checkpoint reads, or ""."""

    resize_embeddings: bool = False
    """Fit `init_checkpoint` to the vocabulary of the records."""

    add_words: str = ""
    """Words that the records' vocabulary has and that of `init_checkpoint` lacks."""

    resize_positions: int = 0
    """Positions that the model of `init_checkpoint` is to have; 0 for its own."""

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

    layer_decay: float = 1.0
    """Factor of the learning rate for each layer further down from the heads."""

    l2_to_init: float = 0.0
    """Factor of the pull to the weights that the run started from; 0 for none."""

    freeze: str = ""
    """Parts of the encoder that are not trained, see `freezing.freeze`."""

    next_sentence_weight: float = 1.0
    """The factor of the next-sentence loss."""

    initial_masked_lm_prob: float = 0.0
    """The share of tokens that is masked at first, to fall to the records'; 0 to stay
    there."""

    shift_positions: bool = False
    """Number the positions of each batch from a random one on."""

    teacher_checkpoint: str = ""
    """The model whose predictions are learned too, read like `init_checkpoint`."""

    teacher_weight: float = 0.5
    """The share of the masked-LM loss that the teacher's predictions have."""

    teacher_relation_weight: float = 0.0
    """Factor of the loss of the teacher's relations between tokens; 0 for none."""

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

    num_train_epochs: float = 0.0
    """Passes over the records, in place of `num_train_steps`; 0 for none."""

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
        names = (
            *("input_file", "eval_input_file", "output_dir"),
            *("init_checkpoint", "teacher_checkpoint"),
        )
        return {name: getattr(self, name) for name in names}


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
    if args.num_train_epochs and args.train_minutes:
        raise ValueError(
            "--num_train_epochs and --train_minutes both say how long to train: pass "
            "one of the two."
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
