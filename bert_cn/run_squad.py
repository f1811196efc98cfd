"""Fine-tune a BERT for reading comprehension: answers that are spans of a text.

    python -m bert_cn.run_squad --init_checkpoint=out/mini \
        --train_file=data/cmrc2018_train.json --predict_file=data/cmrc2018_dev.json \
        --do_train --do_eval --do_predict --max_answer_length=80 --output_dir=out/cmrc

Reads SQuAD 1.1, SQuAD 2.0 (--version_2_with_negative), CMRC 2018 and DRCD, and anything
else in SQuAD's layout. Leaves in --output_dir: best/, a folder that transformers'
AutoModelForQuestionAnswering loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; answers.tsv, the training answers that are not what
their file says; and with --do_predict predictions.json, nbest_predictions.json and
null_odds.json.
"""

import tensorflow as tf
from absl import flags

from bert_cn.finetuning import command
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.reading import data as reading_data
from bert_cn.finetuning.reading import metrics, windows
from bert_cn.finetuning.reading import model as reading_model
from bert_cn.finetuning.reading import results as reading_results
from data_prep import command_line

_COMMAND = command.Command(
    flags_lib.Defaults(
        "Tokens of a window.",
        max_seq_length=384,
        min_seq_length=5,
        predict_help="Whether to answer the questions of --predict_file.",
        unit="Windows",
        eval_batch_size=None,
        predict_batch_size=32,
        compiled_multiple=64,
    )
)
_AUTO = "auto"

_TRAIN_FILE = flags.DEFINE_string("train_file", "", "JSON file in SQuAD's layout.")
_DEV_FILE = flags.DEFINE_string(
    "dev_file", "", "What --do_eval measures on; without it, --predict_file."
)
_PREDICT_FILE = flags.DEFINE_string(
    "predict_file", "", "JSON file of the questions that --do_predict answers."
)
_DOC_STRIDE = flags.DEFINE_integer(
    "doc_stride",
    128,
    "Tokens from one window of a long context to the next.",
    lower_bound=1,
)
_MAX_QUERY_LENGTH = flags.DEFINE_integer(
    "max_query_length", 64, "Longer questions are cut to so many tokens.", lower_bound=1
)
_N_BEST_SIZE = flags.DEFINE_integer(
    "n_best_size", 20, "Answers in nbest_predictions.json.", lower_bound=1
)
_MAX_ANSWER_LENGTH = flags.DEFINE_integer(
    "max_answer_length", 30, "The most tokens of an answer.", lower_bound=1
)
_VERSION_2 = flags.DEFINE_bool(
    "version_2_with_negative",
    False,
    "Whether questions may have no answer, as in SQuAD 2.0; without it such questions "
    "are left out.",
)
_THRESHOLD = flags.DEFINE_float(
    "null_score_diff_threshold",
    None,
    "There is no answer if [CLS] scores so much more than the best answer. Without the "
    "flag, the best value on dev is found by --do_eval and kept with the model; where "
    "there is neither, 0.",
)
_METRIC = flags.DEFINE_enum(
    "metric",
    _AUTO,
    [_AUTO, *metrics.DEFINITIONS],
    "Whose definition of exact match and F1; auto: cmrc2018 (also DRCD's) where the "
    "contexts are Chinese, else SQuAD's.",
)
_SKIP_BAD_ANSWERS = flags.DEFINE_bool(
    "skip_bad_answers",
    False,
    "Leave out training questions whose context does not hold their answer.",
)


