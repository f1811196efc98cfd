"""Baselines computed by hand."""

import pytest

from bert_cn.suite import baselines, tasks


def _find(data_dir, suite, name):
    found, _ = tasks.find_tasks(tasks.choose_tasks([suite], [name]), str(data_dir))
    return found[0]


def _values(found):
    return {k: each.value for k, each in baselines.compute_baselines(found).items()}


def test_the_commonest_class_gives_accuracy_f1_and_matthews(data_dir):
    # Three of four are 1: precision 3/4, recall 1, so F1 is 6/7.
    assert _values(_find(data_dir, "glue", "mrpc")) == pytest.approx(
        {"eval_accuracy": 75.0, "eval_f1": 600 / 7}
    )
    assert _values(_find(data_dir, "glue", "cola")) == pytest.approx(
        {"eval_accuracy": 80.0, "eval_matthews": 0.0}
    )


def test_examples_of_the_training_file_are_left_out_of_unseen(data_dir):
    found = _find(data_dir, "clue", "chnsenticorp")
    computed = baselines.compute_baselines(found)
    assert computed == {
        "eval_accuracy": baselines.Baseline(pytest.approx(200 / 3), 3),
        "test_accuracy": baselines.Baseline(pytest.approx(60.0), 5),
        "test_unseen_accuracy": baselines.Baseline(pytest.approx(200 / 3), 3),
    }


def test_a_test_file_of_placeholders_has_no_baseline(data_dir):
    (data_dir / "chnsenticorp" / "test.tsv").write_text("label\ttext_a\n-1\tx\n")
    assert list(_values(_find(data_dir, "clue", "chnsenticorp"))) == ["eval_accuracy"]


def test_an_unknown_label_is_named_with_its_line(data_dir):
    (data_dir / "chnsenticorp" / "dev.tsv").write_text("label\ttext_a\n2\tx\n")
    with pytest.raises(ValueError, match="dev.tsv, line 2: the label '2' is unknown"):
        baselines.compute_baselines(_find(data_dir, "clue", "chnsenticorp"))


def test_scores_have_no_baseline(tmp_path):
    folder = tmp_path / "zh_sts_b"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"sts-b-{name}.txt").write_text(f"{name}\t二\t3\n{name}三\t四\t5\n")
    for name in ("sts-b-zh", "sts-b-zh-embeddings"):
        computed = baselines.compute_baselines(_find(tmp_path, "clue", name))
        assert computed["test_spearman"] == baselines.Baseline(None, 2)


def test_a_constant_has_no_correlation_with_classes(tmp_path):
    folder = tmp_path / "bq_corpus"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"{name}.tsv").write_text(f"{name}\t二\t1\n{name}三\t四\t0\n")
    computed = baselines.compute_baselines(
        _find(tmp_path, "sentences", "bq-embeddings")
    )
    assert computed["test_spearman"] == baselines.Baseline(None, 2)


def test_no_answer_is_right_where_there_is_none(data_dir):
    found = _find(data_dir, "squad", "squad2.0")
    assert _values(found) == pytest.approx({"eval_exact": 200 / 3, "eval_f1": 200 / 3})


def test_no_answer_is_never_right_where_all_have_one(data_dir):
    for name in ("train", "dev"):
        source = data_dir / "squad" / f"{name}-v2.0.json"
        (data_dir / "squad" / f"{name}-v1.1.json").write_bytes(source.read_bytes())
    found = _find(data_dir, "squad", "squad1.1")
    computed = baselines.compute_baselines(found)
    assert computed["eval_f1"] == baselines.Baseline(0.0, 1)


def test_the_digest_changes_with_the_data(data_dir):
    found = _find(data_dir, "glue", "cola")
    before = baselines.hash_data(found)
    assert baselines.hash_data(found) == before
    with open(found.train, "a") as file:
        file.write("x\t1\t\tMore\n")
    assert baselines.hash_data(found) != before
