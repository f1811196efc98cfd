import re

from tests.conftest import REPOSITORY

# The TensorFlow of a TPU VM in place of the ordinary one.
ONLY_ON_A_TPU = {"tensorflow-tpu": "2.20.0", "libtpu": "0.0.14"}


def read_pins(name: str) -> dict[str, str]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins}


def test_tpu_vm_gets_the_tested_versions_and_one_tensorflow():
    pins = read_pins("requirements-tpu.txt")
    assert ONLY_ON_A_TPU.items() <= pins.items()
    assert "tensorflow" not in pins
    for name in ONLY_ON_A_TPU:
        del pins[name]
    assert pins.items() <= read_pins("constraints.txt").items()


def test_tpu_vm_gets_everything_that_setup_names():
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    install = re.search(r"install_requires=\[(.*?)\n    \]", setup, re.DOTALL)[1]
    named = re.findall(r'"([\w-]+)[=<>]', install)
    assert len(named) >= 18
    wanted = {re.sub("[-_.]+", "-", name).lower() for name in named} - {"tensorflow"}
    assert wanted <= read_pins("requirements-tpu.txt").keys()
