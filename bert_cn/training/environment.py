"""Environment variables and versions that a TPU needs before TensorFlow is imported.

TensorFlow reads its environment and loads libtpu when it is imported, which may be
before a command's flags are parsed. So `prepare_command` looks for --tpu itself, and
this module imports no TensorFlow.
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
# Each of them writes the folder `tensorflow`; the last one installed overwrites others.
_TENSORFLOW_DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-tpu",
    "tensorflow-cpu",
    "tf-nightly",
    "tf-nightly-tpu",
)
# tensorflow-tpu 2.20 asks for libtpu~=0.0.14, which also allows versions after 0.0.43.
# Those abort the process while TensorFlow is imported.
_LIBTPU = "0.0.14"
_NEWEST_LIBTPU = "0.0.43"
# A TPU VM's image has a libtpu even if no wheel of it is installed.
_SYSTEM_LIBTPU = ("/lib/libtpu.so", "/usr/lib/libtpu.so")
# Device files of the chips: accel up to v4, vfio for later ones.
_CHIPS = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_INSTALL = "pip install --no-deps -r requirements-tpu.txt"


def is_cluster(tpu: str) -> bool:
    """Return whether --tpu names hosts that are reached over the network."""
    return bool(tpu) and tpu != LOCAL


def prepare_command() -> None:
    """Set the environment variables that --tpu on the command line needs.

    The package's `__init__` calls this; Python imports it before the command's module.
    Nothing happens unless Python was started as `python -m`. The process ends with one
    sentence if a TPU run is impossible here, or if TensorFlow for TPUs cannot even be
    imported.
    """
    # Python leaves "-m" there until it has found the module.
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
        # Variables that the user has set stay.
        os.environ.setdefault(name, value)


def find_tpu_flag(arguments: Sequence[str]) -> str:
    """Return the value of --tpu in a command line as absl would parse it, or "".

    Args:
        arguments: the program's name, then its arguments. --flagfile is followed, and
            the last --tpu counts.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("tpu", "", "", flag_values=values)
    # Otherwise the value of an unknown flag, as in `--output_dir out`, would look like
    # the end of the flags.
    values.set_gnu_getopt(True)
    try:
        values(list(arguments), known_only=True)
    except flags.Error:
        return ""  # The command itself will report the error.
    return values.tpu


def build_variables(tpu: str) -> dict[str, str]:
    """Return the environment variables that TensorFlow needs for this --tpu.

    Args:
        tpu: "local", a TPU's name, or grpc://address:port.

    Raises:
        ValueError: --tpu=local, but there is no chip or no libtpu.
    """
    if tpu == LOCAL:
        _check_chips()
        return {
            "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
            "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": _find_libtpu(),
            "PJRT_DEVICE": "TPU",
        }
    # This process only sends work to the TPU's hosts. On one of these hosts it must not
    # load libtpu, which would take the chips from the server there.
    variables = {"TPU_LOAD_LIBRARY": "0"}
    if "://" not in tpu:
        variables["TPU_NAME"] = tpu
    return variables


def check_tensorflow() -> None:
    """Check, in milliseconds, which TensorFlow is installed before it is imported.

    Raises:
        ValueError: two TensorFlow distributions are installed, or a libtpu that is too
            new for tensorflow-tpu.
    """
    found = {
        name: installed
        for name in _TENSORFLOW_DISTRIBUTIONS
        if (installed := installed_version(name))
    }
    if len(found) > 1:
        both = " and ".join(f"{name} {number}" for name, number in found.items())
        raise ValueError(
            f"{both} are installed over each other, and chance decides "
            f"which one runs; run pip uninstall -y {' '.join(found)}, then {_INSTALL}"
        )
    libtpu = installed_version("libtpu")
    too_new = version.parse(libtpu or "0") > version.parse(_NEWEST_LIBTPU)
    if "tensorflow-tpu" in found and too_new:
        raise ValueError(
            f"libtpu {libtpu} is newer than {_NEWEST_LIBTPU} and aborts while "
            f"TensorFlow is imported; run pip install libtpu=={_LIBTPU}"
        )


def has_compiler_for_cpu() -> bool:
    """Return whether XLA can compile for a CPU: tensorflow-tpu's cannot.

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
    # TensorFlow's resolver uses both to ask Google for the hosts of a name.
    for module in ("googleapiclient", "oauth2client"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"--tpu={tpu}: looking a TPU's name up needs {module}, which is not "
                "installed; run pip install cloud-tpu-client==0.10"
            )


def has_chips() -> bool:
    """Return whether this machine has a TPU's chips, in use or not."""
    return any(glob.glob(pattern) for pattern in _CHIPS)


def _check_chips() -> None:
    # Without a chip libtpu asks the metadata server for minutes, or crashes.
    if not has_chips():
        raise ValueError(
            f"--tpu={LOCAL}: no TPU could be reached: this machine has no chip "
            f"({' or '.join(_CHIPS)}). Run this on a TPU VM (in a container: pass its "
            "devices on), or leave --tpu out to train on GPUs or a CPU."
        )


def _find_libtpu() -> str:
    spec = importlib.util.find_spec("libtpu")
    folders = spec.submodule_search_locations or () if spec else ()
    paths = [os.path.join(folder, "libtpu.so") for folder in folders]
    set_by_user = os.environ.get("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "")
    for path in (set_by_user, *paths, *_SYSTEM_LIBTPU):
        if os.path.exists(path):
            return path
    raise ValueError(
        f"--tpu={LOCAL}: libtpu.so, the driver of the chips, is not installed; run "
        f"{_INSTALL}"
    )
