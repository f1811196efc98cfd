"""Pairs and triples for sentence embeddings: chosen, scaled, read as published."""

import numpy as np
import pytest

from bert_cn.finetuning import tables
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.sentences import data as sentences_data


def make_table(rows):
    texts, pairs, labels = (list(each) for each in zip(*rows, strict=True))
    return tables.Table(
        "nli.tsv",
        texts,
        pairs,
        labels,
        list(range(2, len(rows) + 2)),
        list(range(len(rows))),
    )


def test_positives_get_the_contradictions_of_their_anchor_in_turn(capsys):
    table = make_table(
        [
            ("a", "a1", "entailment"),
            ("b", "b1", "1"),
            ("a", "not a1", "contradiction"),
            ("a", "a2", "entailment"),
            ("a", "not a2", "0"),
            ("a", "a3", "entailment"),
            ("b", "b2", "neutral"),
        ]
    )
    pairs = sentences_data.select_positives(table)
    assert pairs.table.keys() == [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")]
    assert pairs.negatives == ["not a1", None, "not a2", "not a1"]
    assert pairs.table.lines == [2, 3, 5, 7]
    said = capsys.readouterr().out
    assert "nli.tsv: 4 of 7 pairs mean the same; 3 of them have a negative." in said

    # Without contradictions there are no negatives but the batch's.
    pairs = sentences_data.select_positives(make_table([("a", "b", "1")]))
    assert pairs.negatives is None


def test_scores_become_cosines_and_too_large_ones_are_refused():
    table = make_table([("a", "b", "2.5"), ("c", "d", "-5")])
    split = classification_data.Split("train", table, np.array([2.5, -5], np.float32))
    assert sentences_data.scale_scores(split, 5.0).columns["score"].tolist() == [
        0.5,
        -1,
    ]
    with pytest.raises(ValueError, match="line 3: the score -5 is over --max_score=4,"):
        sentences_data.scale_scores(split, 4.0)


@pytest.mark.shared_data
def test_published_scores_are_read(shared_folder):
    counts = {}
    for name, folder in (("sts-b", "glue/STS-B"), ("sts-b-zh", "zh_sts_b")):
        data = sentences_data.read_scored(
            tasks.find_task(name), str(shared_folder / "data" / folder), tables.SPLITS
        )
        counts[name] = [len(data[split].labels) for split in tables.SPLITS]
        assert all(0 <= s.labels.min() < s.labels.max() <= 5 for s in data.values())
        if name == "sts-b":
            # GLUE's own test.tsv has no scores; the benchmark's file beside it has.
            assert data["test"].table.path.endswith("sts-test_gold.csv")
            first = ("A girl is styling her hair.", "A girl is brushing her hair.")
            assert data["test"].table.keys()[0] == first
            assert data["test"].labels[0] == 2.5
        else:
            unseen = classification_data.find_unseen(data["test"], data["train"].table)
            assert (~unseen).sum() == 10
    assert counts == {"sts-b": [5749, 1500, 1379], "sts-b-zh": [5231, 1458, 1361]}
