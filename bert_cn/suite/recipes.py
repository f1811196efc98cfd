"""The settings of fine-tuning, read from flag files."""

import dataclasses
import os
from collections.abc import Sequence

from absl import flags

from bert_cn.suite import tasks
from data_prep import recipe_files, storage

# A recipe is one file of each kind. Sentence embeddings use the classification file,
# and so does regression where a recipe has no file for it.
_CLASSIFICATION, _REGRESSION, _READING = "classification", "regression", "squad"
# "seed" is what `reference` was called before.
_OLDER_NAMES = {"seed": "reference"}
# Flags that the suite itself sets for each run.
_OWN_FLAGS = (
    *("task_name", "task", "data_dir", "output_dir", "overwrite", "cache_dir"),
    *("init_checkpoint", "bert_config_file", "vocab_file", "do_lower_case"),
    *("do_train", "do_eval", "do_predict", "random_seed"),
    *("train_file", "dev_file", "predict_file", "test_file"),
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The flags that every run of a command gets.

    Attributes:
        name: as the user gave it.
        flags: kind of file -> its flags.
    """

    name: str
    flags: dict[str, tuple[str, ...]]

    def flags_of(self, task: tasks.SuiteTask) -> tuple[str, ...]:
        """Return the flags of a task's runs."""
        if task.command == tasks.READER:
            return self.flags[_READING]
        is_regression = task.command == tasks.CLASSIFIER and task.is_regression
        return self.flags[_REGRESSION if is_regression else _CLASSIFICATION]


def load_recipe(name: str, more_flags: Sequence[str] = ()) -> Recipe:
    """Read NAME_classification.flags, NAME_squad.flags and NAME_regression.flags.

    Args:
        name: a recipe of configs/finetune, or the path of the user's own files without
            `_classification.flags` and so on; that of regression may be missing.
        more_flags: flags that override those of the files.

    Raises:
        ValueError: a file is missing, or sets a flag that the suite itself sets.
    """
    prefix = _OLDER_NAMES.get(name, name)
    if not os.path.dirname(name):
        prefix = os.path.join(find_folder(), prefix)
    found = {}
    for kind in (_CLASSIFICATION, _READING, _REGRESSION):
        path = f"{prefix}_{kind}.flags"
        if kind == _REGRESSION and not storage.exists(path):
            found[kind] = found[_CLASSIFICATION]
            continue
        if not storage.exists(path):
            raise ValueError(
                f"--recipe={name}: there is no {path}; name one of "
                f"{', '.join(list_recipes()) or 'your own'}, or a path before "
                "_classification.flags and _squad.flags of your own."
            )
        # absl's own reader: comments, blank lines and --flagfile inside.
        lines = flags.FlagValues().read_flags_from_files([f"--flagfile={path}"])
        _refuse_own(lines, path)
        found[kind] = _drop_overridden([*lines, *more_flags])
    _refuse_own(more_flags, "--run_flags")
    return Recipe(name, found)


def find_folder() -> str:
    """Return the folder of the recipes."""
    return os.path.join(recipe_files.find_folder(), "finetune")


def list_recipes() -> list[str]:
    """Return the names of the recipes in configs/finetune."""
    folder = find_folder()
    if not storage.isdir(folder):
        return []
    end = "_classification.flags"
    names = sorted(storage.listdir(folder))
    return [name.removesuffix(end) for name in names if name.endswith(end)]


def _name_of(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


def _refuse_own(lines: Sequence[str], source: str) -> None:
    for line in lines:
        if not line.startswith("--"):
            raise ValueError(
                f"{source}: {line!r} is no flag; write --name=value, one after another."
            )
        if _name_of(line).removeprefix("no") in _OWN_FLAGS or (
            _name_of(line) in _OWN_FLAGS
        ):
            raise ValueError(
                f"{source} sets --{_name_of(line)}, which the suite sets for each run: "
                "leave it out."
            )


def _drop_overridden(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last line of each flag: it overrides those before it."""
    return tuple({_name_of(line): line for line in lines}.values())
