"""Train sentence embeddings, or measure those of any BERT.

    python -m bert_cn.run_sentence_bert --task_name=sts-b-zh --data_dir=data/zh_sts_b \
        --init_checkpoint=out/mini --do_train --do_eval --do_predict \
        --output_dir=out/sentences

    python -m bert_cn.run_sentence_bert --objective=ranking --train_task_name=ocnli \
        --train_data_dir=data/ocnli --task_name=sts-b-zh --data_dir=data/zh_sts_b \
        --init_checkpoint=out/mini --do_train --do_eval --output_dir=out/nli

Leaves in --output_dir: best/, a folder that SentenceTransformer("best") loads, with the
weights that did best on dev; eval_results.txt; tensorboard/; and with --do_predict
test_results.tsv.
"""

import tensorflow as tf
from absl import flags

from bert_cn.conversion import format_names, sentence_transformer
from bert_cn.finetuning import command
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.sentences import data as sentences_data
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.finetuning.sentences import results, sources
from data_prep import command_line

_COMMAND = command.Command(
    flags_lib.Defaults("Longer texts are cut.", learning_rate=2e-5)
)
_TASK_NAME = flags.DEFINE_string(
    "task_name",
    "",
    "Pairs with scores, to measure on dev and test and for --objective=cosine to train "
    f"on: one of {', '.join(sentences_data.MAX_SCORES)}; or tsv or jsonl for files of "
    "your own.",
)
flags.DEFINE_alias("task", "task_name")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of the task's files.")
_TEXT_A = flags.DEFINE_string(
    "text_a",
    "",
    "With tsv or jsonl: the column of the first text, by its name in the first line, "
    "or by number from 0 where the file has no such line.",
)
_TEXT_B = flags.DEFINE_string("text_b", "", "The column of the second text.")
_LABEL = flags.DEFINE_string("label", "", "The column of the score.")
_TRAIN_FILE = flags.DEFINE_string(
    "train_file",
    "",
    "With tsv or jsonl, in --task_name or --train_task_name: default train.tsv, ...",
)
_DEV_FILE = flags.DEFINE_string("dev_file", "", "Likewise: default dev.tsv, ...")
_TEST_FILE = flags.DEFINE_string("test_file", "", "Likewise: default test.tsv, ...")
_TRAIN_TASK_NAME = flags.DEFINE_string(
    "train_task_name",
    "",
    "Train on another set than --task_name: for --objective=softmax and ranking one of "
    f"{', '.join(sentences_data.CLASSIFIED)}, tsv or jsonl.",
)
flags.DEFINE_alias("train_task", "train_task_name")
_TRAIN_DATA_DIR = flags.DEFINE_string(
    "train_data_dir", "", "Its folder; --data_dir if empty."
)
_TRAIN_TEXT_A = flags.DEFINE_string("train_text_a", "", "As --text_a, for it.")
_TRAIN_TEXT_B = flags.DEFINE_string("train_text_b", "", "As --text_b, for it.")
_TRAIN_LABEL = flags.DEFINE_string(
    "train_label",
    "",
    "The column of its score or class; for --objective=ranking none if every pair "
    "means the same.",
)
_TRAIN_NEGATIVE = flags.DEFINE_string(
    "train_negative",
    "",
    "For --objective=ranking, instead of --train_label: the column of a text that "
    "means another thing.",
)
_OBJECTIVE = flags.DEFINE_enum(
    "objective",
    sentences_model.COSINE,
    list(sentences_model.OBJECTIVES),
    "cosine: the square of its distance to the score; softmax: the class, from u, v "
    "and |u-v| (both Reimers and Gurevych, 2019, arXiv:1908.10084); ranking: the "
    "second text among those of the batch (Henderson et al., 2017, arXiv:1705.00652).",
)
_MAX_SCORE = flags.DEFINE_float(
    "max_score",
    None,
    "For --objective=cosine with tsv or jsonl: the score whose cosine is 1.",
    lower_bound=1e-6,
)
_RANKING_SCALE = flags.DEFINE_float(
    "ranking_scale",
    20.0,
    "For --objective=ranking: what cosines are multiplied by before the softmax.",
    lower_bound=0.0,
)
_POOLING = flags.DEFINE_enum(
    "pooling",
    None,
    list(format_names.POOLINGS),
    "How token states become an embedding; without the flag, what the checkpoint's "
    "folder says, or mean.",
)
_NORMALIZE = flags.DEFINE_bool(
    "normalize",
    None,
    "Whether embeddings have length 1; without the flag, what the checkpoint's folder "
    "says, or no.",
)


