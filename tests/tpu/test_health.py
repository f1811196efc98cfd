import datetime
import importlib.util

import pytest
from absl import flags

from tests.tpu import tpu_api
from tpu import node

pytest.importorskip("cloud_tpu_client", reason="pip install '.[tpu]' brings it")

MODULE = "tpu.health"
READY = {"state": "READY", "health": "HEALTHY"}
POD = ("--tpu=pod", f"--zone={tpu_api.ZONE}", f"--project={tpu_api.PROJECT}")


@pytest.mark.parametrize(
    ("answers", "code", "line"),
    [
        ([READY], 0, "TPU pod: READY, HEALTHY; it is healthy."),
        ([{"state": "READY"}], 0, "TPU pod: READY, of unknown health; it is healthy."),
        (
            [{"state": "PREEMPTED", "health": "UNHEALTHY_TENSORFLOW"}],
            4,
            "TPU pod: PREEMPTED, UNHEALTHY_TENSORFLOW; it will not come back by "
            "itself: delete it and create it again.",
        ),
        (
            [{"state": "READY", "health": "UNHEALTHY_MAINTENANCE"}],
            75,
            "TPU pod: READY, UNHEALTHY_MAINTENANCE; it is not healthy now, but may "
            "recover.",
        ),
        (
            [{"state": "CREATING"}],
            75,
            "TPU pod: CREATING, of unknown health; it is not healthy now, but may "
            "recover.",
        ),
        (
            [404],
            4,
            "TPU pod: NOT_FOUND, of unknown health; it will not come back by itself: "
            "delete it and create it again.",
        ),
    ],
    ids=["ready", "nothing", "preempted", "unhealthy", "creating", "deleted"],
)
def test_state_becomes_line_and_exit_code(api, run_command, answers, code, line):
    api.nodes["pod"] = answers
    done = run_command(MODULE, *POD)
    assert (done.returncode, done.stdout) == (code, line + "\n"), done.stderr


@pytest.mark.parametrize(
    ("status", "saying"),
    [
        (
            403,
            (
                "TPU pod: Google refuses",
                "(403)",
                "roles/tpu.viewer",
                "tpu.googleapis.com",
                "googleapis.com/auth/cloud-platform",
            ),
        ),
        (503, ("TPU pod: Google's API could not be asked", "503")),
    ],
)
def test_refused_request_is_one_sentence(api, assert_refused, status, saying):
    api.nodes["pod"] = [status]
    error = assert_refused(MODULE, *POD, saying=saying)
    assert error.startswith("health: error: ")
    assert error.count("\n") == 1


def test_command_waits_until_healthy(api, run_command):
    # A look asks three times.
    api.nodes["pod"] = [{"state": "CREATING"}] * 4 + [READY]
    done = run_command(MODULE, *POD, "--wait_minutes=0.3", "--poll_seconds=0.1")
    assert done.returncode == 0, done.stderr
    assert "Not healthy yet (CREATING, of unknown health)" in done.stderr
    assert done.stdout == "TPU pod: READY, HEALTHY; it is healthy.\n"


def test_name_is_needed(assert_refused):
    assert_refused(MODULE, saying=("health: error: --tpu is empty",))


@pytest.fixture
def credentials(monkeypatch):
    """Credentials for this process, which may have read the environment before."""
    from oauth2client import client

    monkeypatch.setattr(
        client.GoogleCredentials,
        "get_application_default",
        lambda: client.AccessTokenCredentials("secret", "test"),
    )
    flags.FLAGS(["test"])  # The client reads a flag of its own.


def test_zone_and_project_come_from_the_metadata_server(api, credentials, monkeypatch):
    monkeypatch.setattr(
        "cloud_tpu_client.client._GCE_METADATA_ENDPOINT", f"http://{api.address}"
    )
    api.nodes["pod"] = [READY]
    assert node.look("pod") == HEALTHY


def test_machine_outside_google_needs_zone_and_project(monkeypatch):
    monkeypatch.setattr(
        "cloud_tpu_client.client._GCE_METADATA_ENDPOINT", "http://127.0.0.1:1"
    )
    with pytest.raises(ValueError, match="not be looked up.*pass --zone and --project"):
        node.look("pod")


def describe_symptom(kind: str, seconds_ago: float) -> dict[str, str]:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)
    return {
        "symptomType": kind,
        "createTime": then.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
    }


@pytest.mark.parametrize(
    ("state", "seconds_ago", "found"),
    [
        (
            "READY",
            (3600, 5),
            node.Health("READY", "HEALTHY", node.Verdict.MAY_RECOVER, "OUT_OF_MEMORY"),
        ),
        ("READY", (3600, 120), node.Health("READY", "HEALTHY", node.Verdict.HEALTHY)),
        (
            "PREEMPTED",
            (3600, 5),
            node.Health("PREEMPTED", "HEALTHY", node.Verdict.GONE, "OUT_OF_MEMORY"),
        ),
    ],
)
def test_symptom_is_told_but_the_state_decides_what_is_gone(
    api, credentials, state, seconds_ago, found
):
    symptoms = [
        describe_symptom("LOW_MEMORY", seconds_ago[0]),
        describe_symptom("OUT_OF_MEMORY", seconds_ago[1]),
    ]
    api.nodes["pod"] = [{"state": state, "health": "HEALTHY", "symptoms": symptoms}]
    assert node.look("pod", tpu_api.ZONE, tpu_api.PROJECT) == found


def test_symptom_stands_in_the_line():
    found = node.Health("READY", "", node.Verdict.MAY_RECOVER, "OUT_OF_MEMORY")
    assert node.describe("pod", found) == (
        "TPU pod: READY, of unknown health with OUT_OF_MEMORY; it is not healthy now, "
        "but may recover."
    )


def test_missing_credentials_are_said(monkeypatch):
    from oauth2client import client

    def refuse():
        raise client.ApplicationDefaultCredentialsError("none")

    monkeypatch.setattr(client.GoogleCredentials, "get_application_default", refuse)
    with pytest.raises(ValueError, match="no credentials.*application-default login"):
        node.look("pod", tpu_api.ZONE, tpu_api.PROJECT)


def test_missing_client_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install cloud-tpu-client==0.10"):
        node.look("pod")


class Looks:
    """Answers one after the other, and counts the seconds slept between them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.slept = []

    def __call__(self):
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


HEALTHY = node.Health("READY", "HEALTHY", node.Verdict.HEALTHY)
SICK = node.Health("REPAIRING", "", node.Verdict.MAY_RECOVER)
GONE = node.Health("PREEMPTED", "", node.Verdict.GONE)


@pytest.mark.parametrize(
    ("answers", "found", "slept"),
    [
        ([SICK, OSError("503"), HEALTHY], HEALTHY, 2),
        # Nobody waits for what will not come back.
        ([SICK, GONE, HEALTHY], GONE, 1),
    ],
)
def test_waiting_ends_when_it_is_decided(answers, found, slept):
    looks = Looks(*answers)
    assert node.wait_until_healthy(looks, 3600, 5, looks.slept.append) == found
    assert looks.slept == [5] * slept


def test_waiting_ends_in_time():
    looks = Looks(SICK, HEALTHY)
    assert node.wait_until_healthy(looks, 4, 5, looks.slept.append) == SICK
    with pytest.raises(OSError, match="503"):
        node.wait_until_healthy(Looks(OSError("503")), 4, 5)
    assert looks.slept == []
