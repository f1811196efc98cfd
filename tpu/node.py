"""A TPU as Google's API shows it: state, health, and whether it will come back."""

import dataclasses
import datetime
import enum
import logging
import sys
import time
import urllib.error
from collections.abc import Callable

from bert_cn.training import environment
from data_prep import command_line

NOT_FOUND = "NOT_FOUND"  # Our word for the state of a TPU that the API does not know.
# The API's states of a TPU that does not come back by itself.
_GONE_STATES = ("PREEMPTED", "TERMINATED", "DELETING", "STOPPED", "STOPPING")
# A younger symptom may explain a failure that just happened. Google's client also waits
# this long after memory ran out, but then calls the TPU lost, which it is not.
_SYMPTOM_SECONDS = 90.0


class Verdict(enum.Enum):
    """Whether a TPU can be used, now or later."""

    HEALTHY = "is healthy"
    MAY_RECOVER = "is not healthy now, but may recover"
    GONE = "will not come back by itself: delete it and create it again"


@dataclasses.dataclass(frozen=True)
class Health:
    """The API's answer about a TPU.

    Attributes:
        state: such as READY, CREATING, REPAIRING, PREEMPTED; NOT_FOUND if there is no
            TPU of that name.
        health: such as HEALTHY, UNHEALTHY_TENSORFLOW, UNHEALTHY_MAINTENANCE; "" if the
            API does not say.
        verdict: the meaning of both.
        symptom: the newest one of the last 90 seconds, such as OUT_OF_MEMORY; "" for
            none.
    """

    state: str
    health: str
    verdict: Verdict
    symptom: str = ""

    def __str__(self) -> str:
        symptom = f" with {self.symptom}" if self.symptom else ""
        return f"{self.state}, {self.health or 'of unknown health'}{symptom}"


def describe(tpu: str, found: Health) -> str:
    """Return one line about a TPU."""
    return f"TPU {tpu}: {found}; it {found.verdict.value}."


def look(tpu: str, zone: str = "", project: str = "") -> Health:
    """Ask the API once.

    Args:
        tpu: its name.
        zone: its zone; "" for the zone of this VM.
        project: its project; "" for the project of this VM.

    Raises:
        ValueError: the API client is not installed, there are no credentials, or they
            lack the right to see the TPU; the message says what to do.
        OSError: the API could not be reached, or failed (5xx).
    """
    environment.check_api_client(tpu)
    # Here, because they are an extra and take half a second to import.
    import cloud_tpu_client
    import googleapiclient.errors
    import httplib2
    from oauth2client import client as oauth2

    # At lower levels it reports the API's 403 answer as invalid JSON.
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
    # The client raises it for any failure of the request itself.
    except ValueError as error:
        return _judge_failure(tpu, error.__context__ or error)


def wait_until_healthy(
    look_once: Callable[[], Health],
    timeout_seconds: float,
    poll_seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Health:
    """Ask repeatedly until the TPU is healthy or gone, or time is up.

    The client's own wait_for_healthy waits for a preempted TPU until time is up.

    Args:
        look_once: asks once; its OSError counts as not healthy until time is up.
        timeout_seconds: the longest wait; 0 asks once.
        poll_seconds: the time between two questions.
        sleep: waits for a number of seconds.

    Returns:
        The last answer.
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
    """Return the type of the newest symptom if it is recent, else ""."""
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
    """Parse the API's UTC time without its nanoseconds, which Python cannot read."""
    seconds = text.rstrip("Z").partition(".")[0]
    return datetime.datetime.fromisoformat(seconds).replace(tzinfo=datetime.UTC)


def _judge(state: str, health: str, symptom: str) -> Health:
    # Only the state may cause a deletion. A step that needed too much memory, for
    # example, leaves a symptom on a TPU that works as before.
    if state in _GONE_STATES:
        return Health(state, health, Verdict.GONE, symptom)
    # Ready, and no problem is known: that is no reason to create it again.
    healthy = state == "READY" and health in ("HEALTHY", "HEALTH_UNSPECIFIED", "")
    verdict = Verdict.HEALTHY if healthy and not symptom else Verdict.MAY_RECOVER
    return Health(state, health, verdict, symptom)


def _judge_failure(tpu: str, error: BaseException) -> Health:
    """Turn a failed request into an answer about the TPU, or raise."""
    status = int(getattr(getattr(error, "resp", None), "status", 0))
    if status == 404:
        # If the name is right, it was preempted and deleted.
        return Health(NOT_FOUND, "", Verdict.GONE)
    if status in (401, 403):
        raise ValueError(
            f"TPU {tpu}: Google refuses to answer ({status}): turn the Cloud "
            "TPU API on (gcloud services enable tpu.googleapis.com), and give this "
            "account roles/tpu.viewer and, on a VM, the scope "
            "https://www.googleapis.com/auth/cloud-platform."
        ) from error
    first_line = command_line.first_line(error)
    if status and status < 500 and status != 429:
        raise ValueError(f"TPU {tpu}: Google's API says {status}: {first_line}")
    raise OSError(
        f"TPU {tpu}: Google's API could not be asked: {first_line}"
    ) from error
