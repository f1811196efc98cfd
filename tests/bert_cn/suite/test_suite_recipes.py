"""Recipes of fine-tuning."""

import pytest

from bert_cn.suite import recipes, tasks
from tests.conftest import REPOSITORY


def flags_of(recipe, task: str) -> tuple[str, ...]:
    return recipe.flags_of(tasks.TASKS[task])


def test_the_default_is_the_reference_collections_recipe():
    recipe = recipes.load_recipe("reference")
    first = flags_of(recipe, "chnsenticorp")
    # It has no file for scores.
    assert flags_of(recipe, "sts-b") == flags_of(recipe, "sts-b-zh-embeddings") == first
    assert set(first) == {
        "--max_seq_length=128",
        "--train_batch_size=4",
        "--learning_rate=2e-5",
        "--num_train_epochs=1",
    }
    assert set(flags_of(recipe, "cmrc2018")) == {
        "--max_seq_length=384",
        "--doc_stride=128",
        "--train_batch_size=12",
        "--learning_rate=3e-5",
        "--num_train_epochs=2",
    }


def test_the_older_name_of_the_default_still_works():
    assert recipes.load_recipe("seed").flags == recipes.load_recipe("reference").flags


def test_more_flags_override_those_of_the_files():
    recipe = recipes.load_recipe("reference", ["--learning_rate=1e-4", "--jit_compile"])
    assert "--learning_rate=1e-4" in flags_of(recipe, "mrpc")
    assert "--learning_rate=2e-5" not in flags_of(recipe, "mrpc")
    assert "--jit_compile" in flags_of(recipe, "cmrc2018")


def test_scores_have_a_file_of_their_own_where_there_is_one():
    recipe = recipes.load_recipe("small_models")
    scores = {flags_of(recipe, task) for task in ("sts-b", "sts-b-zh")}
    assert scores == {recipe.flags["regression"]}
    assert "--num_train_epochs=10" in recipe.flags["regression"]
    # Embeddings are trained on classes or cosines, by the classification file.
    others = {flags_of(recipe, task) for task in ("qqp", "sts-b-zh-embeddings")}
    assert others == {recipe.flags["classification"]}
    assert "--num_train_epochs=3" in recipe.flags["classification"]


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_every_recipe_is_a_lab_note_that_the_suite_takes(name):
    assert recipes.load_recipe(name).name == name
    paths = sorted((REPOSITORY / "configs" / "finetune").glob(f"{name}_*.flags"))
    assert len(paths) >= 2
    for path in paths:
        head = path.read_text().split("\n--")[0]
        assert all(line.startswith("#") for line in head.splitlines())
        assert "python -m bert_cn.benchmark_suite" in head
        assert "Hardware, time, result:" in head


def test_recipes_of_your_own_are_named_by_their_path(tmp_path):
    (tmp_path / "mine_classification.flags").write_text("# Mine.\n--learning_rate=1\n")
    (tmp_path / "mine_squad.flags").write_text("--learning_rate=2\n")
    recipe = recipes.load_recipe(f"{tmp_path}/mine")
    assert flags_of(recipe, "sts-b-zh-embeddings") == ("--learning_rate=1",)
    assert flags_of(recipe, "sts-b") == ("--learning_rate=1",)
    assert flags_of(recipe, "drcd") == ("--learning_rate=2",)


def test_what_cannot_be_a_recipe_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--recipe=sed: there is no .*; name one of"):
        recipes.load_recipe("sed")
    for text, message in (
        ("--do_lower_case\n", "sets --do_lower_case, which the suite sets"),
        ("--nodo_train\n", "sets --nodo_train, which"),
        ("learning_rate\n", "'learning_rate' is no flag; write --name=value"),
    ):
        (tmp_path / "own_classification.flags").write_text(text)
        with pytest.raises(ValueError, match=message):
            recipes.load_recipe(f"{tmp_path}/own")
    with pytest.raises(ValueError, match="--run_flags sets --random_seed"):
        recipes.load_recipe("reference", ["--random_seed=1"])
