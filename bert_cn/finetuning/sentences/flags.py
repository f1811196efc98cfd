"""The flags of run_sentence_bert, and their values. No TensorFlow here."""

import dataclasses
from collections.abc import Mapping

from absl import flags

from bert_cn.conversion import format_names
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning import tables
from bert_cn.finetuning.classification import flags as classification_flags
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.classification.flags import LABEL, ROLES, TEXT_A, TEXT_B
from bert_cn.finetuning.sentences import objectives

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

# A column of texts that mean another thing than text_a.
NEGATIVE = "negative"
_TRAIN = "train_"


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of pairs, as a group of flags names it."""

    prefix: str
    """The beginning of the names of its flags: "" or "train_"."""

    task_name: str
    """A name of `tasks.TASKS` or `tasks.OWN`."""

    data_dir: str
    """The folder of its files."""

    columns: Mapping[str, tables.Column]
    """For a user's own files: role -> the column's name or number."""

    files: tuple[str, str, str]
    """The names of a user's own files of train, dev and test; "" for the usual one."""


@dataclasses.dataclass(frozen=True)
class SentenceArgs(flags_lib.FinetuningArgs):
    """One run of run_sentence_bert."""

    task_name: str
    """The set that is measured on, and trained on if there is no `train_task_name`."""

    data_dir: str
    """The folder of its files."""

    columns: Mapping[str, tables.Column]
    """For a user's own files: one of `ROLES` -> the column's name or number."""

    train_task_name: str
    """Another set to train on; "" for none."""

    train_data_dir: str
    """The folder of its files; "" for `data_dir`."""

    train_columns: Mapping[str, tables.Column]
    """Its columns, as `columns`; a role may also be `NEGATIVE`."""

    train_file: str
    """The name of a user's own training file; "" for the usual name."""

    dev_file: str
    """The name of a user's own dev file; "" for the usual name."""

    test_file: str
    """The name of a user's own test file; "" for the usual name."""

    objective: str
    """One of `objectives.OBJECTIVES`."""

    max_score: float | None
    """The score that the cosine 1 stands for; None if the set is a known one."""

    scale: float
    """See `objectives.Objective`."""

    train_lines: str
    """For `objectives.SIMCSE` and `whitening`: a file of lines; "" for none."""

    matryoshka_dims: tuple[int, ...]
    """See `objectives.Objective`."""

    mini_batch_size: int
    """See `objectives.Objective`."""

    pooling: str | None
    """One of `format_names.POOLINGS`; None to do as the checkpoint says."""

    normalize: bool | None
    """Give embeddings length 1; None to do as the checkpoint says."""

    whitening: bool
    """Whiten embeddings, as fitted to the training sentences after training."""

    whitening_dims: int
    """The dimensions that `whitening` keeps; 0 for all."""

    @property
    def measures(self) -> bool:
        """Whether pairs with scores are needed."""
        return self.do_eval or self.do_predict

    @property
    def scored(self) -> Source:
        """The set that is measured on."""
        files = (self.train_file, self.dev_file, self.test_file)
        return Source("", self.task_name, self.data_dir, self.columns, files)

    @property
    def trained(self) -> Source:
        """The set that is trained on."""
        if not self.train_task_name:
            return self.scored
        return dataclasses.replace(
            self.scored,
            prefix=_TRAIN,
            task_name=self.train_task_name,
            data_dir=self.train_data_dir or self.data_dir,
            columns=self.train_columns,
        )


def define_flags() -> None:
    """Define the flags of `SentenceArgs`."""
    flags_lib.define_flags(
        flags_lib.Defaults("Longer texts are cut.", learning_rate=2e-5)
    )
    classification_flags.define_data_flags(
        "Pairs with scores, to measure on dev and test and for --objective=cosine, "
        "cosent and angle to train on: one of "
        f"{', '.join(objectives.MAX_SCORES)}; or tsv or jsonl for files of your own.",
        "both texts and the score",
        "text_a:sentence1,text_b:sentence2,label:score",
    )
    _define_training_set()
    _define_objective()
    _define_embedding()


