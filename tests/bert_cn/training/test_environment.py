import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from bert_cn.training import environment
from tests.conftest import REPOSITORY


@pytest.fixture
def installed(monkeypatch):
    """Replace what is installed: a dict of distribution to version."""
    versions = {}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


@pytest.fixture
def modules(monkeypatch):
    """Replace what can be imported: a set of names, without libtpu."""
    names = {"googleapiclient", "oauth2client"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if name in names else None
    )
    return names


@pytest.mark.parametrize(
    ("arguments", "tpu"),
    [
        (["--tpu=local"], "local"),
        (["--tpu", "local"], "local"),
        (["-tpu=pod"], "pod"),
        (["--do_train", "--output_dir", "out", "--tpu", "pod"], "pod"),
        (["--flagfile={folder}/outer.flags", "--do_train"], "inner"),
        (["--flagfile", "{folder}/outer.flags", "--tpu=later"], "later"),
        (["--tpu=earlier", "--flagfile={folder}/outer.flags"], "inner"),
        (["--input_file=a", "--", "--tpu=local"], ""),
        (["--tpu_name=local"], ""),
        (["--do_train"], ""),
        # Mistakes that the command itself will report.
        (["--tpu"], ""),
        (["--flagfile=nowhere.flags", "--tpu=local"], ""),
    ],
)
def test_tpu_flag_is_found_as_absl_finds_it(arguments, tpu, tmp_path):
    (tmp_path / "outer.flags").write_text(f"--flagfile={tmp_path}/inner.flags\n--x=1\n")
    (tmp_path / "inner.flags").write_text("# A comment.\n--tpu=inner\n")
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    assert environment.find_tpu_flag(["program", *arguments]) == tpu


def test_environment_of_a_pod_and_of_an_address():
    name = {"TPU_LOAD_LIBRARY": "0", "TPU_NAME": "pod"}
    assert environment.build_variables("pod") == name
    address = {"TPU_LOAD_LIBRARY": "0"}
    assert environment.build_variables("grpc://10.0.0.2:8470") == address


