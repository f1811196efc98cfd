import dataclasses
import json

import pytest

from bert_cn.pretraining import fingerprint, run_folder
from bert_cn.pretraining import settings as settings_lib
from data_prep.text import vocab as vocab_lib

OTHER_RATE = fingerprint.Fingerprint({"learning_rate": 0.1}, {})


def make_vocabulary(token: str) -> vocab_lib.Vocabulary:
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", token)
    data = "".join(f"{token}\n" for token in tokens).encode()
    return vocab_lib.Vocabulary(tokens, f"{token}.txt", data)


@pytest.fixture
def description(small_config) -> run_folder.Description:
    settings = fingerprint.Fingerprint({"learning_rate": 0.5}, {})
    vocabulary = make_vocabulary("中")
    return run_folder.Description(small_config, vocabulary, False, (), settings)


@pytest.fixture
def others(description) -> dict[str, run_folder.Description]:
    """Descriptions of other runs, by a pattern of the message that refuses them."""
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


@pytest.fixture
def args(tmp_path) -> settings_lib.PretrainingArgs:
    return settings_lib.PretrainingArgs(output_dir=str(tmp_path / "run"), do_train=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def with_other_rate(description) -> run_folder.Description:
    return dataclasses.replace(description, fingerprint=OTHER_RATE)


def test_description_holds_config_vocabulary_and_casing(args, description, tmp_path):
    folder = tmp_path / "run"
    run_folder.check_folder(args, description)
    assert not folder.exists()
    run_folder.begin_run(str(folder), description)
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


def test_run_is_resumed_only_as_it_was_started(args, description, others, folder):
    run_folder.begin_run(str(folder), description)
    (folder / "ckpt-4.index").touch()
    before = read_all(folder)
    run_folder.check_folder(args, description)
    # Evaluating needs the same model and vocabulary, but no settings of training.
    evaluates = dataclasses.replace(args, do_train=False)
    run_folder.check_folder(evaluates, with_other_rate(description))
    with pytest.raises(ValueError, match="--learning_rate .then 0.5, now 0.1"):
        run_folder.check_folder(args, with_other_rate(description))
    for message, other in others.items():
        for flags_of_run in (args, evaluates):
            with pytest.raises(ValueError, match=message):
                run_folder.check_folder(flags_of_run, other)
    assert read_all(folder) == before


def test_attempt_without_a_checkpoint_may_be_corrected(
    args, description, others, folder
):
    run_folder.begin_run(str(folder), description)
    for name in ("best", "tensorboard/train", "tensorboard/eval"):
        (folder / name).mkdir(parents=True)
        (folder / name / "left").touch()
    for name in ("loss_curve.png", "eval_samples.md", "run_report.html"):
        (folder / name).touch()
    (folder / "eval_results.txt").write_text("global_step = 4\n")
    for other in others.values():
        run_folder.check_folder(args, with_other_rate(other))
    corrected = dataclasses.replace(
        with_other_rate(description), vocabulary=None, do_lower_case=None
    )
    run_folder.begin_run(str(folder), corrected)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["bert_config.json", "fingerprint.json", "tensorboard"]
    assert list((folder / "tensorboard").iterdir()) == []
    (folder / "ckpt-4.index").touch()
    run_folder.check_folder(args, corrected)
    earlier = dataclasses.replace(corrected, fingerprint=description.fingerprint)
    with pytest.raises(ValueError, match="--learning_rate .then 0.1, now 0.5"):
        run_folder.check_folder(args, earlier)


def test_folder_of_somebody_elses_model_is_not_written_over(
    args, description, others, folder
):
    run_folder.write_description(str(folder), description)
    for message, other in others.items():
        with pytest.raises(ValueError, match=message):
            run_folder.check_folder(args, other)


def test_other_checkpoint_than_the_runs_is_not_measured_there(
    args, description, folder
):
    started = dataclasses.replace(
        description,
        fingerprint=fingerprint.Fingerprint({"init_checkpoint": "published"}, {}),
    )

    def check(init_checkpoint: str) -> None:
        evaluates = dataclasses.replace(
            args, do_train=False, init_checkpoint=init_checkpoint
        )
        run_folder.check_folder(evaluates, description)

    check("other")
    run_folder.begin_run(str(folder), started)
    check("other")
    (folder / "ckpt-4.index").touch()
    check("")
    check("published")
    with pytest.raises(ValueError, match="and not --init_checkpoint=other: name anoth"):
        check("other")
