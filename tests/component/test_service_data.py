"""Commands that promise data, from the real program over loopback HTTP."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.service import NDJSON, Document, Service, wait_until

hosts = pytest.mark.parametrize("host", ["local", "far"])

COMMANDS: Mapping[str, Document] = {
    "disk": {"run": ["/usr/bin/df", "--", "/"], "result": {"parse": "df"}, "on": ["local", "far"]},
    "say": {
        "script": 'cat; exit "$P_CODE"',
        "interpreter": "sh",
        "params": {"code": {"type": "int", "min": 0, "max": 255, "default": "0"}},
        "stdin": {"max": "64KiB"},
        "result": {"parse": "json"},
        "on": ["local", "far"],
    },
    "lines": {
        "run": ["/usr/bin/seq", "1", "<to>"],
        "params": {"to": {"type": "int", "min": 1}},
        "result": {"parse": "lines"},
        "on": "local",
    },
    "stall": {"run": ["/usr/bin/printf", "%99000sx", ""], "result": {"parse": "srt"}, "on": "local"},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _Service.running(tmp_path_factory.mktemp("data") / "service") as running:
        yield running


class _Service(Service):
    """One that also publishes the commands above."""

    def write_policy(self) -> None:
        super().write_policy()
        publish(self, COMMANDS)


def publish(service: Service, commands: Mapping[str, Document]) -> None:
    """Add commands to the policy, for 'ann' and everywhere."""
    document = {
        "version": 1,
        "commands": {name: {"effect": "read", **spec} for name, spec in commands.items()},
        "roles": {"data": [{"commands": list(commands), "hosts": "*"}]},
        "grants": [{"to": ["ann"], "roles": ["data"]}],
    }
    (service.policies / "data.yaml").write_text(json.dumps(document))


@hosts
def test_a_parser_of_jc(service: Service, host: str) -> None:
    """What the real df prints, here and over SSH, comes as a list of objects beside the text."""
    job = service.result("disk", {"hosts": [host]})
    (disk,) = job["data"]
    assert disk["mounted_on"] == "/"
    assert 0 <= disk["use_percent"] <= 100
    assert f"{disk['use_percent']}%" in job["stdout"]
    assert "data_error" not in job


@hosts
def test_a_parser_of_ours(service: Service, host: str) -> None:
    """JSON on stdout is the data itself, whatever it is, and stdout stays as it was printed."""
    printed = '{"name": "é", "sizes": [1, 2.5, null, true]}\n'
    job = service.result("say", {"stdin": printed, "hosts": [host]})
    assert job["data"] == json.loads(printed)
    assert job["stdout"] == printed


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("not json", "malformed"),
        ("", "malformed"),
        ("[" * 60_000, "malformed"),
        ('{"a": NaN}', "malformed"),
        ("1e999999", "malformed"),
        ('["\\ud800"]', "malformed"),
        ({"base64": "//4="}, "not_utf8"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_output_that_is_no_json(service: Service, printed: object, code: str) -> None:
    """Data is null and the reason stands beside it; nothing else of the job changes."""
    job = service.result("say", {"stdin": printed})
    assert (job["state"], job["ok"], job["exit_code"], job["error"]) == ("succeeded", True, 0, None)
    assert (job["data"], job["data_error"]["code"]) == (None, code)
    assert job["data_error"]["detail"]


def test_more_output_than_is_read(service: Service) -> None:
    """Two megabytes are kept and can be fetched, but not made into data."""
    job = service.result("lines", {"params": {"to": 320_000}, "output": {"max_bytes": 0}})
    assert job["stdout_bytes"] > 2 << 20
    assert (job["data"], job["data_error"]["code"]) == (None, "too_large")


def test_data_without_the_text(service: Service) -> None:
    """Whoever wants only the data asks for no bytes of the text; the data is of all that was printed."""
    job = service.result("lines", {"params": {"to": 20_000}, "output": {"max_bytes": 0}})
    assert job["stdout"] == ""
    assert job["data"] == [str(number) for number in range(1, 20_001)]


def test_a_command_that_fails_has_no_data(service: Service) -> None:
    """With an exit status that is no success the data is null, without a complaint."""
    job = service.result("say", {"stdin": '{"a": 1}', "params": {"code": 3}})
    assert (job["ok"], job["exit_code"], job["data"]) == (False, 3, None)
    assert "data_error" not in job


def test_output_made_to_stall_a_parser(service: Service) -> None:
    """A parser that does not come to an end is cut off, and the service answers others all the while."""
    launched = service.launch("stall")
    wait_until(lambda: service.list_jobs(limit=1)[0]["state"] == "succeeded", "the run is over")
    longest, answers = 0.0, 0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(service.job, launched["id"])
        while not reading.done():
            since = time.monotonic()
            assert service.ready()
            longest, answers = max(longest, time.monotonic() - since), answers + 1
    job = reading.result()
    assert (job["ok"], job["data"], job["data_error"]["code"]) == (True, None, "timed_out")
    assert answers > 5
    assert longest < 2


def test_several_hosts(service: Service) -> None:
    """Each run has its own data, and the job has none of its own."""
    job = service.result("disk", {"hosts": ["local", "far"]})
    assert [run["data"][0]["mounted_on"] for run in job["runs"]] == ["/", "/"]
    assert "data" not in job


def test_where_data_stands(service: Service) -> None:
    """Reading, waiting for and cancelling a job show its data; lists and events do not, and other commands have none."""
    job = service.result("say", {"stdin": "[1]"})
    assert service.job(job["id"])["data"] == [1]
    assert service.job(job["id"], wait=5)["data"] == [1]
    assert service.cancel(job["id"])["data"] == [1]
    launched = service.launch("say", {"stdin": "[2]"})
    assert service.job(launched["id"], wait=10)["data"] == [2]
    assert all("data" not in listed for listed in service.list_jobs())
    with service.follow(job["id"], media=NDJSON) as events:
        assert "data" not in next(event for event in events if event.type == "finished").document["job"]
    assert "data" not in service.result("exit", {"params": {"code": 0}})


def test_a_job_that_is_not_over(service: Service) -> None:
    """Until the run has succeeded the data is null, so that the field is always there."""
    with service.client() as client:
        answer = client.post("/v1/run/say", json={"stdin": "[1]", "wait": 0})
    assert answer.json()["data"] in (None, [1])
    assert "data_error" not in answer.json()


def test_the_command_says_that_it_has_data(service: Service) -> None:
    """A caller can see beforehand which parser reads a command's output, if one does."""
    with service.client() as client:
        assert client.get("/v1/commands/disk").json()["result"] == {"parse": "df"}
        assert client.get("/v1/commands/exit").json()["result"] is None


def test_after_a_restart_with_another_policy(service: Service) -> None:
    """A job keeps the parser that it was started with, whatever the policy says later."""
    old = service.result("disk")
    publish(service, {**COMMANDS, "disk": {**COMMANDS["disk"], "result": {"parse": "lines"}}})
    service.restart()
    assert service.job(old["id"])["data"] == old["data"]
    assert service.result("disk")["data"][0].startswith("Filesystem")
