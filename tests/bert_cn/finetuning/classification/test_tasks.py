"""The table of data sets, against files as their publishers write them."""

import json

import pytest

from bert_cn.finetuning import tables
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import model, tasks
from bert_cn.finetuning.tables import Columns

MNLI_NAMES = "index promptID pairID genre p1 p2 p3 p4 sentence1 sentence2 label1"
# Task, file, its content, the split, texts, second texts, labels as ids.
PUBLISHED = [
    (
        "QQP",
        "train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        "1\t2\t3\tWhy?\tHow?\t1\ntorn row\n",
        ["Why?"],
        ["How?"],
        [1],
    ),
    (
        "MNLI",
        "dev_mismatched.tsv",
        "\t".join([*MNLI_NAMES.split(), "gold_label"])
        + "\n0\t1\t2\tx\t-\t-\t-\t-\tA dog.\tA cat.\tneutral\tcontradiction\n",
        ["A dog."],
        ["A cat."],
        [0],
    ),
    (
        "afqmc",
        "train.json",
        '{"sentence1": "借呗", "sentence2": "花呗", "label": "1"}\n',
        ["借呗"],
        ["花呗"],
        [1],
    ),
    (
        "lcqmc",
        "dev.tsv",
        "text_a\ttext_b\tlabel\n谁\t是谁\t1\n",
        ["谁"],
        ["是谁"],
        [1],
    ),
    ("lcqmc", "dev.txt", "谁\t是谁\t0\n", ["谁"], ["是谁"], [0]),
    ("bq", "test.tsv", "怎么\t如何\t1\n", ["怎么"], ["如何"], [1]),
    (
        "paws-x",
        "dev_2k.tsv",
        "id\tsentence1\tsentence2\tlabel\n1\t他在北京\t北京在他\t0\n",
        ["他在北京"],
        ["北京在他"],
        [0],
    ),
    ("paws-x", "train.tsv", "甲乙\t乙甲\t1\n", ["甲乙"], ["乙甲"], [1]),
    (
        "ocnli",
        "train.50k.json",
        '{"level": "easy", "sentence1": "甲", "sentence2": "乙", "label": "-"}\n'
        '{"level": "easy", "sentence1": "丙", "sentence2": "丁", "label": "neutral"}\n',
        ["丙"],
        ["丁"],
        [2],
    ),
    (
        "sts-b-zh",
        "cnsd-sts-dev.txt",
        "STS-B-dev-1||一个小孩||孩子||4.5\n",
        ["一个小孩"],
        ["孩子"],
        [4.5],
    ),
    ("thucnews", "cnews.val.txt", "游戏\t新的版本\n", ["新的版本"], None, [8]),
]


def read(name, folder, splits_wanted):
    task = tasks.find_task(name)
    found = classification_data.read_tables(task, str(folder), splits_wanted)
    labels = classification_data.find_labels(task, found)
    return {
        key: classification_data.number_labels(key, table, labels)
        for key, table in found.items()
    }


@pytest.mark.parametrize(
    ("name", "file", "content", "texts", "pairs", "labels"), PUBLISHED
)
def test_published_files_are_read(name, file, content, texts, pairs, labels, tmp_path):
    (tmp_path / file).write_text(content, encoding="utf-8")
    if file == "dev_mismatched.tsv":
        (tmp_path / "dev_matched.tsv").write_text(content, encoding="utf-8")
    split = next(part for part in ("train", "dev", "val", "test") if part in file)
    split = "dev" if split == "val" else split

    found = read(name, tmp_path, [split])

    last = list(found)[-1]
    assert last == ("dev_2" if "mismatched" in file else split)
    assert found[last].table.texts == texts
    assert found[last].table.pairs == pairs
    assert found[last].labels.tolist() == labels


# Examples of train, dev and test, and how many of dev have class 1 (or the sum of the
# scores): the counts that stand in the SOURCE.txt beside the data.
SHARED = [
    ("CoLA", "glue/CoLA", (8551, 1043, 1063), 721),
    ("SST-2", "glue/SST-2", (67349, 872, 1821), 444),
    ("MRPC", "glue/MRPC", (3668, 408, 1725), 279),
    ("RTE", "glue/RTE", (2490, 277, 3000), 131),
    ("WNLI", "glue/WNLI", (635, 71, 146), 31),
    ("QNLI", "glue/QNLI", (None, 5463, 5463), 2761),
    ("STS-B", "glue/STS-B", (5749, 1500, 1379), None),
    ("chnsenticorp", "chnsenticorp", (9600, 1200, 1200), 593),
    ("afqmc", "zh_afqmc", (34334, 4316, 3861), 1338),
    ("sts-b-zh", "zh_sts_b", (5231, 1458, 1361), 354 * 3 + 267 * 2 + 247 + 820 + 260),
]


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "folder", "counts", "positive"), SHARED)
def test_real_files_are_read_whole(name, folder, counts, positive, shared_folder):
    wanted = [
        split
        for split, count in zip(tables.SPLITS, counts, strict=True)
        if count is not None
    ]
    found = read(name, shared_folder / "data" / folder, wanted)

    assert [len(found[split].table) for split in wanted] == [
        count for count in counts if count is not None
    ]
    if positive is not None:
        assert found["dev"].labels.sum() == positive
    has_labels = name in ("chnsenticorp", "sts-b-zh")
    assert (found["test"].labels is not None) == has_labels


