"""run_classifier as a user runs it."""

import functools
import json
import signal

import numpy as np
import pytest
import scipy.stats

from bert_cn.finetuning.classification import model as classification_model
from bert_cn.training import reporting
from tests.bert_cn import finetuning_runs as runs
from tests.bert_cn import hosts

COMMAND = "bert_cn.run_classifier"
ROWS = 40
OWN_TASK = (
    *("--task=tsv", "--columns=text_a:text,label:kind", "--data_dir={0}/data"),
    *("--max_seq_length=16", "--output_dir={0}/out"),
)


@pytest.fixture(scope="module")
def folder(build_bert, vocab_file, tmp_path_factory):
    """A checkpoint and data of an own task: 1 where the text begins with 国."""
    path = tmp_path_factory.mktemp("classifier")
    runs.make_folder(build_bert, vocab_file, path)
    rng = np.random.default_rng(0)
    rows = [
        f"{number % 2}\t{'京国'[number % 2]}{''.join(rng.choice(list('使用语言'), 4))}"
        for number in range(ROWS)
    ]
    data = path / "data"
    data.mkdir()
    names = "kind\ttext\n"
    (data / "train.tsv").write_text(names + "\n".join(rows) + "\n")
    # The first two examples of dev stand in the training file.
    (data / "dev.tsv").write_text(
        names + "\n".join([*rows[:2], "1\t国中中", "0\t京中中", "1\t国下一"]) + "\n"
    )
    (data / "test.tsv").write_text("text\n国首都\n京首都\n")
    return path


@pytest.fixture(scope="module")
def run(run_command, folder):
    """Run the own task with more flags; later ones override."""
    return runs.own_run(run_command, COMMAND, folder, *OWN_TASK)


@pytest.fixture(scope="module")
def trained(run, folder):
    done = run(
        *("--init_checkpoint={0}/tf1", "--do_train", "--do_eval", "--do_predict"),
        *("--train_batch_size=8", "--learning_rate=0.01", "--num_train_epochs=8"),
        "--cache_dir={0}/cache",
    )
    assert done.returncode == 0, done.stderr
    predictions = (folder / "out" / "test_results.tsv").read_text()
    return done.stdout, runs.read_results(folder), predictions