def _define_training_set() -> None:
    flags.DEFINE_string(
        "train_task_name",
        "",
        "Train on another set than --task_name: for --objective=softmax and ranking "
        f"one of {', '.join(objectives.CLASSIFIED)}, tsv or jsonl.",
    )
    flags.DEFINE_alias("train_task", "train_task_name")
    flags.DEFINE_string(
        "train_data_dir",
        "",
        "Folder of the files of --train_task_name; without the flag, --data_dir.",
    )
    flags.DEFINE_list(
        "train_columns",
        [],
        "The columns of --train_task_name, as in --columns; label is a score or class. "
        "For --objective=ranking label may be missing if every pair means the same, or "
        "negative may take its place: the column of a text that means another thing.",
    )
    flags.DEFINE_string(
        "train_lines",
        "",
        "For --objective=simcse, and for --whitening without --do_train: a file with a "
        "sentence on each line, without labels.",
    )


def _define_objective() -> None:
    flags.DEFINE_enum(
        "objective",
        objectives.COSINE,
        objectives.OBJECTIVES,
        "cosine: its squared difference from the score; softmax: the class, from u, v "
        "and |u-v| (both Reimers and Gurevych, 2019, arXiv:1908.10084); ranking: the "
        "second text among those of the batch (Henderson et al., 2017, "
        "arXiv:1705.00652); cosent: the order of the cosines (Su, 2022, "
        "kexue.fm/archives/8847); angle: that of angles between complex vectors (Li "
        "and Li, 2023, arXiv:2309.12871); simcse: each line of --train_lines among "
        "those of the batch, by dropout alone (Gao et al., 2021, arXiv:2104.08821).",
    )
    flags.DEFINE_float(
        "max_score",
        None,
        "For --objective=cosine with tsv or jsonl: the score whose cosine is 1.",
        lower_bound=1e-6,
    )
    flags.DEFINE_float(
        "scale",
        20.0,
        "For all objectives but cosine and softmax: cosines are multiplied by it, the "
        "inverse of the temperature.",
        lower_bound=0.0,
    )
    flags.DEFINE_alias("ranking_scale", "scale")
    flags.DEFINE_list(
        "matryoshka_dims",
        [],
        "Train the first dimensions of embeddings to be embeddings, too: widths such "
        "as 128,64 beside the full one (Kusupati et al., 2022, arXiv:2205.13147); "
        "SentenceTransformer(folder, truncate_dim=64) uses them.",
    )
    flags.DEFINE_integer(
        "mini_batch_size",
        0,
        "For ranking, cosent, angle and simcse: examples of a device that go through "
        "the model at a time, so that --train_batch_size may be larger than memory "
        "holds (GradCache: Gao et al., 2021, arXiv:2101.06983; a second forward pass "
        "is its price); 0: all.",
        lower_bound=0,
    )


def _define_embedding() -> None:
    flags.DEFINE_enum(
        "pooling",
        None,
        format_names.POOLINGS,
        "How token states become an embedding; without the flag, as the checkpoint's "
        "folder says, or mean.",
    )
    flags.DEFINE_bool(
        "normalize",
        None,
        "Whether embeddings have length 1; without the flag, as the checkpoint's "
        "folder says, or no.",
    )
    flags.DEFINE_bool(
        "whitening",
        False,
        "Take the common part out of embeddings and make their dimensions "
        "uncorrelated, as fitted to the training sentences after training (Su et al., "
        "2021, arXiv:2103.15316). Without --do_train the checkpoint itself is whitened "
        "and written to best/ in --output_dir.",
    )
    flags.DEFINE_integer(
        "whitening_dims",
        0,
        "The dimensions that --whitening keeps, those of the largest variance; 0: all.",
        lower_bound=0,
    )


