"""Run a training command again whenever its TPU goes away.

    python -m tpu.supervise --tpu=NAME --recreate_command='...' -- \
        python -m bert_cn.run_pretraining --tpu=NAME ...

The command is run once and ends with its exit code, unless that is among
--transient_codes, a signal ended it, or its TPU is gone: then the TPU is made anew, if
it must be and --recreate_command says how, and the same command runs again. So it is
at the start, if there is none.
"""

import sys

from absl import flags

from data_prep import command_line
from tpu import node, supervision

_TPU = flags.DEFINE_string(
    "tpu", "", "The TPU's name, to look after its health; empty: exit codes alone tell."
)
_ZONE = flags.DEFINE_string("zone", "", "Its zone (default: this VM's own).")
_PROJECT = flags.DEFINE_string("project", "", "Its project (default: this VM's own).")
_RECREATE_COMMAND = flags.DEFINE_multi_string(
    "recreate_command",
    [],
    "Shell command that deletes the TPU and makes it anew; several are run in turn.",
)
_TRANSIENT_CODES = flags.DEFINE_list(
    "transient_codes",
    [str(command_line.TRANSIENT)],
    "Exit codes after which the command is run again; 255 too where it is an ssh.",
)
_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts",
    20,
    "Restarts in a row after which it is given up; a life of half an hour counts anew.",
    lower_bound=0,
)
_BACKOFF_SECONDS = flags.DEFINE_float(
    "backoff_seconds",
    10.0,
    "Wait before the first restart; doubled with each in a row, up to ten minutes.",
    lower_bound=0.0,
)
_POLL_SECONDS = flags.DEFINE_float(
    "poll_seconds", 60.0, "Seconds between two looks at the TPU.", lower_bound=0.05
)
_WAIT_MINUTES = flags.DEFINE_float(
    "wait_minutes",
    20.0,
    "Wait so long for a sick TPU to recover, or a new one to be ready.",
    lower_bound=0.0,
)


def main(arguments: list[str]) -> None:
    """Read flags, supervise, and exit as the command did."""
    command = arguments[1:]
    if not command:
        raise ValueError(
            "There is no command to run: write it behind --, as in python -m "
            "tpu.supervise -- python -m bert_cn.run_pretraining ..."
        )
    try:
        codes = frozenset(int(code) for code in _TRANSIENT_CODES.value)
    except ValueError as error:
        raise ValueError(
            f"--transient_codes={','.join(_TRANSIENT_CODES.value)}: give numbers with "
            "commas between them."
        ) from error

    def look():
        return node.look(_TPU.value, _ZONE.value, _PROJECT.value)

    settings = supervision.Settings(
        command,
        _RECREATE_COMMAND.value,
        codes,
        _MAX_RESTARTS.value,
        _BACKOFF_SECONDS.value,
        _POLL_SECONDS.value,
        _WAIT_MINUTES.value * 60,
        look if _TPU.value else None,
    )
    with supervision.SignalRelay() as relay:
        try:
            if settings.look is not None:
                # A wrong project or missing right is a mistake, now and not in the
                # first night.
                found = settings.look()
                supervision.log(node.describe(_TPU.value, found))
                supervision.bring_up_first(found, settings, relay)
            code = supervision.supervise(settings, relay)
        except supervision.Stopped:
            code = 128 + relay.received
    sys.exit(code)


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="the newest checkpoint")
