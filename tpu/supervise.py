r"""Run a training command again whenever its TPU goes away.

    python -m tpu.supervise --tpu=NAME --recreate_command='...' -- \
        python -m bert_cn.run_pretraining --tpu=NAME ...

Runs the command once and ends with its exit code, unless the code is among
--transient_codes, a signal ended the command, or its TPU is gone. Then the command runs
again, after --recreate_command if the TPU must be created. A TPU that does not exist at
the start is created first.
"""

import dataclasses
import sys

from absl import flags

from data_prep import command_line
from tpu import node, supervision

flags.DEFINE_string(
    "tpu", "", "The TPU's name, to watch its health; empty: only exit codes decide."
)
flags.DEFINE_string("zone", "", "Its zone (default: this VM's own).")
flags.DEFINE_string("project", "", "Its project (default: this VM's own).")
flags.DEFINE_multi_string(
    "recreate_command",
    [],
    "Shell command that deletes the TPU and creates it again; several run in turn.",
)
flags.DEFINE_list(
    "transient_codes",
    [str(command_line.TRANSIENT)],
    "Exit codes after which the command runs again; add 255 if it is an ssh.",
)
flags.DEFINE_integer(
    "max_restarts",
    20,
    "Give up after this many restarts in a row. A run of half an hour or more ends the "
    "row.",
    lower_bound=0,
)
flags.DEFINE_float(
    "backoff_seconds",
    10.0,
    "Wait this long before the first restart; the wait doubles with each restart in a "
    "row, up to ten minutes.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "poll_seconds",
    60.0,
    "Seconds between two questions for the TPU's health.",
    lower_bound=0.05,
)
flags.DEFINE_float(
    "wait_minutes",
    20.0,
    "Wait this long for an unhealthy TPU to recover, or for a new one to be ready.",
    lower_bound=0.0,
)


@dataclasses.dataclass(frozen=True)
class SuperviseArgs:
    """Which TPU to watch, and when to run the command again."""

    tpu: str
    """The TPU's name; "" if only exit codes decide."""

    zone: str
    """Its zone; "" for this VM's own."""

    project: str
    """Its project; "" for this VM's own."""

    recreate_command: tuple[str, ...]
    """Shell commands, run in turn, that delete the TPU and create it again."""

    transient_codes: frozenset[int]
    """Exit codes after which the command runs again."""

    max_restarts: int
    """The most restarts in a row."""

    backoff_seconds: float
    """The wait before the first restart in a row."""

    poll_seconds: float
    """Seconds between two questions for the TPU's health."""

    wait_minutes: float
    """The longest wait for a TPU to be healthy."""

    def to_settings(self, command: list[str]) -> supervision.Settings:
        """Return what `supervision` needs to run a command."""

        def look() -> node.Health:
            return node.look(self.tpu, self.zone, self.project)

        return supervision.Settings(
            command,
            self.recreate_command,
            self.transient_codes,
            self.max_restarts,
            self.backoff_seconds,
            self.poll_seconds,
            self.wait_minutes * 60,
            look if self.tpu else None,
        )


def main(arguments: list[str]) -> None:
    """Read flags, supervise, and exit as the command did."""
    command = arguments[1:]
    if not command:
        raise ValueError(
            "There is no command to run: write it after --, as in python -m "
            "tpu.supervise -- python -m bert_cn.run_pretraining ..."
        )
    args = _read_flags()
    settings = args.to_settings(command)
    with supervision.SignalRelay() as relay:
        try:
            if settings.look is not None:
                # A wrong project or a missing right must show now, not in the first
                # night.
                found = settings.look()
                supervision.log(node.describe(args.tpu, found))
                supervision.bring_up_first(found, settings, relay)
            code = supervision.supervise(settings, relay)
        except supervision.Stopped:
            code = 128 + relay.received
    sys.exit(code)


def _read_flags() -> SuperviseArgs:
    values = flags.FLAGS.flag_values_dict()
    names = [field.name for field in dataclasses.fields(SuperviseArgs)]
    args = {name: values[name] for name in names}
    try:
        codes = frozenset(int(code) for code in args["transient_codes"])
    except ValueError as error:
        raise ValueError(
            f"--transient_codes={','.join(args['transient_codes'])}: give numbers with "
            "commas between them."
        ) from error
    commands = tuple(args["recreate_command"])
    return SuperviseArgs(
        **(args | {"transient_codes": codes, "recreate_command": commands})
    )


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="the newest checkpoint")
