"""Every recipe is a flag file that run_pretraining takes as it stands."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

RECIPES = sorted(
    str(path.relative_to(REPOSITORY))
    for folder in ("pretrain", "demo")
    for path in (REPOSITORY / "configs" / folder).glob("*.flags")
    if path.name != "data.flags"
)
FURTHER = "configs/pretrain/mlm_further.flags"
PROGRAM = """
import json, sys
from absl import flags
from bert_cn import run_pretraining
found = {}
for path in sys.argv[1:]:
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS.get_flags_for_module(run_pretraining):
        flag.value = flag.default
    flags.FLAGS(["x", f"--flagfile={path}"])
    found[path] = {
        flag.name: flag.value
        for flag in flags.FLAGS.get_flags_for_module(run_pretraining)
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *RECIPES],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_names_an_existing_model_and_a_reachable_schedule(parsed, recipe):
    values = parsed[recipe]
    if recipe == FURTHER:
        assert not values["bert_config_file"]  # The checkpoint brings its own.
    else:
        config = json.loads((REPOSITORY / values["bert_config_file"]).read_text())
        assert values["max_seq_length"] <= config["max_position_embeddings"]
    assert values["num_warmup_steps"] < values["num_train_steps"]
    # 15 % of a full sequence fit.
    assert values["max_predictions_per_seq"] >= round(0.15 * values["max_seq_length"])


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_reference_recipes_have_the_collections_parameters(parsed, size):
    values = parsed[f"configs/pretrain/bert_{size}_cn.flags"]
    expected = {
        "bert_config_file": f"configs/models/bert_{size}_cn.json",
        "train_batch_size": 32,
        "max_seq_length": 128,
        "max_predictions_per_seq": 20,
        "num_train_steps": 100_000,
        "num_warmup_steps": 5_000,
        "learning_rate": 2e-5,
    }
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_a_lab_note(recipe):
    head = (REPOSITORY / recipe).read_text().split("\n--")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "python -m" in head or "make demo" in head
