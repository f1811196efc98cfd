"""What Google's API says of a TPU: state, health, and whether it will come back."""

import dataclasses
import datetime
import enum
import logging
import sys
import time
import urllib.error
from collections.abc import Callable

from bert_cn.training import environment

NOT_FOUND = "NOT_FOUND"  # Our word for the state of a TPU that the API does not know.
# What the API calls a TPU that does not come back by itself.
_GONE_STATES = ("PREEMPTED", "TERMINATED", "DELETING", "STOPPED", "STOPPING")
# A symptom so young may have to do with what was just seen. Google's client waits as
# long after an overflow of memory, but then calls the TPU lost, which it is not.
_SYMPTOM_SECONDS = 90.0


class Verdict(enum.Enum):
    """What to do about a TPU."""

    HEALTHY = "is healthy"
    MAY_RECOVER = "is not healthy now, but may recover"
    GONE = "will not come back by itself: delete it and make it anew"


@dataclasses.dataclass(frozen=True)
class Health:
    """What the API says of a TPU.

    Attributes:
        state: such as READY, CREATING, REPAIRING, PREEMPTED; NOT_FOUND if there is none
            of that name.
        health: such as HEALTHY, UNHEALTHY_TENSORFLOW, UNHEALTHY_MAINTENANCE; "" if the
            API says nothing.
        verdict: what it means.
        symptom: the last one of the last one and a half minutes, such as OUT_OF_MEMORY;
            "" for none.
    """

    state: str
    health: str
    verdict: Verdict
    symptom: str = ""

    def __str__(self) -> str:
        symptom = f" with {self.symptom}" if self.symptom else ""
        return f"{self.state}, {self.health or 'of unknown health'}{symptom}"


def describe(tpu: str, found: Health) -> str:
    """Return one line on a TPU."""
    return f"TPU {tpu}: {found}; it {found.verdict.value}."


def look(tpu: str, zone: str = "", project: str = "") -> Health:
    """Ask the API once.

    Args:
        tpu: its name.
        zone: of the TPU; empty for that of the VM this runs on.
        project: the like.

    Raises:
        ValueError: the API client is not installed, there are no credentials, or they
            lack the right to see the TPU; with remedy.
        OSError: the API could not be reached, or failed (5xx).
    """
    environment.check_api_client(tpu)
    # Here, because they are an extra, and importing them takes half a second.
    import cloud_tpu_client
    import googleapiclient.errors
    import httplib2
    from oauth2client import client as oauth2

    # It calls the API's own way of saying 403 invalid JSON.
    logging.getLogger("googleapiclient.http").setLevel(logging.ERROR)
    try:
        client = cloud_tpu_client.Client(tpu, zone or None, project or None)
    except urllib.error.URLError as error:
        raise ValueError(
            f"TPU {tpu}: its zone and project could not be looked up, as they can on "
            f"Google's VMs ({error.reason}): pass --zone and --project."
        ) from error
    try:
        return _judge(
            client.state() or "",
            client.health() or "",
            _find_symptom(client.symptoms() or []),
        )
    except oauth2.ApplicationDefaultCredentialsError as error:
        raise ValueError(
            f"TPU {tpu}: no credentials to ask Google with; run gcloud auth "
            "application-default login, or give this VM a service account."
        ) from error
    except (oauth2.Error, httplib2.HttpLib2Error) as error:
        raise OSError(f"TPU {tpu}: Google's API could not be asked: {error}") from error
    except googleapiclient.errors.Error as error:
        return _judge_failure(tpu, error)
    # What the client makes of any failure of the request itself.
    except ValueError as error:
        return _judge_failure(tpu, error.__context__ or error)


def wait_until_healthy(
    look_once: Callable[[], Health],
    timeout_seconds: float,
    poll_seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Health:
    """Look again and again until the TPU is healthy or gone, or time is up.

    The client's own wait_for_healthy would wait for a preempted TPU to the end.

    Args:
        look_once: asks once; it may raise OSError, which counts as not healthy until
            time is up.
        timeout_seconds: for all of it; 0 looks once.
        poll_seconds: between two looks.
        sleep: waits for so many seconds.

    Returns:
        What the last look found.
    """
    deadline = time.monotonic() + timeout_seconds
    last_news = None
    while True:
        late = time.monotonic() + poll_seconds > deadline
        try:
            found = look_once()
            if found.verdict is not Verdict.MAY_RECOVER or late:
                return found
            news = str(found)
        except OSError as error:
            if late:
                raise
            news = str(error)
        if news != last_news:
            line = f"Not healthy yet ({news}); waiting."
            print(line, file=sys.stderr, flush=True)
            last_news = news
        sleep(poll_seconds)


def _find_symptom(symptoms: list[dict]) -> str:
    """Return the type of the newest symptom if it is a recent one, else ""."""
    times = {
        _parse_time(symptom["createTime"]): symptom["symptomType"]
        for symptom in symptoms
        if "createTime" in symptom and "symptomType" in symptom
    }
    if not times:
        return ""
    newest = max(times)
    age = datetime.datetime.now(datetime.UTC) - newest
    return times[newest] if age.total_seconds() < _SYMPTOM_SECONDS else ""


def _parse_time(text: str) -> datetime.datetime:
    """Parse the API's UTC time, of which Python reads no nanoseconds."""
    seconds = text.rstrip("Z").partition(".")[0]
    return datetime.datetime.fromisoformat(seconds).replace(tzinfo=datetime.UTC)


def _judge(state: str, health: str, symptom: str) -> Health:
    # The state alone decides what is deleted: a step that needed too much memory, say,
    # leaves its symptom on a TPU that is as good as before.
    if state in _GONE_STATES:
        return Health(state, health, Verdict.GONE, symptom)
    # Ready and nothing bad known: not worth making it anew for.
    healthy = state == "READY" and health in ("HEALTHY", "HEALTH_UNSPECIFIED", "")
    verdict = Verdict.HEALTHY if healthy and not symptom else Verdict.MAY_RECOVER
    return Health(state, health, verdict, symptom)


def _judge_failure(tpu: str, error: BaseException) -> Health:
    """Turn a failed request into what it says of the TPU, or raise."""
    status = int(getattr(getattr(error, "resp", None), "status", 0))
    if status == 404:
        # A preempted TPU that was deleted, if the name was right.
        return Health(NOT_FOUND, "", Verdict.GONE)
    if status in (401, 403):
        raise ValueError(
            f"TPU {tpu}: Google refuses to say how it is ({status}): turn the Cloud "
            "TPU API on (gcloud services enable tpu.googleapis.com), and give this "
            "account roles/tpu.viewer and, on a VM, the scope "
            "https://www.googleapis.com/auth/cloud-platform."
        ) from error
    first_line = (str(error).splitlines() or ["no message"])[0]
    if status and status < 500 and status != 429:
        raise ValueError(f"TPU {tpu}: Google's API says {status}: {first_line}")
    raise OSError(
        f"TPU {tpu}: Google's API could not be asked: {first_line}"
    ) from error