@pytest.mark.shared_data
def test_reviews_that_training_has_seen_are_found(shared_folder):
    found = read("chnsenticorp", shared_folder / "data/chnsenticorp", tables.SPLITS)
    seen = {
        split: int(
            (~classification_data.find_unseen(found[split], found["train"].table)).sum()
        )
        for split in ("dev", "test")
    }
    # Rows; they have 335 and 330 different texts, as SOURCE.txt counts.
    assert seen == {"dev": 338, "test": 331}


def test_names_are_found_however_they_are_spelt():
    assert tasks.find_task("SST2") is tasks.find_task("sst_2") is tasks.TASKS["sst-2"]
    with pytest.raises(ValueError, match="--task_name=imdb is unknown: it is one of"):
        tasks.find_task("imdb")


def build_own(kind="tsv", columns=Columns(0, None, 1), is_regression=False):  # noqa: B008
    files = ("train.tsv", "dev.tsv", "test.tsv")
    return tasks.build_own_task(kind, columns, files, is_regression)


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["2", "10", "-1"], ("-1", "2", "10")), (["b", "a", "10"], ("10", "a", "b"))],
)
def test_labels_of_own_files_are_those_of_the_training_file(labels, names, tmp_path):
    content = "".join(f"text\t{label}\n" for label in labels)
    (tmp_path / "train.tsv").write_text(content)
    found = classification_data.read_tables(build_own(), str(tmp_path), ["train"])
    assert classification_data.find_labels(build_own(), found).names == names


def test_classes_of_own_files_are_shown(tmp_path, capsys):
    for labels, said in (
        ("ab", "2 classes, a, b.\n"),
        ("12", "2 classes, 1, 2.\n"),
        (("0.5", "2"), "2 classes, 0.5, 2. If these are scores, pass --regression.\n"),
        ("abcdefghijklmn", "14 classes, a, b, c, d, e, f, g, h, i, j, k, l and 2 more"),
    ):
        content = "".join(f"text\t{label}\n" for label in labels)
        (tmp_path / "train.tsv").write_text(content)
        found = classification_data.read_tables(build_own(), str(tmp_path), ["train"])
        classification_data.find_labels(build_own(), found)
        assert f"train.tsv: {said}" in capsys.readouterr().out


def test_a_first_line_that_looks_like_names_is_pointed_out(tmp_path, capsys):
    hint = "'label' is the label of line 1 alone: if that line holds the names of"
    rows = [f"text\t{number % 2}" for number in range(20)]
    for first, is_said in ((["text\tlabel"], True), ([], False)):
        (tmp_path / "train.tsv").write_text("\n".join([*first, *rows]) + "\n")
        found = classification_data.read_tables(build_own(), str(tmp_path), ["train"])
        classification_data.find_labels(build_own(), found)
        assert (hint in capsys.readouterr().out) == is_said


@pytest.mark.parametrize("label", ['"nan"', "NaN", r'"\ud83d"'])
def test_labels_that_are_none_are_refused(label, tmp_path):
    own = build_own("jsonl", Columns("a", None, "b"))
    lines = ['{"a": "x", "b": 1}', '{"a": "x", "b": 0}', f'{{"a": "x", "b": {label}}}']
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    found = classification_data.read_tables(own, str(tmp_path), ["train"])
    with pytest.raises(ValueError, match="line 3: the label '.*' is none: write it, o"):
        classification_data.find_labels(own, found)


def test_placeholders_of_a_test_file_are_no_labels(tmp_path):
    (tmp_path / "test.tsv").write_text("x\t-1\ny\t-1\n")
    for names in (("0", "1"), ()):  # Classes, and scores.
        found = classification_data.read_tables(build_own(), str(tmp_path), ["test"])
        labels = model.Labels(names)
        assert (
            classification_data.number_labels("test", found["test"], labels).labels
            is None
        )
    with pytest.raises(ValueError, match="line 1: the label '-1' is unknown"):
        classification_data.number_labels(
            "dev", found["test"], model.Labels(("0", "1"))
        )


def test_a_single_label_is_refused(tmp_path):
    (tmp_path / "train.tsv").write_text("x\t1\ny\t1\n")
    found = classification_data.read_tables(build_own(), str(tmp_path), ["train"])
    with pytest.raises(ValueError, match="train.tsv has a single label, '1': nothing"):
        classification_data.find_labels(build_own(), found)


@pytest.mark.parametrize(
    ("label", "is_regression", "message"),
    [
        ("2", False, "line 3: the label '2' is unknown; the labels are 0, 1. Correct"),
        ("high", True, "line 3: the score 'high' is no number that a float32 can"),
        ("inf", True, "line 3: the score 'inf' is no number"),
    ],
)
def test_labels_that_do_not_belong_are_refused(label, is_regression, message, tmp_path):
    (tmp_path / "train.tsv").write_text("x\t1\ny\t0\n")
    (tmp_path / "dev.tsv").write_text(f"x\t1\ny\t0\nz\t{label}\n")
    task = build_own(is_regression=is_regression)
    found = classification_data.read_tables(task, str(tmp_path), ["train", "dev"])
    labels = classification_data.find_labels(task, found)
    with pytest.raises(ValueError, match="dev.tsv") as error:
        classification_data.number_labels("dev", found["dev"], labels)
    assert message in str(error.value)


def test_score_of_a_fine_tuned_folder_is_read_as_regression(tmp_path):
    # Without the head's weights there is nothing to read.
    (tmp_path / "config.json").write_text(json.dumps({"problem_type": "regression"}))
    assert model.read_labels(str(tmp_path)) is None
