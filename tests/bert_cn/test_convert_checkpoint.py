"""The real command, from any input to any output, and what it refuses."""

import os
import shutil

import pytest

from bert_cn.conversion import formats

COMMAND = "bert_cn.convert_checkpoint"


@pytest.fixture(scope="module")
def tf1_folder(build_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("input") / "tf1"
    formats.write_checkpoint(build_bert(), "tf1", str(folder))
    return folder


@pytest.fixture
def changed_folder(tf1_folder, tmp_path):
    """A copy to damage."""
    return shutil.copytree(tf1_folder, tmp_path / "damaged")


def convert(source, *flags, output_dir):
    return (f"--input={source}", f"--output_dir={output_dir}", *flags)


def test_command_says_what_it_read_and_wrote(
    run_command, tf1_folder, build_bert, assert_same_weights, tmp_path
):
    done = run_command(
        COMMAND,
        *convert(tf1_folder, "--output_format=tf2", output_dir=tmp_path / "out"),
    )

    assert done.returncode == 0, done.stderr
    assert "TF1 checkpoint of google-research/bert" in done.stdout
    assert "Read 46 weights (3,516 parameters" in done.stdout
    assert "Vocabulary of 42 tokens, do_lower_case=false." in done.stdout
    assert "transformers folder with tf_model.h5) in " in done.stdout
    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert_same_weights(back, build_bert())


def test_tf2_layout_is_the_older_name_of_the_model_garden_format(
    run_command, tf1_folder, tmp_path
):
    older = convert(
        tf1_folder,
        *("--output_format=tf2", "--tf2_layout=model_garden"),
        output_dir=tmp_path / "older",
    )
    newer = convert(
        tf1_folder, "--output_format=model_garden", output_dir=tmp_path / "newer"
    )
    done = [run_command(COMMAND, *flags) for flags in (older, newer)]

    for run in done:
        assert "(TF2 checkpoint of TF Model Garden) in " in run.stdout, run.stderr
    names = os.listdir(tmp_path / "newer")
    assert sorted(os.listdir(tmp_path / "older")) == sorted(names)
    for name in names:
        newer, older = (tmp_path / folder / name for folder in ("newer", "older"))
        assert newer.read_bytes() == older.read_bytes(), name


def test_unrecorded_lower_case_is_guessed_and_said(
    run_command, changed_folder, tmp_path
):
    (changed_folder / "tokenizer_config.json").unlink()

    done = run_command(
        COMMAND,
        *convert(changed_folder, "--output_format=keras", output_dir=tmp_path / "out"),
    )

    # The vocabulary holds "Bert", so it is a cased one.
    assert "do_lower_case=false (not recorded; guessed" in done.stdout, done.stderr
    assert formats.read_checkpoint(str(tmp_path / "out")).do_lower_case is False


def test_exact_gelu_to_keras_warns(run_command, build_bert, tmp_path):
    bert = build_bert(hidden_act="gelu_erf")
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "exact"))

    done = run_command(
        COMMAND,
        *convert(
            tmp_path / "exact", "--output_format=keras", output_dir=tmp_path / "out"
        ),
    )

    assert done.returncode == 0, done.stderr
    assert "warning: KerasHub's BertBackbone always computes the tanh" in done.stderr


def test_unknown_input_is_refused(assert_refused, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")

    assert_refused(
        COMMAND,
        *convert(tmp_path, "--output_format=tf2", output_dir=tmp_path / "out"),
        saying=("No checkpoint is recognised", "it holds notes.txt", "Name a training"),
    )
    assert not (tmp_path / "out").exists()


def test_output_folder_with_files_is_refused_and_kept(
    assert_refused, tf1_folder, tmp_path
):
    (tmp_path / "mine.txt").write_text("mine")

    assert_refused(
        COMMAND,
        *convert(tf1_folder, "--output_format=tf2", output_dir=tmp_path),
        saying=("is not empty (mine.txt is in it)", "--overwrite"),
    )
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_vocabulary_of_another_size_is_refused(
    assert_refused, changed_folder, tmp_path
):
    with (changed_folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("more\n")

    assert_refused(
        COMMAND,
        *convert(changed_folder, "--output_format=tf2", output_dir=tmp_path / "out"),
        saying=("has 43 tokens, but the model in", "has 42: name the vocabulary"),
    )
    assert not (tmp_path / "out").exists()


def test_renamed_tokens_keep_their_rows_and_are_counted(
    run_command, tf1_folder, build_bert, assert_same_weights, tmp_path
):
    lines = (tf1_folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    renamed = tmp_path / "renamed.txt"
    renamed.write_text("\n".join([*lines[:-1], "新"]) + "\n", encoding="utf-8")

    done = run_command(
        COMMAND,
        *convert(
            tf1_folder,
            "--output_format=tf1",
            f"--vocab_file={renamed}",
            output_dir=tmp_path / "out",
        ),
    )

    assert done.returncode == 0, done.stderr
    assert "1 ids have another token" in done.stderr
    assert f"{lines[-1]!r} is now '新'" in done.stderr
    assert_same_weights(formats.read_checkpoint(str(tmp_path / "out")), build_bert())


def test_vocabulary_without_mask_is_refused(assert_refused, tf1_folder, tmp_path):
    vocabulary = (tf1_folder / "vocab.txt").read_text(encoding="utf-8")
    path = tmp_path / "vocab.txt"
    path.write_text(vocabulary.replace("[MASK]", "[MUSK]"), encoding="utf-8")

    assert_refused(
        COMMAND,
        *convert(tf1_folder, "--output_format=tf2", output_dir=tmp_path / "out"),
        f"--vocab_file={path}",
        saying=("lacks [MASK]",),
    )


def test_checkpoint_of_another_size_than_the_config_is_refused(
    assert_refused, changed_folder, build_bert, tmp_path
):
    config = build_bert(hidden_size=24).config
    (changed_folder / "bert_config.json").write_text(config.to_json())

    assert_refused(
        COMMAND,
        *convert(changed_folder, "--output_format=tf2", output_dir=tmp_path / "out"),
        saying=(
            "bert/embeddings/LayerNorm/beta has shape [12]",
            "the configuration beside it asks for [24]",
        ),
    )


def test_cut_off_checkpoint_is_refused(assert_refused, changed_folder, tmp_path):
    path = changed_folder / "bert_model.ckpt.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:400])

    assert_refused(
        COMMAND,
        *convert(changed_folder, "--output_format=tf2", output_dir=tmp_path / "out"),
        saying=("cannot be read", "copy its .index and .data files again"),
    )


def test_missing_flags_are_refused(assert_refused):
    assert_refused(
        COMMAND, "--input=x", saying=("--output_format is missing: one of tf1, tf2",)
    )
