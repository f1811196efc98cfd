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


def arguments_of(folder, *arguments):
    return (
        *(f"--data_dir={folder}/data", "--max_seq_length=8"),
        f"--output_dir={folder}/out",
        *arguments,
    )


@pytest.fixture(scope="module")
def trained(run_command, folder):
    done = run_command(
        COMMAND,
        *arguments_of(
            folder,
            *(f"--init_checkpoint={folder}/tf1", "--do_train", "--do_eval"),
            *("--do_predict", "--train_batch_size=8", "--learning_rate=0.01"),
            *("--num_train_epochs=14", f"--cache_dir={folder}/cache"),
        ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, runs.read_results(folder)


def test_training_leaves_results_predictions_and_a_model(trained, folder):
    output, results = trained

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

    text = (folder / "out" / "test_results.tsv").read_text()
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


# Flags after the usual ones (later ones override), and what is said.
TRAIN = runs.TRAIN
REFUSED = [
    *runs.REFUSED,
    ((*TRAIN, "--data_dir="), "--data_dir is empty: name the folder of the files."),
    ((*TRAIN, "--data_dir={0}"), "holds no train.txt (nor .tsv, .conll, .bio): name"),
    ((*TRAIN, "--train_file=no.txt"), "no.txt cannot be read (its folder holds "),
    ((*TRAIN, "--train_file=../tf1"), "tf1 cannot be read (it is a folder): name a"),
    ((*TRAIN, "--train_file=foreign.txt"), f"foreign.txt: 100.00{runs.UNREADABLE}"),
    ((*TRAIN, "--train_file=empty.txt"), "empty.txt is empty: put one word and its t"),
    ((*TRAIN, "--train_file=plain.txt"), "line 1: there is no tag in column -1, the"),
    ((*TRAIN, "--tag_column=3"), "train.txt, line 1: there is no tag in column 3, the"),
    ((*TRAIN, "--word_column=1", "--tag_column=0"), "line 1: '"),
    (
        (*TRAIN, "--do_eval", "--dev_file=unknown.txt"),
        "unknown.txt, line 2: the tag 'B-PER' is unknown; the tags are O, B-GPE, I-GPE",
    ),
    (
        ("--do_eval", "--init_checkpoint={0}/tf1", "--output_dir={0}/new"),
        "/tf1' holds no fine-tuned token classifier: pass --do_train, or",
    ),
    (
        ("--do_eval", "--init_checkpoint={0}/texts", "--output_dir={0}/new"),
        "/texts' holds no fine-tuned token classifier (its config.json says "
        "BertForSequenceClassification): pass --do_train, or",
    ),
]
# Then the trained model again: measured, measured with less room, and asked about text
# without tags.
FINE = [
    ("--do_eval",),
    ("--do_eval", "--max_seq_length=5"),
    ("--do_predict", "--test_file=plain.txt"),
]


@pytest.fixture(scope="module")
def many(trained, folder):
    """Run all of `REFUSED` and `FINE`."""
    runs.name_architecture(
        folder / "out" / "best", folder / "texts", "BertForSequenceClassification"
    )
    (folder / "data" / "empty.txt").write_text("\n\n")
    (folder / "data" / "foreign.txt").write_text("Ж\tB-LOC\nЯ\tI-LOC\n")
    (folder / "data" / "unknown.txt").write_text("北\tB-LOC\n京\tB-PER\n")
    lines = [
        arguments_of(folder, *flags)
        for flags in [*(flags for flags, _ in REFUSED), *FINE]
    ]
    return runs.run_many(COMMAND, folder, lines)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_bad_command_lines_are_refused(many, number, folder):
    runs.assert_refused(COMMAND, many[number], REFUSED[number][1], folder)


def test_trained_model_is_measured_and_asked_again(trained, many, folder):
    measured, short, asked = many[len(REFUSED) :]
    assert measured.code == 0, measured.error
    assert f"  f1 = {trained[1]['eval_f1']:.4f}\n" in measured.output
    assert "Its classifier predicts the same and is kept." in measured.output
    assert short.code == 0, short.error
    # Every sentence has 3 characters or more; what is behind them is lost as O.
    dev = (folder / "data" / "dev.conll").read_text().strip().split("\n\n")
    cut = sum(len(lines.split("\n")) > 3 for lines in dev)
    assert cut > 0
    assert (
        f"12 sentences, {cut} of them cut to 5 tokens, whose other words"
        in short.output
    )
    recalls = [
        float(re.search(r"recall = (\S+)", text.output)[1])
        for text in (measured, short)
    ]
    assert recalls[1] < recalls[0]
    assert asked.code == 0, asked.error
    text = (folder / "out" / "test_results.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    assert [row[0] for row in rows] == ["北", "京", "", "词"]
    assert {len(row) for row in rows if row != [""]} == {2}