def test_environment_of_a_tpu_vm(monkeypatch, tmp_path):
    library = tmp_path / "libtpu.so"
    library.touch()
    monkeypatch.setattr(environment, "_CHIPS", (str(tmp_path / "libtpu*"),))
    spec = importlib.machinery.ModuleSpec("libtpu", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", {"libtpu": spec}.get)
    monkeypatch.delenv("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", raising=False)
    assert environment.build_variables("local") == {
        "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
        "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": str(library),
        "PJRT_DEVICE": "TPU",
    }


def test_machine_without_chip_or_libtpu_is_refused(monkeypatch, modules, tmp_path):
    monkeypatch.setattr(environment, "_CHIPS", (str(tmp_path / "accel*"),))
    with pytest.raises(ValueError, match=r"this machine has no chip .*accel"):
        environment.build_variables("local")
    (tmp_path / "accel0").touch()
    monkeypatch.setattr(environment, "_SYSTEM_LIBTPU", ())
    monkeypatch.delenv("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", raising=False)
    with pytest.raises(ValueError, match=r"libtpu.so, the .*--no-deps -r requirements"):
        environment.build_variables("local")


def test_installation_that_works_is_accepted(installed):
    # The newest libtpu that does not abort.
    installed |= {"tensorflow-tpu": "2.20.0", "libtpu": "0.0.43"}
    environment.check_tensorflow()
    # The newest libtpu, for preflight, beside the TensorFlow that never loads it.
    del installed["tensorflow-tpu"]
    installed |= {"tensorflow": "2.20.0", "libtpu": "0.0.52"}
    environment.check_tensorflow()


def test_two_tensorflows_are_refused_with_remedy(installed):
    installed |= {"tensorflow": "2.20.0", "tensorflow-tpu": "2.20.0"}
    with pytest.raises(
        ValueError,
        match=r"^tensorflow 2\.20\.0 and tensorflow-tpu 2\.20\.0 are installed over "
        r"each other.*pip uninstall -y tensorflow tensorflow-tpu, then "
        r"pip install --no-deps -r requirements-tpu\.txt",
    ):
        environment.check_tensorflow()


def test_libtpu_that_aborts_is_refused_with_remedy(installed):
    installed |= {"tensorflow-tpu": "2.20.0", "libtpu": "0.0.44"}
    with pytest.raises(
        ValueError, match=r"^libtpu 0\.0\.44 .*pip install libtpu==0\.0\.14"
    ):
        environment.check_tensorflow()


def test_tpu_build_cannot_compile_for_a_cpu(installed):
    installed["tensorflow"] = "2.20.0"
    assert environment.has_compiler_for_cpu()
    installed.clear()
    installed["tensorflow-tpu"] = "2.20.0"
    assert not environment.has_compiler_for_cpu()


@pytest.mark.parametrize(
    ("tpu", "is_refused"), [("pod", True), ("grpc://10.0.0.2:8470", False)]
)
def test_missing_api_client_is_refused_with_remedy(
    installed, modules, monkeypatch, tpu, is_refused
):
    monkeypatch.setattr(sys, "argv", ["-m", f"--tpu={tpu}"])
    monkeypatch.setattr(os, "environ", {})
    modules.remove("googleapiclient")
    if not is_refused:  # An address needs no name looked up.
        environment.prepare_command()
        return
    with pytest.raises(
        SystemExit,
        match=r"^bert_cn: error: --tpu=pod: looking a TPU's name up needs "
        r"googleapiclient.*pip install cloud-tpu-client==0\.10",
    ):
        environment.prepare_command()


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    names = ("TPU_LOAD_LIBRARY", "TPU_NAME", "PJRT_DEVICE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_variables_are_set_before_a_command_is_imported():
    script = (
        "import json, os, sys; sys.argv = ['-m', '--tpu', 'pod']; import bert_cn; "
        "assert 'tensorflow' not in sys.modules; "
        "names = 'TPU_NAME', 'TPU_LOAD_LIBRARY'; "
        "print(json.dumps([os.environ.get(name) for name in names]))"
    )
    done = run_python("-c", script, TPU_LOAD_LIBRARY="1")
    # Variables that the user set stay.
    assert json.loads(done.stdout) == ["pod", "1"], done.stderr
    # A program of somebody else's that has a --tpu of its own is left alone.
    done = run_python("-c", script.replace("'-m'", "'theirs.py'"))
    assert json.loads(done.stdout) == [None, None], done.stderr


def test_command_refuses_a_tensorflow_for_tpus_that_cannot_be_imported(tmp_path):
    for name in ("tensorflow", "tensorflow_tpu"):
        folder = tmp_path / f"{name}-2.20.0.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.20.0\n"
        (folder / "METADATA").write_text(metadata)
    path = {"PYTHONPATH": str(tmp_path)}
    done = run_python("-X", "importtime", "-m", "bert_cn.convert_checkpoint", **path)
    assert done.returncode == 1
    assert "bert_cn: error: tensorflow 2.20.0 and tensorflow-tpu 2.20.0" in done.stderr
    assert "| tensorflow" not in done.stderr
    assert "Traceback" not in done.stderr
    # A program that imports the package may have no use for TensorFlow.
    done = run_python("-c", "import bert_cn", **path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(
    any(map(environment.glob.glob, environment._CHIPS)), reason="this is a TPU VM"
)
def test_command_without_a_chip_ends_before_tensorflow_is_imported():
    done = run_python(
        "-X", "importtime", "-m", "bert_cn.run_pretraining", "--tpu=local"
    )
    assert done.returncode == 1
    assert "bert_cn: error: --tpu=local: no TPU could be reached" in done.stderr
    assert "| tensorflow" not in done.stderr
    assert "Traceback" not in done.stderr
