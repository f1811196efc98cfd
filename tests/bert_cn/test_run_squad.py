"""run_squad as a user runs it."""

import json

import numpy as np
import pytest

from tests.bert_cn import finetuning_runs as runs

COMMAND = "bert_cn.run_squad"
LETTERS = "使用语言模型来预测下一个词的。，中首都是"
QUESTIONS = 60


def write_file(path, entries):
    """Entries are (id, question, context, answers or None, more)."""
    paragraphs = []
    for name, question, context, answers, more in entries:
        entry = {"id": name, "question": question, **more}
        if answers is not None:
            entry["answers"] = [
                {"text": text, "answer_start": start} for text, start in answers
            ]
        paragraphs.append({"context": context, "qas": [entry]})
    path.write_text(json.dumps({"version": "1", "data": [{"paragraphs": paragraphs}]}))


def make_entries(rng, count, prefix):
    """Contexts that say 北京 or 国 once; a third of the questions have no answer."""
    entries = []
    for number in range(count):
        context = "".join(rng.choice(list(LETTERS), rng.integers(3, 12)))
        name = f"{prefix}{number}"
        if number % 3 == 2:
            entries.append((name, "是", context, [], {"is_impossible": True}))
            continue
        start = int(rng.integers(0, len(context)))
        answer = ("北京", "国")[number % 2]
        context = context[:start] + answer + context[start:]
        entries.append((name, "是", context, [(answer, start)], {}))
    return entries


