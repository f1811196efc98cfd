"""Which data sets are found, and where."""

import pytest

from bert_cn.finetuning.classification import tasks as classification_tasks
from bert_cn.suite import tasks


def _touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")


def test_every_classification_task_of_a_suite_is_one_that_its_command_knows():
    for task in tasks.TASKS.values():
        if task.task_name:
            assert classification_tasks.find_task(task.task_name)


def test_the_columns_of_glue_are_those_of_the_seeds_table():
    titles = [
        column.title
        for task in tasks.choose_tasks(["glue"], [])
        for column in task.columns
    ]
    expected = "CoLA SST-2 MRPC STS-B QQP MNLI-m MNLI-mm QNLI RTE WNLI"
    assert titles == expected.split()


def test_a_task_of_two_suites_is_chosen_once():
    names = [task.name for task in tasks.choose_tasks(["squad", "clue"], [])]
    assert names.count("cmrc2018") == 1
    assert {"drcd", "afqmc"} <= set(names)


@pytest.mark.parametrize(
    ("suites", "names", "message"),
    [
        (
            ["glu"],
            [],
            "--suite=glu is unknown: name one or more of glue, clue, squad, s",
        ),
        ([], [], "--suite= is unknown"),
        (["glue"], ["afqmc"], "'afqmc' is no task of --suite=glue, whose tasks are"),
    ],
)
def test_an_unknown_suite_or_task_is_refused(suites, names, message):
    with pytest.raises(ValueError, match=message):
        tasks.choose_tasks(suites, names)


def test_data_is_found_under_the_names_it_goes_round_with(tmp_path):
    _touch(tmp_path / "GLUE" / "SST-2", "train.tsv", "dev.tsv")
    _touch(tmp_path / "glue_data" / "QNLI", "dev.tsv")
    _touch(tmp_path / "afqmc_public", "train.json", "dev.json")
    _touch(tmp_path / "zh_sts_b", *(f"sts-b-{n}.txt" for n in ("train", "dev", "test")))
    _touch(tmp_path, "cmrc2018_train.json", "cmrc2018_dev.json")
    chosen = tasks.choose_tasks(["glue", "clue", "squad"], [])

    found, missing = tasks.find_tasks(chosen, str(tmp_path))

    paths = {each.task.name: each.paths for each in found}
    assert paths == {
        "sst-2": (f"{tmp_path}/GLUE/SST-2/train.tsv", f"{tmp_path}/GLUE/SST-2/dev.tsv"),
        "afqmc": tuple(f"{tmp_path}/afqmc_public/{n}.json" for n in ("train", "dev")),
        **dict.fromkeys(
            ("sts-b-zh", "sts-b-zh-embeddings"),
            tuple(
                f"{tmp_path}/zh_sts_b/sts-b-{n}.txt" for n in ("train", "dev", "test")
            ),
        ),
        "cmrc2018": tuple(f"{tmp_path}/cmrc2018_{n}.json" for n in ("train", "dev")),
    }
    assert missing["QNLI"] == f"no {tmp_path}/glue_data/QNLI/train.tsv"
    assert missing["STS-B"] == "no folder STS-B"
    assert missing["SQuAD 1.1"] == (
        f"no train-v1.1.json with dev-v1.1.json in {tmp_path}"
    )


def test_the_suite_of_sentences_measures_embeddings_on_pairs(tmp_path):
    _touch(tmp_path / "zh_afqmc", *(f"{n}.txt" for n in ("train", "dev", "test")))
    _touch(tmp_path / "LCQMC", *(f"{n}.tsv" for n in ("train", "dev", "test")))
    names = ("translated_train.tsv", "dev_2k.tsv", "test_2k.tsv")
    _touch(tmp_path / "pawsx-zh", *names)
    chosen = tasks.choose_tasks(["sentences"], [])
    assert {task.command for task in chosen} == {tasks.SENTENCES}

    found, missing = tasks.find_tasks(chosen, str(tmp_path))

    assert {each.task.name: each.has_test for each in found} == {
        "afqmc-embeddings": False,
        "lcqmc-embeddings": True,
        "paws-x-embeddings": True,
    }
    assert list(missing) == ["STS-B-zh embeddings", "BQ embeddings"]


def test_a_test_file_is_measured_only_where_it_is_there(data_dir):
    chosen = tasks.choose_tasks(["clue"], ["chnsenticorp"])
    assert len(tasks.find_tasks(chosen, str(data_dir))[0][0].held_out) == 2
    (data_dir / "chnsenticorp" / "test.tsv").unlink()
    found = tasks.find_tasks(chosen, str(data_dir))[0][0]
    assert (len(found.held_out), found.has_test) == (1, False)


def test_a_folder_without_any_data_is_refused(tmp_path):
    chosen = tasks.choose_tasks(["glue"], ["rte"])
    with pytest.raises(ValueError, match=r"none of the tasks \(RTE: no folder RTE\)"):
        tasks.find_tasks(chosen, str(tmp_path))
    with pytest.raises(ValueError, match="absent is no folder: name the one that"):
        tasks.find_tasks(chosen, str(tmp_path / "absent"))