def test_training_leaves_results_predictions_and_a_model(trained, folder):
    output, results, _ = trained

    assert f"Started from {folder}/tf1." in output
    # [CLS] 国首都 [SEP] [CLS] 京首都 [SEP]: the vocabulary has all of them.
    assert "test.tsv: 2 examples, 0 of them cut to 16 tokens; 0.00% of the" in output
    assert "epoch 8, step 40, loss" in output
    assert results["eval_majority_accuracy"] == 3 / 5
    assert results["eval_accuracy"] >= 4 / 5
    assert results["eval_unseen_majority_accuracy"] == 2 / 3
    assert "2 of 5 examples stand word for word in" in output
    assert 1 <= results["global_step"] <= 40
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["best", "eval_results.txt", "tensorboard", "test_results.tsv"]
    config = json.loads((folder / "out" / "best" / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1"}
    card = (folder / "out" / "best" / "README.md").read_text(encoding="utf-8")
    assert f"| eval_accuracy | {round(results['eval_accuracy'], 4)} |" in card
    assert len(list((folder / "cache").iterdir())) == 3


def test_curves_show_training_and_dev(trained, folder):
    log_dir = functools.partial(reporting.log_dir, str(folder / "out"))
    train, dev = (reporting.read_scalars(log_dir(name)) for name in ("train", "eval"))
    # 40 examples in batches of 8 are 5 updates an epoch, of which 4 warm up.
    epochs = range(5, 41, 5)
    rates = {step: 0.01 * (1 - (step - 1) / 40) for step in epochs}
    assert train["learning_rate"] == pytest.approx(rates, rel=1e-4)
    assert list(train["loss"]) == list(dev["loss"]) == list(epochs)
    assert train["loss"][40] < train["loss"][5]
    best = trained[1]["eval_accuracy"]
    assert max(dev["accuracy"].values()) == pytest.approx(best)


def test_predictions_are_the_likeliest_class_of_each_row(trained):
    rows = [line.split("\t") for line in trained[2].splitlines()]
    assert rows[0] == ["index", "prediction", "0", "1"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]
    for row in rows[1:]:
        shares = [float(share) for share in row[2:]]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row[1] == str(int(np.argmax(shares)))


def test_trained_model_is_measured_and_asked_again(trained, run, folder):
    _, results, predictions = trained
    done = run("--do_eval", "--do_predict")
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "test_results.tsv").read_text() == predictions
    found = runs.read_results(folder)
    for name, value in results.items():
        if name != "global_step":
            assert found[name] == pytest.approx(value, abs=1e-5), name


def test_bfloat16_measures_nearly_the_same(trained, run, folder):
    done = run(
        *("--do_eval", "--precision=mixed_bfloat16"),
        *("--init_checkpoint={0}/out/best", "--output_dir={0}/half"),
    )
    assert done.returncode == 0, done.stderr
    loss = runs.read_results(folder, "half")["eval_loss"]
    assert 1e-6 < abs(loss - trained[1]["eval_loss"]) < 0.05


def test_training_file_of_another_task_does_not_hinder_prediction(trained, run, folder):
    (folder / "odd").mkdir()
    (folder / "odd" / "train.tsv").write_text("sentence\tid\n国\t1\n")
    test = (folder / "data" / "test.tsv").read_text()
    (folder / "odd" / "test.tsv").write_text(test)
    done = run(
        *("--do_predict", "--data_dir={0}/odd"),
        *("--init_checkpoint={0}/out/best", "--output_dir={0}/predicted"),
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing is compared with the training file. " in done.stdout
    assert (folder / "predicted" / "test_results.tsv").read_text() == trained[2]


# Flags after those of an own task, and what is said.
TRAIN = runs.TRAIN
REFUSED = {
    **runs.REFUSED,
    "no data folder": (
        ("--do_train", "--data_dir="),
        "--data_dir is empty: name the folder of the task",
    ),
    "no task": (
        ("--do_train", "--task_name="),
        "--task_name is empty: name one of cola, ",
    ),
    "unknown task": (
        (*TRAIN, "--task_name=imdb", "--columns="),
        "--task_name=imdb is unknown: it is one of cola, sst-2, mrpc, sts-b, qqp,",
    ),
    "columns of a known task": (
        (*TRAIN, "--task_name=rte"),
        "--columns is for --task_name=tsv or jsonl",
    ),
    "scores of a known task": (
        (*TRAIN, "--task_name=rte", "--columns=", "--regression"),
        "--regression is for --task_name=tsv or jsonl, and the files and labels of rte",
    ),
    "no column of labels": (
        (*TRAIN, "--columns=text_a:text"),
        "--task_name=tsv needs label in --columns: add label:NAME, or the column's",
    ),
    "names and numbers": (
        (*TRAIN, "--columns=text_a:text,label:1"),
        "--columns has either names of the first line (in JSON keys), or, for TSV "
        "without such a line, numbers from 0. Received: text_a:text,label:1.",
    ),
    "numbers for JSON": (
        (*TRAIN, "--task_name=jsonl", "--columns=text_a:0,label:1"),
        "--columns has numbers, but JSON has keys: write ROLE:KEY. Received: 0, 1.",
    ),
    "unknown role": (
        (*TRAIN, "--columns=text_a:text,text_c:x"),
        "--columns has ROLE:COLUMN with commas between, and each ROLE is one of "
        "text_a, text_b, label, once. Received: 'text_c:x' in text_a:text,text_c:x.",
    ),
    "role named twice": (
        (*TRAIN, "--columns=label:kind,label:text"),
        "once. Received: 'label:text' in label:kind,label:text.",
    ),
    "role without a column": ((*TRAIN, "--columns=label"), "Received: 'label' in "),
    "column that is not there": (
        (*TRAIN, "--columns=text_a:text,label:sort"),
        "train.tsv has no column 'sort'; its first line names",
    ),
    "empty file": (
        (*TRAIN, "--train_file=empty.tsv"),
        "empty.tsv is empty: put one example",
    ),
    "missing file": (
        (*TRAIN, "--train_file=no.tsv"),
        "no.tsv cannot be read (its folder holds",
    ),
    "folder as a file": (
        (*TRAIN, "--train_file=../tf1"),
        "tf1 cannot be read (it is a folder): name a",
    ),
    "unknown characters": (
        (*TRAIN, "--train_file=foreign.tsv"),
        f"foreign.tsv: 100.00{runs.UNREADABLE}",
    ),
    "label that is none": (
        (*TRAIN, "--train_file=nan.tsv"),
        "nan.tsv, line 3: the label 'NaN' is none",
    ),
    "unknown label": (
        (*TRAIN, "--do_eval", "--dev_file=unknown.tsv"),
        "unknown.tsv, line 2: the label '7' is unknown; the labels are 0, 1.",
    ),
    "short vocabulary for a checkpoint": (
        (*TRAIN, "--vocab_file={0}/short.txt"),
        "short.txt' has 6 tokens, but the model in {0}/tf1",
    ),
    "short vocabulary for a configuration": (
        (
            *(*TRAIN, "--init_checkpoint=", "--vocab_file={0}/short.txt"),
            "--bert_config_file={0}/tf1/bert_config.json",
        ),
        "short.txt' has 6 tokens, but the model of --bert_config_file={0}/tf1/",
    ),
    "pretrained model to measure": (
        ("--do_eval", "--init_checkpoint={0}/tf1", "--output_dir={0}/new"),
        "/tf1' holds no fine-tuned classifier: pass --do_train, or",
    ),
    "tagger to measure": (
        ("--do_eval", "--init_checkpoint={0}/tags", "--output_dir={0}/new"),
        "/tags' holds no fine-tuned classifier (its config.json says "
        "BertForTokenClassification): pass --do_train, or",
    ),
    "model of another task": (
        (
            *("--do_predict", "--task_name=mnli", "--columns="),
            "--data_dir={0}/mnli",
        ),
        "/out/best' predicts 0, 1, and --task_name=mnli has contradiction, entailment,",
    ),
    "model of scores": (
        ("--do_eval", "--init_checkpoint={0}/score", "--output_dir={0}/new"),
        "/score' predicts a score: pass --regression, or name a model that",
    ),
    "another model in the folder": (
        ("--do_eval", "--init_checkpoint={0}/tf1"),
        "/out' holds a model and its results, which those of --init_checkpoint={0}/tf1",
    ),
}


@pytest.fixture(scope="module")
def bad_files(trained, pairs, folder, vocab_file):
    """Write the files and models that `REFUSED` names."""
    best = folder / "out" / "best"
    runs.name_architecture(best, folder / "tags", "BertForTokenClassification")
    runs.name_architecture(best, folder / "score", "BertForSequenceClassification")
    config = folder / "score" / "config.json"
    values = {**json.loads(config.read_text()), "problem_type": "regression"}
    config.write_text(json.dumps(values))
    data = folder / "data"
    (data / "empty.tsv").write_text("")
    (data / "unknown.tsv").write_text("kind\ttext\n7\t国\n")
    (data / "foreign.tsv").write_text(f"kind\ttext\n0\t{runs.FOREIGN}\n1\tЯ\n")
    (data / "nan.tsv").write_text("kind\ttext\n1\t国\nNaN\t京\n")
    tokens = vocab_file.read_text(encoding="utf-8").split("\n")
    (folder / "short.txt").write_text("\n".join(tokens[:6]) + "\n")


@runs.each_of(REFUSED)
def test_bad_command_line_is_refused(refused, bad_files, run, folder):
    runs.assert_refused(run, refused, folder)


@pytest.fixture(scope="module")
def pairs(folder):
    """MNLI's files, two of dev and of test."""
    (folder / "mnli").mkdir()
    kinds = ("contradiction", "entailment", "neutral")
    rows = [
        f"国{'使用语'[n % 3]}\t京{'使用语'[n // 3]}\t{kinds[n % 3]}" for n in range(9)
    ]
    names = "sentence1\tsentence2"
    labelled = "\n".join([f"{names}\tgold_label", *rows]) + "\n"
    for split in ("train", "dev_matched", "dev_mismatched"):
        (folder / "mnli" / f"{split}.tsv").write_text(labelled)
    (folder / "mnli" / "test_matched.tsv").write_text(f"{names}\n国\t京\n")
    (folder / "mnli" / "test_mismatched.tsv").write_text(f"{names}\n国\t京\n\n京\t国\n")


def test_pairs_with_two_files_of_dev_and_test(pairs, run, folder):
    done = run(
        *(*TRAIN, "--task_name=mnli", "--columns=", "--data_dir={0}/mnli"),
        *("--do_eval", "--do_predict", "--output_dir={0}/pairs"),
    )
    assert done.returncode == 0, done.stderr
    results = runs.read_results(folder, "pairs")
    assert results["eval_majority_accuracy"] == pytest.approx(1 / 3)
    # Each has the same rows.
    assert results["eval_2_accuracy"] == results["eval_accuracy"]
    for name, count in (("test_results.tsv", 1), ("test_2_results.tsv", 2)):
        lines = (folder / "pairs" / name).read_text().splitlines()
        assert lines[0] == "index\tprediction\tcontradiction\tentailment\tneutral"
        assert [line.split("\t")[0] for line in lines[1:]] == ["0", "1"][:count]


def test_scores_of_pairs_in_json_lines(run, folder):
    (folder / "json").mkdir()
    lines = [
        json.dumps(
            {"a": "京国"[n % 2] + "使", "b": "语言用"[n % 3], "score": n % 2 * 2.5}
        )
        for n in range(24)
    ]
    for split in ("train", "dev", "test"):
        (folder / "json" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")

    done = run(
        *(*TRAIN, "--task_name=jsonl", "--columns=text_a:a,text_b:b,label:score"),
        *("--regression", "--data_dir={0}/json", "--output_dir={0}/scores"),
        *("--do_eval", "--do_predict", "--num_train_epochs=6"),
        *("--train_batch_size=8", "--learning_rate=0.01"),
    )

    assert done.returncode == 0, done.stderr
    results = runs.read_results(folder, "scores")
    assert results["eval_spearman"] > 0.8
    assert results["test_spearman"] == pytest.approx(results["eval_spearman"])
    lines = (folder / "scores" / "test_results.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    scores = [float(line.split("\t")[1]) for line in lines[1:]]
    gold = [number % 2 for number in range(24)]
    # Rounded there, so that equal texts tie exactly.
    rank = scipy.stats.spearmanr(gold, scores).statistic
    assert results["test_spearman"] == pytest.approx(rank, abs=0.03)
    config = json.loads((folder / "scores" / "best" / "config.json").read_text())
    assert config["problem_type"] == "regression"


@pytest.mark.slow
def test_signal_to_one_host_ends_both_and_leaves_the_model(warm, folder):
    flags = [
        *(*OWN_TASK, "--init_checkpoint={0}/tf1", "--do_train", "--train_batch_size=8"),
        *("--num_train_epochs=100000", "--output_dir={0}/hosts"),
    ]
    flags = [flag.replace("{0}", str(folder)) for flag in flags]
    processes = hosts.start_hosts(warm, COMMAND, [flags] * 2)
    try:
        # Both hosts train as soon as the chief has finished an epoch.
        for line in processes[0].follow_stdout():
            if line.startswith("epoch 1, "):
                break
        processes[1].send_signal(signal.SIGTERM)
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 130, errors
            assert (
                "interrupted; the best model so far stays. To start again: " in errors
            )
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
    assert classification_model.read_labels(str(folder / "hosts" / "best")).names == (
        "0",
        "1",
    )
