"""bert-cn: all commands under one name.

    bert-cn pretrain --recipe=bert_tiny_cn_fast ...

runs `python -m bert_cn.run_pretraining` with the same arguments. Nothing else is done
here: Python is replaced by the one that runs the command, so that signals, exit codes
and the environment of --tpu are the command's own.
"""

import os
import sys

from data_prep import command_line

# Name -> (module, what it does).
COMMANDS = {
    "data": (
        "data_prep.create_pretraining_data",
        "text to records, words masked whole",
    ),
    "vocab": ("data_prep.build_vocab", "train a WordPiece vocabulary"),
    "inspect": ("data_prep.inspect_records", "look at records"),
    "plan": ("bert_cn.plan_further_pretraining", "look before training further"),
    "pretrain": ("bert_cn.run_pretraining", "pretrain on a CPU, GPUs or a TPU"),
    "fill": ("bert_cn.fill_mask", "fill [MASK]"),
    "convert": ("bert_cn.convert_checkpoint", "any checkpoint format to any other"),
    "params": ("bert_cn.count_params", "count parameters"),
    "finetune classifier": ("bert_cn.run_classifier", "classes and scores of texts"),
    "finetune squad": ("bert_cn.run_squad", "answers to questions on a text"),
    "finetune ner": ("bert_cn.run_ner", "named entities and other tags"),
    "finetune sentences": ("bert_cn.run_sentence_bert", "sentence embeddings"),
    "encode": ("bert_cn.encode_sentences", "a vector for each line of a file"),
    "suite": ("bert_cn.benchmark_suite", "GLUE, CLUE and SQuAD in one table"),
    "tpu preflight": ("tpu.preflight", "does it fit, how long does it take"),
    "tpu health": ("tpu.health", "is a TPU well"),
    "tpu supervise": ("tpu.supervise", "train again after a preemption"),
}
_COMPLETION = "--completion"

_SCRIPTS = {
    "bash": """_bert_cn() {
    local words="${COMP_WORDS[*]:1:COMP_CWORD-1}" current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$(bert-cn --complete "$words")" -- "$current"))
    [[ $current == --*= ]] && compopt -o nospace
}
complete -o default -F _bert_cn bert-cn
""",
    "zsh": """#compdef bert-cn
_bert_cn() {
    local candidates=(${(f)"$(bert-cn --complete "${words[2,CURRENT-1]}")"})
    compadd -- $candidates || _files
}
compdef _bert_cn bert-cn
""",
}


def main() -> None:
    """Run the command that the first word or two name."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--complete"]:
        print("\n".join(list_completions(" ".join(arguments[1:]).split())))
        return
    if arguments and arguments[0].partition("=")[0] == _COMPLETION:
        sys.exit(_print_completion(arguments[0].partition("=")[2]))
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(describe())
        return
    if arguments == ["--version"]:
        print(command_line.describe_version())
        return
    module, rest = find_command(arguments)
    if not module:
        given = " ".join(arguments[:2])
        print(
            f"bert-cn: error: {given!r} is no command: name one of "
            f"{', '.join(COMMANDS)}; bert-cn --help says what each does.",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *rest])


def find_command(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the module that a command line names, and its arguments; "" for none."""
    for length in (2, 1):
        name = " ".join(arguments[:length])
        if name in COMMANDS:
            return COMMANDS[name][0], arguments[length:]
    return "", arguments


def describe() -> str:
    """Return the help: each command, what it does, and the module that it runs."""
    lines = [
        f"  {name:<20}  {what:<38}  python -m {module}"
        for name, (module, what) in COMMANDS.items()
    ]
    return "\n".join(
        [
            "usage: bert-cn COMMAND [--flag=value ...]",
            "",
            *lines,
            "",
            "bert-cn COMMAND --help lists the flags of a command. Completion:",
            f'  eval "$(bert-cn {_COMPLETION}=bash)"    (or zsh)',
        ]
    )


def list_completions(words: list[str]) -> list[str]:
    """Return what may follow the words of a command line: names, or flags.

    Args:
        words: those before the one that is completed.
    """
    if not find_command(words)[0]:
        rest = [name.split()[len(words) :] for name in COMMANDS if _begins(name, words)]
        return sorted({names[0] for names in rest if names})
    import importlib

    from absl import flags

    # TensorFlow is not imported: commands define their flags without it.
    importlib.import_module(find_command(words)[0])
    return sorted(
        f"--{name}" if flags.FLAGS[name].boolean else f"--{name}="
        for name in flags.FLAGS
        if len(name) > 1
    )


def _begins(name: str, words: list[str]) -> bool:
    return name.split()[: len(words)] == words


def _print_completion(shell: str) -> int:
    if shell not in _SCRIPTS:
        print(
            f"bert-cn: error: {_COMPLETION}={shell} is no shell that is known: name "
            f"one of {', '.join(_SCRIPTS)}.",
            file=sys.stderr,
        )
        return 1
    print(_SCRIPTS[shell], end="")
    return 0


if __name__ == "__main__":
    main()