def main(arguments: list[str]) -> None:
    """Check the flags, then run."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    _COMMAND.run(_run)


def _run(strategy: tf.distribute.Strategy, output_dir: str) -> None:
    """Read data and checkpoint, build, train, measure."""
    pairs, objective = None, None
    if _COMMAND.do_train.value:
        pairs, objective = sources.read_training_pairs(
            _training_source(),
            _OBJECTIVE.value,
            _RANKING_SCALE.value,
            _MAX_SCORE.value,
        )
    data = _read_scored(pairs)
    checkpoint = _COMMAND.find_checkpoint(
        "the checkpoint to measure by --init_checkpoint"
    )
    embedding = _find_embedding(checkpoint)
    start = _COMMAND.load_start(checkpoint)
    encoded = {
        name: sentences_data.Pairs(split.table, {})
        for name, split in data.items()
        if name != tasks.TRAIN
    }
    if pairs is not None:
        encoded[tasks.TRAIN] = pairs
    features = {
        name: sentences_data.encode_pairs(
            each, name, start, _COMMAND.max_seq_length.value, _COMMAND.cache_dir.value
        )
        for name, each in encoded.items()
    }
    encoder, trainer = _COMMAND.build_trainer(
        strategy,
        lambda: sentences_model.SentenceEncoder(
            start, embedding, objective, _COMMAND.max_seq_length.value
        ),
    )
    reporter = results.Reporter(trainer, data, features, output_dir)
    _COMMAND.train_and_report(trainer, encoder, features, reporter, output_dir)


def _check_flags() -> None:
    needed = (
        (_TASK_NAME, "name the pairs to measure on"),
        (_DATA_DIR, "name the folder of the task's files"),
    )
    is_needed = _measures() or not _TRAIN_TASK_NAME.value
    _COMMAND.check_flags(needed if is_needed else ())
    _check_sources()


def _check_sources() -> None:
    """Refuse flags that say something of a set which is not named."""
    of_train = (
        _TRAIN_DATA_DIR,
        _TRAIN_TEXT_A,
        _TRAIN_TEXT_B,
        _TRAIN_LABEL,
        _TRAIN_NEGATIVE,
    )
    of_own = (_TRAIN_FILE, _DEV_FILE, _TEST_FILE)
    has_own = _scored_source().is_own or _training_source().is_own
    for group, is_fine, owner in (
        (of_train, bool(_TRAIN_TASK_NAME.value), "--train_task_name"),
        (of_own, has_own, "files of your own (--task_name=tsv or jsonl)"),
    ):
        for flag in group:
            if flag.value and not is_fine:
                raise ValueError(
                    f"--{flag.name} is for {owner}: pass that too, or leave it out."
                )


def _measures() -> bool:
    return _COMMAND.do_eval.value or _COMMAND.do_predict.value


def _scored_source() -> sources.Source:
    columns = (_TEXT_A.value, _TEXT_B.value, _LABEL.value)
    return sources.Source("", _TASK_NAME.value, _DATA_DIR.value, columns, _files())


def _training_source() -> sources.Source:
    if not _TRAIN_TASK_NAME.value:
        return _scored_source()
    return sources.Source(
        "train_",
        _TRAIN_TASK_NAME.value,
        _TRAIN_DATA_DIR.value or _DATA_DIR.value,
        (_TRAIN_TEXT_A.value, _TRAIN_TEXT_B.value, _TRAIN_LABEL.value),
        _files(),
        _TRAIN_NEGATIVE.value,
    )


def _files() -> tuple[str, str, str]:
    return _TRAIN_FILE.value, _DEV_FILE.value, _TEST_FILE.value


def _read_scored(
    pairs: sentences_data.Pairs | None,
) -> dict[str, classification_data.Split]:
    """Read the splits that are measured, and train, which shows what was seen.

    Args:
        pairs: what is trained on, or None.
    """
    if not _measures():
        return {}
    source = _scored_source()
    task = sources.find_task(source, sentences_model.COSINE)
    flag_of = {tasks.DEV: _COMMAND.do_eval, tasks.TEST: _COMMAND.do_predict}
    names = [name for name, flag in flag_of.items() if flag.value]
    found = sentences_data.read_scored(task, source.data_dir, names)
    seen = None
    if pairs is not None:
        seen = classification_data.Split(tasks.TRAIN, pairs.table, None)
    elif not _TRAIN_TASK_NAME.value:
        seen = classification_data.read_seen(task, source.data_dir)
    return found if seen is None else {**found, tasks.TRAIN: seen}


def _find_embedding(checkpoint: str) -> sentence_transformer.Embedding:
    """Return how to pool: as the flags say, or else as the checkpoint's folder does."""
    known = format_names.POOLINGS
    found = sentence_transformer.Embedding(known[0], False)
    if checkpoint and sentence_transformer.is_sentence_transformer(checkpoint):
        found = sentence_transformer.read_embedding(checkpoint)
    pooling = _POOLING.value or found.pooling
    if pooling not in known:
        raise ValueError(
            f"{checkpoint!r} pools by {pooling}, which is not known here: choose "
            f"{', '.join(known)} by --pooling."
        )
    normalize = found.normalize if _NORMALIZE.value is None else _NORMALIZE.value
    length = ", to length 1" if normalize else ""
    print(f"Embeddings: {pooling} over the tokens{length}.", flush=True)
    return sentence_transformer.Embedding(pooling, normalize)


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
