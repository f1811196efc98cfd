"""Ask Google's API for the health of a TPU, and wait until it is healthy.

    python -m tpu.health --tpu=NAME --wait_minutes=20

Exit code 0: READY, and no problem known; 75: not healthy, but it may recover; 4: it
will not come back, create it again; 1: the API could not be asked. Needs `pip install
cloud-tpu-client==0.10`, the extra [tpu].
"""

import dataclasses
import sys

from absl import flags

from data_prep import command_line
from tpu import node

MUST_BE_CREATED = 4  # An exit code.

flags.DEFINE_string("tpu", "", "The TPU's name.")
flags.DEFINE_string("zone", "", "Its zone (default: this VM's own).")
flags.DEFINE_string("project", "", "Its project (default: this VM's own).")
flags.DEFINE_float(
    "wait_minutes",
    0.0,
    "Wait at most this long until the TPU is healthy; 0: ask once.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "poll_seconds", 30.0, "Seconds between two questions.", lower_bound=0.1
)


@dataclasses.dataclass(frozen=True)
class HealthArgs:
    """Which TPU to ask for, and how long to wait for it."""

    tpu: str
    """Its name, not empty."""

    zone: str
    """Its zone; "" for this VM's own."""

    project: str
    """Its project; "" for this VM's own."""

    wait_minutes: float
    """The longest wait until it is healthy; 0 asks once."""

    poll_seconds: float
    """Seconds between two questions."""


def main(arguments: list[str]) -> None:
    """Print one line about the TPU and exit with what it means."""
    command_line.refuse_arguments(arguments)
    args = _read_flags()
    found = node.wait_until_healthy(
        lambda: node.look(args.tpu, args.zone, args.project),
        args.wait_minutes * 60,
        args.poll_seconds,
    )
    print(node.describe(args.tpu, found))
    codes = {
        node.Verdict.MAY_RECOVER: command_line.TRANSIENT,
        node.Verdict.GONE: MUST_BE_CREATED,
    }
    sys.exit(codes.get(found.verdict, 0))


def _read_flags() -> HealthArgs:
    values = flags.FLAGS.flag_values_dict()
    names = [field.name for field in dataclasses.fields(HealthArgs)]
    args = HealthArgs(**{name: values[name] for name in names})
    if not args.tpu:
        raise ValueError("--tpu is empty: name the TPU, as gcloud lists it.")
    return args


if __name__ == "__main__":
    command_line.run_command(main)
