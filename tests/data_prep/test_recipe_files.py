import os

import pytest
from absl import flags

from data_prep import recipe_files
from tests.conftest import REPOSITORY


@pytest.fixture
def values():
    values = flags.FlagValues()
    recipe_files.define_flag("pretrain", values)
    flags.DEFINE_integer("steps", 0, "Steps.", flag_values=values)
    return values


@pytest.mark.parametrize(
    "given", [["--recipe=bert_tiny_cn"], ["-recipe", "bert_tiny_cn"]]
)
def test_recipe_becomes_a_flagfile_before_the_flags_after_it(values, given):
    path = REPOSITORY / "configs" / "pretrain" / "bert_tiny_cn.flags"
    assert recipe_files.expand(["x", *given, "--steps=3"], values) == [
        "x",
        f"{given[0].partition('=')[0]}=bert_tiny_cn",
        f"--flagfile={path}",
        "--steps=3",
    ]


def test_recipe_of_another_folder_has_it_in_its_name(values):
    expanded = recipe_files.expand(["x", "--recipe=demo/pretrain"], values)
    assert expanded[-1].endswith(os.path.join("configs", "demo", "pretrain.flags"))


@pytest.mark.parametrize(
    "name", ["", "bert_huge_cn", "../setup", "finetune/../pretrain/bert_tiny_cn"]
)
def test_unknown_recipe_is_named_with_those_that_exist(values, name):
    with pytest.raises(ValueError, match=r"no such recipe; name one of bert_base_cn"):
        recipe_files.expand(["x", f"--recipe={name}"], values)


def test_flag_of_the_same_name_of_another_command_is_left_alone():
    values = flags.FlagValues()
    flags.DEFINE_string("recipe", "reference", "Another.", flag_values=values)
    assert recipe_files.expand(["x", "--recipe=own"], values) == ["x", "--recipe=own"]


def test_folder_is_the_repositorys_or_the_packages(tmp_path):
    assert recipe_files.find_folder() == str(REPOSITORY / "configs")
    installed = recipe_files.find_folder(str(tmp_path))
    assert installed == str(tmp_path / "bert_cn" / "configs")


def test_files_of_configs_are_found_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/models/bert_tiny_cn.json"
    assert recipe_files.find_file(name) == str(REPOSITORY / name)
    assert recipe_files.find_file("models/own.json") == "models/own.json"
    (tmp_path / "configs" / "models").mkdir(parents=True)
    (tmp_path / name).touch()
    assert recipe_files.find_file(name) == name
