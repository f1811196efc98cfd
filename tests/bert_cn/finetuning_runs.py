"""Helpers of the tests of the fine-tuning commands, and what all commands refuse."""

import json
import pathlib

import pytest

from bert_cn.conversion import formats

# {0} stands for the folder of a test module, which holds a checkpoint tf1, a
# vocabulary other.txt whose ids differ from it, and out/best, a model that was trained.
TRAIN = ("--do_train", "--init_checkpoint={0}/tf1", "--output_dir={0}/new")
# Every command refuses these: the flags after those of a run that is fine (later ones
# override), and what is said.
REFUSED = {
    "nothing to do": (
        (),
        "Nothing to do: pass --do_train, --do_eval, --do_predict or several.",
    ),
    "no epochs": (
        (*TRAIN, "--num_train_epochs=0"),
        "--num_train_epochs=0 trains nothing: raise it",
    ),
    "no output folder": (
        ("--do_train", "--output_dir="),
        "--output_dir is empty: name a folder for the",
    ),
    "too few positions": (
        (*TRAIN, "--max_seq_length=17"),
        "is over the model's 16 positions",
    ),
    "no checkpoint": (
        (*TRAIN, "--init_checkpoint="),
        "--init_checkpoint is empty: name a checkpoint",
    ),
    "folder without a checkpoint": (
        (*TRAIN, "--init_checkpoint={0}"),
        "No checkpoint is recognised at",
    ),
    "another vocabulary": (
        (*TRAIN, "--vocab_file={0}/other.txt"),
        "was trained with another vocabulary than --vocab_file={0}/other.txt: id 7 is "
        "'使' there and '用' here.",
    ),
    "no trained model": (
        ("--do_eval", "--output_dir={0}/new"),
        "/new' holds no trained model: pass --do_train, or name ",
    ),
    "model of an earlier run": (
        ("--do_train", "--init_checkpoint={0}/tf1"),
        "/out/best' holds the model of an earlier run: name another --output_dir, or "
        "pass --overwrite to replace it.",
    ),
    "rate that is no number": (
        (*TRAIN, "--learning_rate=nan"),
        "--learning_rate=nan is no number: give a fini",
    ),
    "endless epochs": (
        (*TRAIN, "--num_train_epochs=inf"),
        "--num_train_epochs=inf is no number: give",
    ),
    "stray word": ((*TRAIN, "stray"), "Argument 'stray' belongs to no flag"),
}
# The vocabulary of these tests has none of these letters, as Google's English one has
# no Chinese.
FOREIGN = "Жэ"
UNREADABLE = (
    "% of the tokens are [UNK], which the model cannot tell apart: name a check"
)


def own_run(run_command, command, folder, *usual):
    """Return a function that runs a command with the usual flags and others."""

    def run(*flags):
        arguments = [each.replace("{0}", str(folder)) for each in (*usual, *flags)]
        return run_command(command, *arguments)

    return run


def assert_refused(run, refused, folder) -> None:
    """Check that a run says one sentence, and leaves nothing.

    Args:
        run: from `own_run`.
        refused: flags, and what is said.
        folder: what {0} stands for.
    """
    flags, message = refused
    done = run(*flags)
    assert done.returncode == 1, done.stderr
    assert message.replace("{0}", str(folder)) in done.stderr
    assert ": error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "new").exists()


def each_of(refused: dict):
    """Parametrize a test with the values of a dictionary, under their names."""
    return pytest.mark.parametrize("refused", refused.values(), ids=refused)


def make_folder(build_bert, vocab_file, path: pathlib.Path, **settings) -> pathlib.Path:
    """Write the checkpoint and the vocabulary that `REFUSED` names."""
    formats.write_checkpoint(build_bert(**settings), "tf1", str(path / "tf1"))
    tokens = vocab_file.read_text(encoding="utf-8").split("\n")
    tokens[7], tokens[8] = tokens[8], tokens[7]
    (path / "other.txt").write_text("\n".join(tokens), encoding="utf-8")
    return path


def name_architecture(model: pathlib.Path, folder: pathlib.Path, name: str) -> None:
    """Copy a fine-tuned model as if it were one of another task."""
    folder.mkdir()
    for path in model.iterdir():
        if path.is_file():
            (folder / path.name).hardlink_to(path)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [name]}))


def read_results(folder: pathlib.Path, name: str = "out") -> dict[str, float]:
    """Read eval_results.txt."""
    lines = (folder / name / "eval_results.txt").read_text().splitlines()
    return {name: float(value) for name, value in (line.split(" = ") for line in lines)}
