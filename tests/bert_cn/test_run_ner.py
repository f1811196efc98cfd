"""run_ner as a user runs it."""

import json
import re

import numpy as np
import pytest
import seqeval.metrics

from tests.bert_cn import finetuning_runs as runs

COMMAND = "bert_cn.run_ner"


def write_sentences(path, sentences, rng, between="\t"):
    """Characters; each 北京 is a place, and each 中国 a country."""
    lines = []
    for _ in range(sentences):
        for _ in range(3):
            word = str(rng.choice(["使用", "语言", "北京", "中国", "词"]))
            kind = {"北京": "LOC", "中国": "GPE"}.get(word)
            for index, char in enumerate(word):
                tag = f"{'BI'[index > 0]}-{kind}" if kind else "O"
                lines.append(f"{char}{between}{tag}")
        lines.append("")
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(build_bert, vocab_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("ner")
    runs.make_folder(build_bert, vocab_file, path)
    rng = np.random.default_rng(0)
    data = path / "data"
    data.mkdir()
    write_sentences(data / "train.txt", 40, rng)
    with open(data / "train.txt", "a") as file:
        file.write("\n北\tB-LOC \n京\tI-LOC \n")  # The spaces belong to no tag.
    write_sentences(data / "dev.conll", 12, rng, between=" x ")
    (data / "test.tsv").write_text(
        "北\tB-LOC\n京\tI-LOC\n使\tO\n\n中\tB-GPE\n国\tI-GPE\n"
    )
    (data / "plain.txt").write_text("北\n京\n\n词\n")
    return path


@pytest.fixture(scope="module")
def run(run_command, folder):
    """Run the command with the usual flags and others; later ones override."""
    usual = ("--data_dir={0}/data", "--max_seq_length=8", "--output_dir={0}/out")
    return runs.own_run(run_command, COMMAND, folder, *usual)


@pytest.fixture(scope="module")
def trained(run, folder):
    done = run(
        *("--init_checkpoint={0}/tf1", "--do_train", "--do_eval", "--do_predict"),
        *("--train_batch_size=8", "--learning_rate=0.01", "--num_train_epochs=14"),
        "--cache_dir={0}/cache",
    )
    assert done.returncode == 0, done.stderr
    text = (folder / "out" / "test_results.tsv").read_text()
    return done.stdout, runs.read_results(folder), text


def test_training_leaves_results_and_a_model(trained, folder):
    output, results, _ = trained

    # [CLS], [SEP] and at most 6 characters.
    assert "41 sentences, 0 of them cut to 8 tokens; 0.00% of the" in output
    assert "; dev: precision " in output
    assert results["eval_f1"] > 0.8
    assert results["eval_accuracy"] > results["eval_outside_accuracy"] > 0.2
    config = json.loads((folder / "out" / "best" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    labels = ["O", "B-GPE", "I-GPE", "B-LOC", "I-LOC"]
    assert list(config["id2label"].values()) == labels
    assert len(list((folder / "cache").iterdir())) == 3


def test_predictions_hold_word_tag_and_predicted_tag(trained):
    _, results, text = trained
    sentences = [part.splitlines() for part in text.split("\n\n")]
    rows = [[line.split("\t") for line in lines] for lines in sentences]
    assert [[row[0] for row in lines] for lines in rows] == [
        list("北京使"),
        list("中国"),
    ]
    gold, found = (
        [[row[column] for row in lines] for lines in rows] for column in (1, 2)
    )
    assert gold == [["B-LOC", "I-LOC", "O"], ["B-GPE", "I-GPE"]]
    assert results["test_f1"] == seqeval.metrics.f1_score(gold, found)


# Flags after the usual ones, and what is said.
TRAIN = runs.TRAIN
REFUSED = {
    **runs.REFUSED,
    "no data folder": (
        (*TRAIN, "--data_dir="),
        "--data_dir is empty: name the folder of the files.",
    ),
    "folder without files": (
        (*TRAIN, "--data_dir={0}"),
        "holds no train.txt (nor .tsv, .conll, .bio): name the file by --train_file, ",
    ),
    "missing file": (
        (*TRAIN, "--train_file=no.txt"),
        "no.txt cannot be read (its folder holds ",
    ),
    "folder as a file": (
        (*TRAIN, "--train_file=../tf1"),
        "tf1 cannot be read (it is a folder): name a",
    ),
    "unknown characters": (
        (*TRAIN, "--train_file=foreign.txt"),
        f"foreign.txt: 100.00{runs.UNREADABLE}",
    ),
    "empty file": (
        (*TRAIN, "--train_file=empty.txt"),
        "empty.txt is empty: put one word and its t",
    ),
    "no tags": (
        (*TRAIN, "--train_file=plain.txt"),
        "line 1: there is no tag in column -1, the",
    ),
    "column that is not there": (
        (*TRAIN, "--tag_column=3"),
        "train.txt, line 1: there is no tag in column 3, the",
    ),
    "columns the other way round": (
        (*TRAIN, "--word_column=1", "--tag_column=0"),
        "line 1: '",
    ),
    "unknown tag": (
        (*TRAIN, "--do_eval", "--dev_file=unknown.txt"),
        "unknown.txt, line 2: the tag 'B-PER' is unknown; the tags are O, B-GPE, I-GPE",
    ),
    "pretrained model to measure": (
        ("--do_eval", "--init_checkpoint={0}/tf1", "--output_dir={0}/new"),
        "/tf1' holds no fine-tuned token classifier: pass --do_train, or",
    ),
    "classifier to measure": (
        ("--do_eval", "--init_checkpoint={0}/texts", "--output_dir={0}/new"),
        "/texts' holds no fine-tuned token classifier (its config.json says "
        "BertForSequenceClassification): pass --do_train, or",
    ),
}


@pytest.fixture(scope="module")
def bad_files(trained, folder):
    """Write the files and models that `REFUSED` names."""
    runs.name_architecture(
        folder / "out" / "best", folder / "texts", "BertForSequenceClassification"
    )
    (folder / "data" / "empty.txt").write_text("\n\n")
    (folder / "data" / "foreign.txt").write_text("Ж\tB-LOC\nЯ\tI-LOC\n")
    (folder / "data" / "unknown.txt").write_text("北\tB-LOC\n京\tB-PER\n")


@runs.each_of(REFUSED)
def test_bad_command_line_is_refused(refused, bad_files, run, folder):
    runs.assert_refused(run, refused, folder)


@pytest.fixture(scope="module")
def measured(trained, run):
    """What measuring the trained model again says."""
    done = run("--do_eval")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_trained_model_is_measured_again(trained, measured):
    assert f"  f1 = {trained[1]['eval_f1']:.4f}\n" in measured
    assert "Its classifier predicts the same and is kept." in measured


def test_words_after_the_cut_count_as_o(measured, run, folder):
    done = run("--do_eval", "--max_seq_length=5")
    assert done.returncode == 0, done.stderr
    # Every sentence has 3 characters or more; those after the third are lost as O.
    dev = (folder / "data" / "dev.conll").read_text().strip().split("\n\n")
    cut = sum(len(lines.split("\n")) > 3 for lines in dev)
    assert cut > 0
    said = f"12 sentences, {cut} of them cut to 5 tokens, whose other words"
    assert said in done.stdout
    whole, short = (
        float(re.search(r"recall = (\S+)", text)[1]) for text in (measured, done.stdout)
    )
    assert short < whole


def test_text_without_tags_is_tagged(trained, run, folder):
    done = run("--do_predict", "--test_file=plain.txt")
    assert done.returncode == 0, done.stderr
    text = (folder / "out" / "test_results.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    assert [row[0] for row in rows] == ["北", "京", "", "词"]
    assert {len(row) for row in rows if row != [""]} == {2}