@pytest.fixture(scope="module")
def folder(build_bert, vocab_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("squad")
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    runs.make_folder(build_bert, vocab_file, path, **still)
    rng = np.random.default_rng(0)
    entries = make_entries(rng, QUESTIONS, "train")
    # One answer stands one character before its offset.
    text, start = entries[0][3][0]
    entries[0] = (*entries[0][:3], [(text, start + 1)], {})
    write_file(path / "train.json", entries)
    dev = make_entries(rng, 12, "dev")
    # Its answer contains a white space of full width: a slice, not a join.
    dev.append(("wide", "是", "的北\u3000京。", [("北\u3000京", 1)], {}))
    write_file(path / "dev.json", dev)
    write_file(path / "test.json", [("only", "是", "首都是北京。", None, {})])
    return path


@pytest.fixture(scope="module")
def run(run_command, folder):
    """Run the command with the usual flags and others; later ones override."""
    return runs.own_run(
        *(run_command, COMMAND, folder),
        *("--train_file={0}/train.json", "--predict_file={0}/dev.json"),
        *("--version_2_with_negative", "--max_seq_length=12", "--max_query_length=2"),
        *("--doc_stride=4", "--max_answer_length=4", "--n_best_size=5"),
        "--output_dir={0}/out",
    )


@pytest.fixture(scope="module")
def trained(run, folder):
    done = run(
        *("--init_checkpoint={0}/tf1", "--do_train", "--do_eval", "--do_predict"),
        *("--train_batch_size=8", "--learning_rate=0.01", "--num_train_epochs=8"),
        "--cache_dir={0}/cache",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, runs.read_results(folder), read_answers(folder)


def read_answers(folder, name="out"):
    """Read predictions.json, null_odds.json and nbest_predictions.json."""
    files = ("predictions", "null_odds", "nbest_predictions")
    return tuple(
        json.loads((folder / name / f"{file}.json").read_text()) for file in files
    )


def test_training_learns(trained):
    output, results, _ = trained

    assert "train.json: 60 questions on 60 contexts, 20 without an answer." in output
    assert "train.json: 1 answers are not at their offset; 1 were found" in output
    assert "Exact match and F1 as cmrc2018 defines them." in output
    # Saying nothing is right for 4 of the 13 questions of dev.
    assert results["eval_always_no_answer"] == pytest.approx(100 * 4 / 13)
    assert results["eval_f1"] >= 60
    assert results["eval_exact"] <= results["eval_f1"]


def test_training_leaves_its_files(trained, folder):
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        *("answers.tsv", "best", "eval_results.txt", "nbest_predictions.json"),
        *("null_odds.json", "predictions.json", "tensorboard"),
    ]
    rows = (out / "answers.tsv").read_text().splitlines()
    assert len(rows) == 2
    assert rows[0] == "id\tanswer\tanswer_start\tproblem"
    assert rows[1].startswith("train0\t北京\t")
    config = json.loads((out / "best" / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]
    assert len(list((folder / "cache").iterdir())) == 2


def test_answers_are_slices_of_their_context_or_none(trained, folder):
    _, results, (predictions, odds, n_best) = trained
    threshold = results["eval_null_threshold"]
    data = json.loads((folder / "dev.json").read_text())["data"][0]["paragraphs"]
    contexts = {each["qas"][0]["id"]: each["context"] for each in data}
    assert list(predictions) == list(odds) == list(n_best) == list(contexts)
    for name, text in predictions.items():
        best = next(entry for entry in n_best[name] if entry["text"])
        assert text == ("" if odds[name] > threshold else best["text"])
        for entry in n_best[name]:
            if entry["text"]:
                cut = contexts[name][entry["start"] : entry["end"]]
                assert entry["text"] == cut
        shares = [entry["probability"] for entry in n_best[name]]
        assert sum(shares) == pytest.approx(1)


def test_trained_model_answers_again_with_the_threshold_that_it_kept(
    trained, run, folder
):
    done = run("--do_predict")
    assert done.returncode == 0, done.stderr
    assert "Its head finds answers and is kept." in done.stdout
    # It has no pooler, and no use for one.
    assert "It has no" not in done.stdout
    assert read_answers(folder) == trained[2]
    results = runs.read_results(folder)
    for name, value in trained[1].items():
        if name not in ("global_step", "eval_null_threshold"):
            name = name.replace("eval_", "predict_")
            assert results[name] == pytest.approx(value), name


def test_metric_is_that_of_the_language_of_dev(trained, run, folder):
    english = [("a", "bert?", "The bert cafe s.", [("cafe", 9)], {})]
    write_file(folder / "english.json", english)
    done = run(
        *("--do_eval", "--do_predict", "--dev_file={0}/english.json"),
        *("--init_checkpoint={0}/out/best", "--output_dir={0}/english"),
    )
    assert done.returncode == 0, done.stderr
    assert "Exact match and F1 as squad2.0 defines them." in done.stdout
    found = {name.partition("_")[0] for name in runs.read_results(folder, "english")}
    assert found == {"eval", "predict", "global"}


def test_half_of_a_surrogate_pair_is_written(trained, run, folder):
    write_file(folder / "torn.json", [("a", "是", "北\ud83d京", None, {})])
    done = run(
        *("--do_predict", "--init_checkpoint={0}/out/best", "--output_dir={0}/torn"),
        "--predict_file={0}/torn.json",
    )
    assert done.returncode == 0, done.stderr
    _, _, n_best = read_answers(folder, "torn")
    assert "北\ud83d京" in [entry["text"] for entry in n_best["a"]]


# Training files: what they hold, and what is said.
FILES = {
    "no_json": ("{", "no_json.json is no JSON file ("),
    "deep": ("[" * 100_000, "deep.json is no JSON file (it is nested too deeply"),
    "empty": ("", "empty.json is empty: give a file in SQuAD's layout."),
    "foreign": (
        [("a", "Ж?", "ЯЖЭ", [("Ж", 1)], {})],
        f"foreign.json: 100.00{runs.UNREADABLE}",
    ),
    "impossible": (
        [("a", "?", "北京", [("北", 0)], {"is_impossible": "false"})],
        "qas[0]: 'is_impossible' is a text, which it cannot be in SQuAD's layout",
    ),
    "list": (
        [{"context_id": "1"}],
        'list.json has no list "data" (it is a list): give a file in SQuAD\'s layout; '
        "CMRC 2018 has them in squad-style-data.",
    ),
    "no_data": (
        {"version": "1", "articles": []},
        'no_data.json has no list "data" (its keys are version, articles)',
    ),
    "no_questions": ({"data": []}, "no_questions.json holds no question: give a file"),
    "no_paragraphs": (
        {"data": [{"title": "x"}]},
        "no_paragraphs.json, data[0] has no 'paragraphs' (its keys are title): correct",
    ),
    "no_context": (
        {"data": [{"paragraphs": [{"qas": []}]}]},
        "no_context.json, data[0].paragraphs[0] has no 'context' (its keys are qas)",
    ),
    "bad_context": (
        {"data": [{"paragraphs": [{"context": ["x"], "qas": []}]}]},
        "data[0].paragraphs[0]: 'context' is a list, which it cannot be in SQuAD's",
    ),
    "bad_question": (
        {"data": [{"paragraphs": [{"context": "x", "qas": ["?"]}]}]},
        "data[0].paragraphs[0].qas[0]: an object with 'id' is needed, found a text",
    ),
    "lost": (
        [("a", "?", "北京", [("北京", 0)], {}), ("b", "?", "北京", [("国", 0)], {})],
        "lost.json, question 'b': its context does not hold the answer '国' (1 of 2 "
        "questions are like this); correct the file, or leave such questions out by "
        "--skip_bad_answers.",
    ),
    "empty_answer": (
        [("a", "?", "北京", [(" ", 0)], {})],
        "qas[0].answers[0]: the answer is empty; a question without an answer has an",
    ),
    "no_answers": (
        [("a", "?", "北京", None, {})],
        "no_answers.json, question 'a': there are no answers to learn from; a test set",
    ),
    "twice": (
        [("a", "?", "北京", [("北", 0)], {})] * 2,
        "twice.json has 2 questions with the id 'a', but predictions are filed under",
    ),
    "offset": (
        [("a", "?", "北京", [("北", "0")], {})],
        "answers[0]: 'answer_start' is a text, which it cannot be in SQuAD's layout",
    ),
    "only_negative": (
        [("a", "?", "北京", [], {})],
        "only_negative.json holds only questions that their context does not answer: "
        "pass --version_2_with_negative.",
    ),
}
# Flags after the usual ones, and what is said.
TRAIN = runs.TRAIN
REFUSED = {
    **runs.REFUSED,
    "no training file": (
        ("--do_train", "--train_file="),
        "--train_file is empty, and --do_train needs it: name the questions to learn",
    ),
    "no file to answer": (
        ("--do_predict", "--predict_file="),
        "--predict_file is empty, and --do_predict needs it: name the questions.",
    ),
    "no file to measure on": (
        ("--do_eval", "--predict_file="),
        "--dev_file is empty, and --do_eval needs it: name the questions to measure on",
    ),
    "no room for a context": (
        (*TRAIN, "--max_query_length=9"),
        "--max_seq_length=12 leaves no room for a context after --max_query_length=9",
    ),
    "threshold without negatives": (
        (*TRAIN, "--noversion_2_with_negative", "--null_score_diff_threshold=1"),
        "--null_score_diff_threshold is for questions without an answer: pass",
    ),
    "missing file": (
        (*TRAIN, "--train_file={0}/missing.json"),
        "missing.json cannot be read (its folder holds ",
    ),
    "folder as a file": (
        (*TRAIN, "--train_file={0}"),
        " cannot be read (it is a folder): name a file that",
    ),
    "missing folder": (
        (*TRAIN, "--train_file={0}/none/train.json"),
        "cannot be read (there is no folder '{0}/none'): name a file that is there.",
    ),
    "dev without answers": (
        (*TRAIN, "--do_eval", "--dev_file={0}/test.json"),
        "test.json has questions that do not say their answers, so --do_eval cannot",
    ),
    "no answer found": (
        (*TRAIN, "--train_file={0}/all_lost.json", "--skip_bad_answers"),
        "all_lost.json, question 'a': its context does not hold the answer '国' (1 "
        "of 1 questions",
    ),
    "pretrained model to ask": (
        ("--do_predict", "--init_checkpoint={0}/tf1", "--output_dir={0}/new"),
        "/tf1' holds no model fine-tuned for answers: pass --do_train, or",
    ),
    **{
        name: (
            (*TRAIN, f"--train_file={{0}}/{name}.json")
            + (("--noversion_2_with_negative",) if name == "only_negative" else ()),
            message,
        )
        for name, (_, message) in FILES.items()
    },
}


@pytest.fixture(scope="module")
def bad_files(trained, folder):
    """Write the files that `REFUSED` names."""
    for name, (values, _) in FILES.items():
        path = folder / f"{name}.json"
        if isinstance(values, list) and isinstance(values[0], tuple):
            write_file(path, values)
        else:
            path.write_text(values if isinstance(values, str) else json.dumps(values))
    lost = [("a", "?", "北京", [("国", 0)], {})]
    write_file(folder / "all_lost.json", lost)


@runs.each_of(REFUSED)
def test_bad_command_line_is_refused(refused, bad_files, run, folder):
    runs.assert_refused(run, refused, folder)
