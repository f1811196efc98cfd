"""What a TPU needs before TensorFlow is imported: environment and right versions.

Imports no TensorFlow: by the time a command's flags are parsed it has been imported,
has read its environment and loaded libtpu. So `prepare_command` looks for --tpu itself.
"""

import glob
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence

from absl import flags
from packaging import version

LOCAL = "local"
# Each of them writes the folder `tensorflow`, the last one installed over the others.
_TENSORFLOW_DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-tpu",
    "tensorflow-cpu",
    "tf-nightly",
    "tf-nightly-tpu",
)
# tensorflow-tpu 2.20 asks for libtpu~=0.0.14, which also lets in those after 0.0.43,
# and with them the process is aborted while TensorFlow is imported.
_LIBTPU = "0.0.14"
_NEWEST_LIBTPU = "0.0.43"
# A TPU VM's image has one even where no wheel of it is installed.
_SYSTEM_LIBTPU = ("/lib/libtpu.so", "/usr/lib/libtpu.so")
# How the kernel shows the chips: accel up to v4, vfio after that.
_CHIPS = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_INSTALL = "pip install --no-deps -r requirements-tpu.txt"


def is_cluster(tpu: str) -> bool:
    """Say whether --tpu names hosts that are reached over the network."""
    return bool(tpu) and tpu != LOCAL


def prepare_command() -> None:
    """Set the environment that --tpu on the command line needs, if it is there.

    Called by the package's `__init__`, which Python imports before the command's
    module. Does nothing unless Python was started as `python -m`; ends the process with
    one sentence where the environment cannot carry a TPU run, or where TensorFlow for
    TPUs cannot even be imported.
    """
    # What Python leaves there until it has found the module that -m names.
    if sys.argv[:1] != ["-m"]:
        return
    tpu = find_tpu_flag(sys.argv)
    try:
        if tpu or installed_version("tensorflow-tpu"):
            check_tensorflow()
        if not tpu:
            return
        if is_cluster(tpu) and "://" not in tpu:
            check_api_client(tpu)
        variables = build_variables(tpu)
    except ValueError as error:
        sys.exit(f"bert_cn: error: {error}")
    for name, value in variables.items():
        # What the user has set by hand stays.
        os.environ.setdefault(name, value)


def find_tpu_flag(arguments: Sequence[str]) -> str:
    """Return the value of --tpu in a command line as absl would read it, or "".

    Args:
        arguments: the program's name, then its arguments. --flagfile is followed, and
            the last --tpu counts.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("tpu", "", "", flag_values=values)
    # The value of a flag that is unknown here, as in `--output_dir out`, looks like the
    # end of the flags otherwise.
    values.set_gnu_getopt(True)
    try:
        values(list(arguments), known_only=True)
    except flags.Error:
        return ""  # The command itself will say what is wrong.
    return values.tpu


def build_variables(tpu: str) -> dict[str, str]:
    """Return the environment variables that TensorFlow needs for this --tpu.

    Args:
        tpu: "local", a TPU's name, or grpc://address:port.

    Raises:
        ValueError: --tpu=local where there is no chip or no libtpu.
    """
    if tpu == LOCAL:
        _check_chips()
        return {
            "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
            "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": _find_libtpu(),
            "PJRT_DEVICE": "TPU",
        }
    # This process only sends work to the TPU's hosts. Were it one of them, loading
    # libtpu would take the chips away from the server that is to use them.
    variables = {"TPU_LOAD_LIBRARY": "0"}
    if "://" not in tpu:
        variables["TPU_NAME"] = tpu
    return variables


def check_tensorflow() -> None:
    """Check which TensorFlow is installed, before it is imported, in milliseconds.

    Raises:
        ValueError: two TensorFlow distributions, or a libtpu that is too new for
            tensorflow-tpu; with remedy.
    """
    found = {
        name: installed
        for name in _TENSORFLOW_DISTRIBUTIONS
        if (installed := installed_version(name))
    }
    if len(found) > 1:
        both = " and ".join(f"{name} {number}" for name, number in found.items())
        raise ValueError(
            f"{both} are installed over each other, and which one runs is chance; run "
            f"pip uninstall -y {' '.join(found)}, then {_INSTALL}"
        )
    libtpu = installed_version("libtpu")
    too_new = version.parse(libtpu or "0") > version.parse(_NEWEST_LIBTPU)
    if "tensorflow-tpu" in found and too_new:
        raise ValueError(
            f"libtpu {libtpu} is newer than {_NEWEST_LIBTPU} and aborts while "
            f"TensorFlow is imported; run pip install libtpu=={_LIBTPU}"
        )


def has_compiler_for_cpu() -> bool:
    """Say whether XLA can compile for a CPU here: in tensorflow-tpu it cannot.

    It fails with "could not find registered transfer manager for platform Host".
    """
    return not installed_version("tensorflow-tpu")


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, "" if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_api_client(tpu: str) -> None:
    """Raise ValueError if the packages that ask Google about a TPU are missing."""
    # TensorFlow's resolver uses both to ask Google which hosts the name stands for.
    for module in ("googleapiclient", "oauth2client"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"--tpu={tpu}: looking a TPU's name up needs {module}, which is not "
                "installed; run pip install cloud-tpu-client==0.10"
            )


def has_chips() -> bool:
    """Say whether this machine has a TPU's chips, in use or not."""
    return any(glob.glob(pattern) for pattern in _CHIPS)


def _check_chips() -> None:
    # Without a chip libtpu asks the metadata server for minutes, or crashes.
    if not has_chips():
        raise ValueError(
            f"--tpu={LOCAL}: no TPU could be reached: this machine has no chip "
            f"({' or '.join(_CHIPS)}). Run this on a TPU VM (in a container: with its "
            "devices), or leave --tpu out to train on GPUs or a CPU."
        )


def _find_libtpu() -> str:
    spec = importlib.util.find_spec("libtpu")
    folders = spec.submodule_search_locations or () if spec else ()
    paths = [os.path.join(folder, "libtpu.so") for folder in folders]
    by_hand = os.environ.get("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "")
    for path in (by_hand, *paths, *_SYSTEM_LIBTPU):
        if os.path.exists(path):
            return path
    raise ValueError(
        f"--tpu={LOCAL}: no libtpu.so is installed, which drives the chips; run "
        f"{_INSTALL}"
    )
