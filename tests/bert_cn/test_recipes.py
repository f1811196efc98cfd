"""Every recipe is a flag file that run_pretraining takes as it stands."""

import dataclasses
import json

import pytest

from bert_cn.pretraining import settings as settings_lib
from tests.conftest import REPOSITORY

RECIPES = sorted(
    str(path.relative_to(REPOSITORY))
    for folder in ("pretrain", "demo")
    for path in (REPOSITORY / "configs" / folder).glob("*.flags")
    if path.name != "data.flags"
)
FURTHER = "configs/pretrain/mlm_further.flags"


@pytest.fixture
def read_recipe(parse_recipe):
    """Returns a function: path in the repository -> its flags and all defaults."""

    def read(recipe: str) -> settings_lib.PretrainingArgs:
        return settings_lib.fill_in_shape(
            parse_recipe(f"--flagfile={REPOSITORY / recipe}")
        )

    return read


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_names_an_existing_model_and_a_reachable_schedule(read_recipe, recipe):
    args = read_recipe(recipe)
    if recipe == FURTHER:
        assert not args.bert_config_file  # The checkpoint brings its own.
    else:
        config = json.loads((REPOSITORY / args.bert_config_file).read_text())
        assert args.max_seq_length <= config["max_position_embeddings"]
    assert args.num_warmup_steps < args.num_train_steps
    # 15 % of a full sequence fit.
    assert args.max_predictions_per_seq >= round(0.15 * args.max_seq_length)


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_reference_recipes_have_the_collections_parameters(read_recipe, size):
    args = read_recipe(f"configs/pretrain/bert_{size}_cn.flags")
    expected = {
        "bert_config_file": f"configs/models/bert_{size}_cn.json",
        "train_batch_size": 32,
        "max_seq_length": 128,
        "max_predictions_per_seq": 20,
        "num_train_steps": 100_000,
        "num_warmup_steps": 5_000,
        "learning_rate": 2e-5,
    }
    assert expected.items() <= dataclasses.asdict(args).items()


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_a_lab_note(recipe):
    head = (REPOSITORY / recipe).read_text().split("\n--")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "python -m" in head or "make demo" in head