def main(arguments: list[str]) -> None:
    """Check the flags, then run."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    _COMMAND.run(_run)


def _run(strategy: tf.distribute.Strategy, output_dir: str) -> None:
    """Read data and checkpoint, build, train, measure, predict."""
    data, targets = _read_data()
    checkpoint = _find_checkpoint()
    start = _COMMAND.load_start(checkpoint)
    train_features, problems = None, []
    if _COMMAND.do_train.value:
        train_features, problems = _encode_train(
            data[_TRAIN_FILE.value], targets, start
        )
    held_out = {
        path: reading_results.Split(dataset, _encode(dataset, None, start))
        for path, dataset in data.items()
        if path in _held_out_files()
    }
    reader, trainer = _COMMAND.build_trainer(
        strategy, lambda: reading_model.Reader(start)
    )
    reader.threshold = _first_threshold(checkpoint)
    reporter = reading_results.Reporter(
        trainer,
        reader,
        start,
        _build_rules(data),
        _COMMAND.shape(_COMMAND.predict_batch_size),
    )
    _COMMAND.make_output_dir(output_dir)
    explain_memory = _COMMAND.explain_memory(_COMMAND.predict_batch_size)
    steps = 0
    if _COMMAND.do_train.value:
        reading_results.write_problems(problems, output_dir)
        steps = _COMMAND.train(
            trainer,
            reader,
            train_features,
            explain_memory(lambda: reporter.measure(held_out[_dev_file()])),
            metrics.F1,
            output_dir,
        )
    results = explain_memory(_measure)(reporter, held_out, output_dir)
    _COMMAND.write_results(output_dir, results, steps)


def _measure(reporter, held_out, output_dir: str) -> dict[str, float]:
    """Measure on dev and answer what is to be predicted; once, if they are the same."""
    results = {}
    dev_is_predicted = _COMMAND.do_predict.value and _dev_file() == _PREDICT_FILE.value
    if _COMMAND.do_eval.value and not dev_is_predicted:
        results |= reporter.evaluate(held_out[_dev_file()])
    if _COMMAND.do_predict.value:
        split = held_out[_PREDICT_FILE.value]
        is_dev = _COMMAND.do_eval.value and dev_is_predicted
        results |= reporter.predict(split, output_dir, is_dev)
    return results


def _check_flags() -> None:
    _COMMAND.check_flags()
    for wanted, value, flag, advice in (
        (
            _COMMAND.do_train,
            _TRAIN_FILE.value,
            _TRAIN_FILE,
            "name the questions to learn from",
        ),
        (_COMMAND.do_eval, _dev_file(), _DEV_FILE, "name the questions to measure on"),
        (_COMMAND.do_predict, _PREDICT_FILE.value, _PREDICT_FILE, "name the questions"),
    ):
        if wanted.value and not value:
            raise ValueError(
                f"--{flag.name} is empty, and --{wanted.name} needs it: {advice}."
            )
    length = _COMMAND.max_seq_length.value
    if length <= _MAX_QUERY_LENGTH.value + 3:
        raise ValueError(
            f"--max_seq_length={length} leaves no room for a context "
            f"behind --max_query_length={_MAX_QUERY_LENGTH.value} tokens, [CLS] and "
            "two [SEP]: raise one or lower the other."
        )
    if _THRESHOLD.value is not None and not _VERSION_2.value:
        raise ValueError(
            "--null_score_diff_threshold is for questions without an answer: pass "
            "--version_2_with_negative too, or leave it out."
        )


def _dev_file() -> str:
    return _DEV_FILE.value or _PREDICT_FILE.value


def _held_out_files() -> set[str]:
    wanted = (
        (_COMMAND.do_eval, _dev_file()),
        (_COMMAND.do_predict, _PREDICT_FILE.value),
    )
    return {path for flag, path in wanted if flag.value}


def _read_data():
    """Read all files; returns path -> dataset, and the targets of the training file."""
    paths = _held_out_files() | (
        {_TRAIN_FILE.value} if _COMMAND.do_train.value else set()
    )
    data = {
        path: reading_data.read_dataset(path, _VERSION_2.value)
        for path in sorted(paths)
    }
    if _COMMAND.do_eval.value and not data[_dev_file()].has_answers:
        raise ValueError(
            f"{_dev_file()} has questions that do not say their answers, so --do_eval "
            "cannot measure on it: name another --dev_file, or leave --do_eval out."
        )
    targets = None
    if _COMMAND.do_train.value:
        targets = reading_data.find_targets(
            data[_TRAIN_FILE.value], _SKIP_BAD_ANSWERS.value
        )
    return data, targets


def _find_checkpoint() -> str:
    checkpoint = _COMMAND.find_checkpoint()
    if not (_COMMAND.do_train.value or reading_model.has_reader(checkpoint)):
        raise command.no_model_error(checkpoint, "model fine-tuned for answers")
    return checkpoint


def _encode(dataset, targets, start) -> features_lib.Features:
    limits = windows.Limits(
        _COMMAND.max_seq_length.value, _DOC_STRIDE.value, _MAX_QUERY_LENGTH.value
    )
    return windows.load_or_encode(
        dataset, targets, start, limits, _COMMAND.cache_dir.value
    )


def _encode_train(dataset, targets, start):
    """Return the windows of the training file and what is wrong with its answers."""
    problems = reading_data.list_problems(dataset, targets)
    features = _encode(dataset, targets, start)
    inexact = windows.list_inexact(dataset, targets, features, _MAX_ANSWER_LENGTH.value)
    return features, problems + inexact


def _first_threshold(checkpoint: str) -> float | None:
    """Return the threshold before any is found on dev."""
    if not _VERSION_2.value:
        return None
    if _THRESHOLD.value is not None:
        return _THRESHOLD.value
    kept = None
    if not _COMMAND.do_train.value:
        kept = reading_model.read_threshold(checkpoint)
    return 0.0 if kept is None else kept


def _build_rules(data) -> reading_results.Rules:
    definition = metrics.DEFINITIONS.get(_METRIC.value)
    if definition is None:
        # Of what is measured: a model may have learned from another language.
        paths = (_dev_file(), _PREDICT_FILE.value, _TRAIN_FILE.value)
        contexts = next(data[path] for path in paths if path in data).contexts
        definition = metrics.choose_definition(contexts, _VERSION_2.value)
    print(f"Exact match and F1 as {definition.name} defines them.", flush=True)
    return reading_results.Rules(
        definition,
        _N_BEST_SIZE.value,
        _MAX_ANSWER_LENGTH.value,
        _VERSION_2.value,
        _THRESHOLD.value,
    )


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
