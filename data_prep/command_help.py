"""What --help prints: the command, its flags in the order of their definition."""

import re
import shutil
import sys
import textwrap

from absl import flags

_WORDS = ("--help", "-help", "-h", "--helpshort", "-helpshort")
_REQUIRED = "must have a value other than None"
_INDENT = "      "
_MOST_COLUMNS = 100


def is_asked_for(arguments: list[str]) -> bool:
    """Say whether a command line asks for help; what stands after -- is not ours."""
    own = arguments[1 : arguments.index("--")] if "--" in arguments else arguments[1:]
    return any(word in _WORDS for word in own)


def describe(values: flags.FlagValues = flags.FLAGS) -> str:
    """Return the help of the running command.

    Args:
        values: its flags.
    """
    columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    about = sys.modules["__main__"].__doc__ or ""
    own = values.get_key_flags_for_module(sys.argv[0])
    lines = [about.strip("\n"), "", "flags:"]
    for flag in own:
        lines += _describe_flag(flag, columns)
    others = "--helpfull lists the flags of absl, too."
    return "\n".join([*lines, "", others])


def _describe_flag(flag: flags.Flag, columns: int) -> list[str]:
    """Return the lines of a flag: its name and values, then what it decides."""
    if flag.boolean:
        shown = f"--[no]{flag.name}"
    elif getattr(flag.parser, "enum_values", None):
        shown = f"--{flag.name}={'|'.join(flag.parser.enum_values)}"
    else:
        shown = f"--{flag.name}="
    if flag.short_name:
        shown = f"-{flag.short_name}, {shown}"
    notes = []
    if any(_REQUIRED in str(check.message) for check in flag.validators):
        notes.append("required")
    elif flag.default is not None and flag.default != "":
        notes.append(f"default: {flag.default_as_str.strip(chr(39))}")
    limits = getattr(flag.parser, "syntactic_help", "")
    if limits and " in " in f" {limits} " and "range" in limits:
        notes.append(limits)
    end = f"  ({'; '.join(notes)})" if notes else ""
    # absl puts the values of an enum there, which the name has already.
    about = re.sub(r"^<[^>]*>: ", "", " ".join(str(flag.help).split()))
    text = textwrap.wrap(about, columns - len(_INDENT))
    return [f"  {shown}{end}", *(f"{_INDENT}{line}" for line in text)]
