"""Recipes: files of flags that come with this program, found by name.

They lie in configs/ of the repository, and in the package `bert_cn.configs` where the
program is installed without the repository.
"""

import os
from collections.abc import Sequence

from absl import flags

# --recipe belongs to the command that calls `define_flag`: --help lists it there.
flags.disclaim_key_flags()

NAME = "recipe"
_CONFIGS = "configs"
_END = ".flags"
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find_folder(parent: str = _REPOSITORY) -> str:
    """Return the folder of all configurations: the repository's, or the package's.

    Args:
        parent: the folder that holds the packages.
    """
    folder = os.path.join(parent, _CONFIGS)
    if os.path.isdir(folder):
        return folder
    return os.path.join(parent, "bert_cn", _CONFIGS)


def find_file(path: str) -> str:
    """Return where a file is that a recipe names, such as configs/models/NAME.json.

    Args:
        path: of the file; one that does not begin with configs/, or that is there, is
            returned as it is.
    """
    start, _, rest = path.partition("/")
    if start != _CONFIGS or os.path.exists(path):
        return path
    return os.path.join(find_folder(), *rest.split("/"))


def list_recipes(kind: str) -> list[str]:
    """Return the names of the recipes in configs/KIND, without .flags."""
    folder = os.path.join(find_folder(), kind)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name.removesuffix(_END) for name in names if name.endswith(_END)]


def define_flag(kind: str, values: flags.FlagValues = flags.FLAGS) -> None:
    """Define --recipe, which stands for --flagfile with the path of a recipe.

    Args:
        kind: the folder of configs/ whose recipes need no folder in their names.
        values: where to define it.
    """
    flags.DEFINE_string(
        NAME,
        None,
        f"A recipe of configs/{kind}, by its name: its flags, as --flagfile reads "
        "them; flags after it override them. One of "
        f"{', '.join(list_recipes(kind))}; or FOLDER/NAME of configs/.",
        flag_values=values,
    )
    # Read by `expand`.
    values[NAME].kind = kind


def expand(
    arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """Put --flagfile=PATH after each --recipe=NAME.

    Args:
        arguments: a command line, the program first.
        values: the command's flags. Without a flag of `define_flag` among them nothing
            is changed.

    Raises:
        ValueError: there is no such recipe.
    """
    kind = getattr(values[NAME], "kind", "") if NAME in values else ""
    expanded = []
    arguments = list(arguments)
    for number, argument in enumerate(arguments):
        if argument is None:
            continue
        expanded.append(argument)
        name, given, value = argument.partition("=")
        if not kind or name.lstrip("-") != NAME or not name.startswith("-"):
            continue
        if not given and number + 1 < len(arguments):
            value = arguments[number + 1]
            # As one argument, so that the file's flags stand after it.
            expanded[-1] = f"{name}={value}"
            arguments[number + 1] = None
        expanded.append(f"--flagfile={_find_recipe(value, kind)}")
    return expanded


def _find_recipe(name: str, kind: str) -> str:
    """Return the path of a recipe; raise ValueError if there is none."""
    inside = name if "/" in name else f"{kind}/{name}"
    path = os.path.join(find_folder(), *inside.split("/")) + _END
    # Names stay below the folder.
    if ".." in inside.split("/") or not os.path.isfile(path):
        raise ValueError(
            f"--{NAME}={name}: there is no such recipe; name one of "
            f"{', '.join(list_recipes(kind))}, or a file of your own by --flagfile."
        )
    return path
