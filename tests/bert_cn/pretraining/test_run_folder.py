import dataclasses
import json

import pytest

from bert_cn.pretraining import fingerprint, run_folder
from data_prep.text import vocab as vocab_lib

RATE, OTHER_RATE = (
    fingerprint.Fingerprint({"learning_rate": rate}, {}) for rate in (0.5, 0.1)
)


def make_vocabulary(token: str) -> vocab_lib.Vocabulary:
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", token)
    data = "".join(f"{token}\n" for token in tokens).encode()
    return vocab_lib.Vocabulary(tokens, f"{token}.txt", data)


@pytest.fixture
def description(small_config) -> run_folder.Description:
    return run_folder.Description(small_config, make_vocabulary("中"), False)


@pytest.fixture
def others(description) -> dict[str, run_folder.Description]:
    """Runs that are not the described one, by what the message says."""
    config = dataclasses.replace(description.config, num_hidden_layers=3)
    vocabulary = make_vocabulary("国")
    return {
        "num_hidden_layers=2.*num_hidden_layers=3.*another one": dataclasses.replace(
            description, config=config
        ),
        "vocab.txt is not the vocabulary '国.txt' of the records": dataclasses.replace(
            description, vocabulary=vocabulary
        ),
    }


def read_all(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_description_holds_config_vocabulary_and_casing(description, tmp_path):
    folder = tmp_path / "run"
    run_folder.check_folder(str(folder), description, RATE)
    assert not folder.exists()
    run_folder.begin_run(str(folder), description, RATE)
    assert json.loads((folder / "bert_config.json").read_text())["vocab_size"] == 40
    assert (folder / "vocab.txt").read_bytes() == description.vocabulary.data
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer_config == {"do_lower_case": False}
    assert sorted(read_all(folder)) == [
        "bert_config.json",
        "fingerprint.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_run_that_has_begun_goes_on_only_as_it_began(description, others, tmp_path):
    folder = str(tmp_path)
    run_folder.begin_run(folder, description, RATE)
    (tmp_path / "ckpt-4.index").touch()
    before = read_all(tmp_path)
    run_folder.check_folder(folder, description, RATE)
    # To evaluate needs no settings of training, but model and vocabulary.
    run_folder.check_folder(folder, description, None)
    with pytest.raises(ValueError, match="--learning_rate .then 0.5, now 0.1"):
        run_folder.check_folder(folder, description, OTHER_RATE)
    for message, other in others.items():
        for settings in (RATE, None):
            with pytest.raises(ValueError, match=message):
                run_folder.check_folder(folder, other, settings)
    assert read_all(tmp_path) == before


def test_attempt_without_a_checkpoint_may_be_corrected(description, others, tmp_path):
    folder = str(tmp_path)
    run_folder.begin_run(folder, description, RATE)
    for name in ("best", "tensorboard/train", "tensorboard/eval"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "left").touch()
    for name in ("loss_curve.png", "eval_samples.md"):
        (tmp_path / name).touch()
    (tmp_path / "eval_results.txt").write_text("global_step = 4\n")
    for other in others.values():
        run_folder.check_folder(folder, other, OTHER_RATE)
    corrected = dataclasses.replace(
        description, vocabulary=None, do_lower_case=None, manifests=()
    )
    run_folder.begin_run(folder, corrected, OTHER_RATE)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bert_config.json", "fingerprint.json", "tensorboard"]
    assert list((tmp_path / "tensorboard").iterdir()) == []
    (tmp_path / "ckpt-4.index").touch()
    run_folder.check_folder(folder, corrected, OTHER_RATE)
    with pytest.raises(ValueError, match="--learning_rate .then 0.1, now 0.5"):
        run_folder.check_folder(folder, corrected, RATE)


def test_folder_of_somebody_elses_model_is_not_written_over(
    description, others, tmp_path
):
    run_folder.write_description(str(tmp_path), description)
    for message, other in others.items():
        with pytest.raises(ValueError, match=message):
            run_folder.check_folder(str(tmp_path), other, RATE)


@pytest.mark.parametrize("path", ["out/run[1]", "out\\run"])
def test_folder_that_tensorflow_takes_for_a_pattern_is_refused(path):
    run_folder.check_path("out/*run?]")
    with pytest.raises(ValueError, match="--output_dir=out.* name a folder without"):
        run_folder.check_path(path)


def test_other_checkpoint_than_the_runs_is_not_measured_there(description, tmp_path):
    folder = str(tmp_path)
    begun = fingerprint.Fingerprint({"init_checkpoint": "published"}, {})
    run_folder.check_start(folder, "other")
    run_folder.begin_run(folder, description, begun)
    run_folder.check_start(folder, "other")
    (tmp_path / "ckpt-4.index").touch()
    run_folder.check_start(folder, "")
    run_folder.check_start(folder, "published")
    with pytest.raises(ValueError, match="and not --init_checkpoint=other: name anoth"):
        run_folder.check_start(folder, "other")