def read_flags() -> SentenceArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: one is missing, is malformed or contradicts another one.
    """
    values = flags.FLAGS.flag_values_dict()
    measures = values["do_eval"] or values["do_predict"]
    trains_elsewhere = values["train_task_name"] or values["train_lines"]
    needed = {
        "task_name": "name the pairs to measure on",
        "data_dir": "name the folder of the task's files",
    }
    args = flags_lib.read_flags(
        SentenceArgs,
        needed=needed if measures or not trains_elsewhere else {},
        columns=classification_flags.parse_columns(ROLES),
        train_columns=classification_flags.parse_columns((*ROLES, NEGATIVE), _TRAIN),
        matryoshka_dims=_parse_widths(values["matryoshka_dims"]),
    )
    _refuse_flags_of_no_set(args)
    _check_lines(args)
    if args.matryoshka_dims and args.objective == objectives.SOFTMAX:
        raise ValueError(
            "--matryoshka_dims does not suit --objective=softmax, whose classifier "
            "takes one width: leave it out, or choose another objective."
        )
    if args.mini_batch_size and args.objective not in objectives.IN_BATCH:
        raise ValueError(
            f"--mini_batch_size is for {', '.join(objectives.IN_BATCH)}, not "
            f"--objective={args.objective}, whose examples do not meet: lower "
            "--train_batch_size instead."
        )
    if args.mini_batch_size and args.train_batch_size % args.mini_batch_size:
        raise ValueError(
            f"--train_batch_size={args.train_batch_size} is no multiple of "
            f"--mini_batch_size={args.mini_batch_size}: change one of them."
        )
    if args.whitening_dims and not args.whitening:
        raise ValueError(
            "--whitening_dims is for --whitening: pass that too, or leave it out."
        )
    if args.do_train and args.objective != objectives.SIMCSE:
        _check_columns(args.trained, args.objective)
    if args.measures:
        _check_columns(args.scored, objectives.COSINE)
    return args


def _parse_widths(words: list[str]) -> tuple[int, ...]:
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise ValueError(
            f"--matryoshka_dims={','.join(words)} must be whole numbers from 1 on, "
            "with commas between them: write 128,64, for example."
        )
    return tuple(sorted({int(word) for word in words}, reverse=True))


def _check_lines(args: SentenceArgs) -> None:
    """Refuse --objective=simcse without its lines, and lines without it."""
    is_simcse = args.objective == objectives.SIMCSE
    whitens_alone = args.whitening and not args.do_train
    if args.train_lines and not is_simcse and not whitens_alone:
        raise ValueError(
            f"--train_lines is for --objective=simcse, not {args.objective}: pass "
            "that, or leave it out."
        )
    if is_simcse and args.train_task_name:
        raise ValueError(
            "--objective=simcse learns from --train_lines: leave out --train_task_name."
        )
    if is_simcse and args.do_train and not args.train_lines:
        raise ValueError(
            "--train_lines is empty: name the file of sentences that "
            "--objective=simcse learns from."
        )


def _refuse_flags_of_no_set(args: SentenceArgs) -> None:
    """Refuse flags that say something of a set which is not named."""
    of_train = ("train_data_dir", "train_columns")
    of_own = ("train_file", "dev_file", "test_file")
    has_own = any(tasks.is_own(each.task_name) for each in (args.scored, args.trained))
    for names, is_fine, owner in (
        (of_train, bool(args.train_task_name), "--train_task_name"),
        (of_own, has_own, "files of your own (--task_name=tsv or jsonl)"),
    ):
        for name in names:
            if getattr(args, name) and not is_fine:
                raise ValueError(
                    f"--{name} is for {owner}: pass that too, or leave it out."
                )


def _check_columns(source: Source, objective: str) -> None:
    """Refuse columns of a known set, and columns that the objective cannot use."""
    columns, prefix = source.columns, source.prefix
    if NEGATIVE in columns and (objective != objectives.RANKING or LABEL in columns):
        raise ValueError(
            f"--{prefix}columns has negative, which is for --objective=ranking, "
            "instead of label: name one of the two."
        )
    if tasks.is_own(source.task_name):
        needs_label = objective != objectives.RANKING
        roles = (TEXT_A, TEXT_B, LABEL) if needs_label else (TEXT_A, TEXT_B)
        classification_flags.require_columns(columns, roles, source.task_name, prefix)
    elif columns:
        raise ValueError(
            f"--{prefix}task_name={source.task_name} is a set whose columns are known: "
            f"leave out --{prefix}columns, or pass --{prefix}task_name=tsv or jsonl."
        )
