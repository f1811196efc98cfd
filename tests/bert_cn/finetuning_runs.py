"""What the tests of the fine-tuning commands share: many runs, and what all refuse."""

import json
import pathlib
import subprocess
import sys
import typing

from bert_cn.conversion import formats
from tests.conftest import REPOSITORY

# {0} stands for the folder of a test module, which holds a checkpoint tf1, a
# vocabulary other.txt whose ids differ from it, and out/best, a model that was trained.
TRAIN = ("--do_train", "--init_checkpoint={0}/tf1", "--output_dir={0}/new")
# What every command refuses: flags behind those of a run that is fine (later ones
# override), and what is said.
REFUSED = [
    ((), "Nothing to do: pass --do_train, --do_eval, --do_predict or several."),
    ((*TRAIN, "--num_train_epochs=0"), "--num_train_epochs=0 trains nothing: raise it"),
    (("--do_train", "--output_dir="), "--output_dir is empty: name a folder for the"),
    ((*TRAIN, "--max_seq_length=17"), "is over the model's max_position_embeddings=16"),
    ((*TRAIN, "--init_checkpoint="), "--init_checkpoint is empty: name a checkpoint"),
    ((*TRAIN, "--init_checkpoint={0}"), "No checkpoint is recognised at"),
    (
        (*TRAIN, "--vocab_file={0}/other.txt"),
        "was trained with another vocabulary than --vocab_file={0}/other.txt: id 7 is "
        "'使' there and '用' here.",
    ),
    (
        ("--do_eval", "--output_dir={0}/new"),
        "/new' holds no trained model: pass --do_train, or name ",
    ),
    (
        ("--do_train", "--init_checkpoint={0}/tf1"),
        "/out/best' holds the model of an earlier run: name another --output_dir, or "
        "pass --overwrite to replace it.",
    ),
    ((*TRAIN, "--learning_rate=nan"), "--learning_rate=nan is no number: give a fini"),
    ((*TRAIN, "--num_train_epochs=inf"), "--num_train_epochs=inf is no number: give"),
    ((*TRAIN, "stray"), "Argument 'stray' belongs to no flag"),
]
# Google's English vocabulary does to Chinese what these tests' does to this.
FOREIGN = "Жэ"
UNREADABLE = (
    "% of the tokens are [UNK], which the model cannot tell apart: name a check"
)
# Flags are defined once in a process, so it can run one command many times.
PROGRAM = """
import contextlib, importlib, io, json, sys
from absl import flags
from data_prep import command_line

module = importlib.import_module(sys.argv[1])
found = []
for arguments in json.load(sys.stdin):
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()
    sys.argv = [module.__name__.rpartition(".")[2], *arguments]
    error, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(output):
        try:
            command_line.run_command(module.main)
        except SystemExit as end:
            found.append((end.code or 0, error.getvalue(), output.getvalue()))
json.dump(found, sys.stdout)
"""


class Outcome(typing.NamedTuple):
    """How one of many runs ended."""

    code: int
    error: str
    output: str


def run_many(command, folder, lines) -> list[Outcome]:
    """Run a command with each of several lists of arguments, all in one process."""
    lines = [[each.replace("{0}", str(folder)) for each in line] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, command],
        input=json.dumps(lines),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(*each) for each in json.loads(done.stdout)]


def assert_refused(command, outcome: Outcome, message: str, folder) -> None:
    """Check that a run said one sentence, and left nothing."""
    assert outcome.code == 1, outcome.error
    assert message.replace("{0}", str(folder)) in outcome.error
    name = command.rpartition(".")[2]
    assert outcome.error.startswith(f"{name}: error: "), outcome.error
    assert "Traceback" not in outcome.error
    assert not (folder / "new").exists()


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
