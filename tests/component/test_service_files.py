"""Files in and out, through the real program over loopback HTTP: uploads, secrets, and what a run leaves."""

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from cmdhttp.execution.local.collecting import MAX_FILES, MAX_TOLD
from tests.support.service import Document, Service, as_document, wait_until

SECRET = "files-canary-93c1e7"
_LOOK = """
set -eu
for file in "$P_RULES_FILE" ${P_PW_FILE:+"$P_PW_FILE"}; do stat -c '%a %u %F' "$file" "$(dirname "$file")"; done
id -u
sha256sum < "$P_RULES_FILE"
printf '%s\\n' "$P_RULES_FILE"
"""
_LEAVE = """
set -eu
mkdir -p report/deep
printf 'a,b\\n1,2\\n' > report/a.csv
head -c 300000 /dev/zero > report/deep/zero.csv
echo '{}' > out.json
echo no > other.txt
sleep "$P_SECONDS"
exit "$P_CODE"
"""
_HOSTILE = r"""
set -eu
ln -s /etc/shadow shadow.csv
ln -s /etc folder
mkfifo pipe.csv
echo x > twice.csv; ln twice.csv twin.csv
truncate -s 1G sparse.csv
printf 'line' > "$(printf 'new\nline.csv')"
printf 'bytes' > "$(printf '\377\376.csv')"
printf 'ok' > '<b>"; filename=evil.html.csv'
chmod 0 '<b>"; filename=evil.html.csv'
"""
FILE = {"type": "file", "max": "64KiB"}
COMMANDS: Mapping[str, Document] = {
    "look": {
        "script": _LOOK,
        "interpreter": "sh",
        "params": {"rules": FILE, "pw": {"type": "secret", "required": "false"}},
        "on": ["local", "far"],
    },
    "paths": {
        "run": ["/usr/bin/printf", "%s\\n", "--password-file=<pw>", ["<rules>"], ["<text>"]],
        "params": {
            "pw": {"type": "secret"},
            "rules": {**FILE, "required": "false"},
            "text": {"type": "string", "pattern": ".*", "required": "false"},
        },
        "on": "local",
    },
    "reveal": {
        "script": 'cat /proc/$$/environ /proc/$$/cmdline; sha256sum < "$P_PW_FILE"; stat -c %a "$P_PW_FILE"',
        "interpreter": "sh",
        "params": {"pw": {"type": "secret"}},
        "on": "local",
    },
    "send": {
        "run": ["/usr/bin/echo", "ran", ["<rules>"]],
        "params": {"rules": {**FILE, "required": "false"}},
        "on": ["local", "far"],
    },
    "leave": {
        "script": _LEAVE,
        "interpreter": "sh",
        "params": {
            "seconds": {"type": "number", "min": 0, "max": 30, "default": "0"},
            "code": {"type": "int", "min": 0, "max": 9, "default": "0"},
        },
        "files": {"collect": ["report/**/*.csv", "out.json", "missing"], "max": "1MiB"},
        "timeout": "20s",
        "on": ["local", "far"],
    },
    "hostile": {
        "script": _HOSTILE,
        "interpreter": "sh",
        "files": {"collect": ["*.csv", "folder/*"], "max": "1MiB"},
        "on": ["local", "far"],
    },
    "many": {
        "script": "mkdir m; cd m; seq -f %05g 10000 | xargs touch",
        "interpreter": "sh",
        "files": {"collect": ["m/*"]},
        "on": "local",
    },
    "name": {
        "script": """
            pw=$(cat "$P_PW_FILE"); echo x > "<$pw>.csv"
            ln -s x "$(printf %s "$pw" | od -An -v -tx1 | tr -d ' \\n').csv"
            mkdir token=123; echo y > token=123/a.csv
        """,
        "interpreter": "sh",
        "params": {"pw": {"type": "secret"}},
        "files": {"collect": ["**/*.csv"]},
        "output": {"redact": ["token=[0-9]+"]},
        "on": ["local", "far"],
    },
    "swap": {
        "script": 'here=$(pwd); cd ..; mv "$here" away; ln -s /etc "$here"',
        "interpreter": "sh",
        "files": {"collect": ["*"]},
        "on": "local",
    },
}


class _Service(Service):
    """One that also publishes the commands above, for 'ann' and everywhere."""

    def write_policy(self) -> None:
        super().write_policy()
        document = {
            "version": 1,
            "commands": {name: {"effect": "read", **spec} for name, spec in COMMANDS.items()},
            "roles": {"files": [{"commands": list(COMMANDS), "hosts": "*"}]},
            "grants": [{"to": ["ann"], "roles": ["files"]}],
        }
        (self.policies / "files.yaml").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _Service.running(tmp_path_factory.mktemp("files") / "service") as running:
        yield running


def upload(content: bytes = b"allow all\n", name: str = "rules.txt", **more: Any) -> Document:
    return {"name": name, "base64": base64.b64encode(content).decode(), **more}


def fetch(service: Service, link: str, *, principal: str | None = "ann", **headers: str) -> httpx.Response:
    with service.client(principal) as client:
        return client.get(link, headers=headers)


def start_record(service: Service, job_id: str) -> Document:
    return service.records("job.started", job=job_id, count=1)[0]


def no_folder_left(service: Service) -> bool:
    return list((service.data / "runs").rglob("*")) == []


# In.


def test_an_upload_as_the_command_sees_it(service: Service) -> None:
    """A file of mode 0600 under its own name, in a private folder of the run's user; gone when the run has ended."""
    content = bytes(range(256)) * 16
    sha256 = hashlib.sha256(content).hexdigest()
    job = service.result("look", {"params": {"rules": upload(content, "my rules.bin", sha256=sha256), "pw": SECRET}})
    assert job["ok"], job["stderr"]
    *stats, user, summed, path = job["stdout"].splitlines()
    assert stats == [
        f"600 {user} regular file",
        f"700 {user} directory",
        f"400 {user} regular file",
        f"700 {user} directory",
    ]
    assert summed.split()[0] == sha256
    assert Path(path).name == "my rules.bin"
    assert Path(path).is_relative_to(service.data / "runs" / f"{job['id']}.0.in")
    assert no_folder_left(service)


def test_the_sum_is_checked(service: Service) -> None:
    """A sum of other bytes is a 422 that says so, and nothing has run; without a sum the file is taken as it is."""
    before = len(service.list_jobs(limit=200))
    wrong = hashlib.sha256(b"other").hexdigest()
    answer = service.run("look", {"params": {"rules": upload(sha256=wrong)}})
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/params/rules", "sha256_mismatch")
    ]
    assert len(service.list_jobs(limit=200)) == before
    assert service.result(
        "look", {"params": {"rules": upload(sha256=hashlib.sha256(b"allow all\n").hexdigest().upper())}}
    )["ok"]


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", ".bashrc", "-rf", " a", "a ", "a\nb", "a\0b", "\u202etxt.exe",
     "é", "\uff41", "x" * 256, "\ud83d", None, 5, ["a"]],
)  # fmt: skip
def test_names_that_are_no_file_name(service: Service, name: object) -> None:
    """A name is one plain segment; whatever else it is, nothing runs and nothing is written."""
    body = json.dumps({"params": {"rules": {"name": name, "base64": ""}}})
    with service.client() as client:
        answer = client.post("/v1/run/look", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == (400 if name == "\ud83d" else 422), answer.text
    assert no_folder_left(service)


@pytest.mark.parametrize("name", ["a b;$(id)`id`.txt", "<pw>", "'\"*?[x]", "%s%n", "x" * 255, "a..b", "CON"])
def test_odd_names_are_kept(service: Service, name: str) -> None:
    """What is a file name stays as it is: no shell, template or format reads it."""
    job = service.result("paths", {"params": {"rules": upload(name=name), "pw": SECRET}})
    assert job["ok"]
    assert job["stdout"].splitlines()[1].rpartition("/")[2] == name


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ({"name": "a"}, "missing_key"),
        ({"name": "a", "base64": "", "path": "/etc"}, "unknown_key"),
        ({"name": "a", "base64": "!!!!"}, "base64"),
        ({"name": "a", "base64": "aGk"}, "base64"),
        ({"name": "a", "base64": "", "sha256": "0"}, "format"),
        ({"name": "a", "base64": base64.b64encode(b"x" * 65537).decode()}, "too_large"),
        ("allow all", "type"),
        ([upload()], "type"),
    ],
)
def test_what_is_no_upload(service: Service, file: object, code: str) -> None:
    """Anything but an object of the keys with plain base64 under the cap is refused with its own code."""
    answer = service.run("look", {"params": {"rules": file}})
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [code]


def test_a_path_stands_in_the_argument_and_a_placeholder_in_every_record(service: Service) -> None:
    """The process gets paths; answers, events and the audit have the policy's placeholder. A value is never a placeholder."""
    body = {"params": {"rules": upload(), "pw": SECRET, "text": "<pw> <rules>"}}
    with service.client() as client:
        explained = as_document(client.post("/v1/explain/paths", json=body))
    argv = ["/usr/bin/printf", "%s\\n", "--password-file=<pw>", "<rules>", "<pw> <rules>"]
    assert explained["hosts"][0]["argv"] == argv
    assert explained["hosts"][0]["unsupported"] is None
    job = service.result("paths", body)
    secret, rules, text = job["stdout"].splitlines()
    folder = service.data / "runs" / f"{job['id']}.0.in" / "files"
    assert (secret, rules) == (f"--password-file={folder}/pw/pw", f"{folder}/rules/rules.txt")
    assert text == "<pw> <rules>"
    assert next(event for event in service.events(job["id"]) if event.type == "started").document["argv"] == argv
    assert start_record(service, job["id"])["steps"][0]["argv"] == argv


def test_a_secret_is_a_file_and_nothing_else(service: Service) -> None:
    """The file has exactly the secret's text; neither arguments nor variables have it, and the job shows ***."""
    job = service.result("reveal", {"params": {"pw": SECRET}})
    assert job["ok"]
    assert SECRET not in json.dumps(job)
    assert f"{hashlib.sha256(SECRET.encode()).hexdigest()}  -\n400\n" in job["stdout"]
    assert job["params"] == {"pw": "***"}


def test_the_audit_names_what_came(service: Service) -> None:
    """The record of the start has name, size and sum of an upload, and *** for a secret; no content of either."""
    content = b"canary-content-5e2a"
    job = service.result("look", {"params": {"rules": upload(content), "pw": SECRET}})
    sha256 = hashlib.sha256(content).hexdigest()
    shown = {"rules": {"name": "rules.txt", "sha256": sha256, "size": len(content)}, "pw": "***"}
    assert start_record(service, job["id"])["params"] == job["params"] == shown
    kept = [path for path in service.data.rglob("*") if path.is_file()]
    for needle in (SECRET.encode(), content, base64.b64encode(content)):
        assert [path.name for path in kept if needle in path.read_bytes()] == []
    assert SECRET not in service.log


def test_files_for_an_ssh_host(service: Service) -> None:
    """They go there as they go here: explain shows the placeholder, and the run gets a path."""
    body: Document = {"params": {"rules": upload()}, "hosts": ["local", "far"]}
    with service.client() as client:
        explained = as_document(client.post("/v1/explain/send", json=body))
    assert [(host["unsupported"], host["argv"][-1]) for host in explained["hosts"]] == 2 * [(None, "<rules>")]
    here, there = service.result("send", body)["runs"]
    assert here["stdout"].endswith("/files/rules/rules.txt\n")
    assert re.fullmatch(r"ran /tmp/cmdhttp-run-[0-9a-f]{32}/in/files/rules/rules.txt\n", there["stdout"])
    wait_until(lambda: not Path(there["stdout"].split()[1]).exists(), "the guard has removed the folder")
    assert service.result("send", {"hosts": ["far"]})["stdout"] == "ran\n"


def test_a_file_is_the_same_there(service: Service) -> None:
    """Rights, kind and content of what is sent to an SSH host, and the text of a secret in no record or log."""
    content = b"canary-content-7b10"
    job = service.result("look", {"params": {"rules": upload(content), "pw": SECRET}, "hosts": ["far"]})
    lines = job["stdout"].splitlines()
    uid = lines[4]
    assert lines[:4] == [
        f"600 {uid} regular file",
        f"700 {uid} directory",
        f"400 {uid} regular file",
        f"700 {uid} directory",
    ]
    assert lines[5].split()[0] == hashlib.sha256(content).hexdigest()
    kept = [path for path in service.data.rglob("*") if path.is_file()]
    for needle in (SECRET.encode(), content, base64.b64encode(content)):
        assert [path.name for path in kept if needle in path.read_bytes()] == []
    assert SECRET not in service.log


# Out.


def test_what_a_run_leaves(service: Service) -> None:
    """The files that match are listed with size and sum, and fetched byte for byte; the others are gone with the run."""
    job = service.result("leave")
    zeros = bytes(300_000)
    expected = {"out.json": b"{}\n", "report/a.csv": b"a,b\n1,2\n", "report/deep/zero.csv": zeros}
    assert [file["name"] for file in job["artefacts"]] == list(expected)
    assert (job["artefacts_left_out"], job["artefacts_left_out_count"]) == ([], 0)
    for number, file in enumerate(job["artefacts"]):
        content = expected[file["name"]]
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert file["link"] == f"/v1/jobs/{job['id']}/artefacts/{number}?host=local"
        answer = fetch(service, file["link"])
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == f'attachment; filename="{file["name"].rpartition("/")[2]}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in answer.headers["cache-control"]
    assert no_folder_left(service)


def test_artefacts_stand_in_events_and_records(service: Service) -> None:
    """The event of the run's end and the job at the end list them; the audit has their names, sizes and sums."""
    job = service.result("leave")
    events = {event.type: event.document for event in service.events(job["id"])}
    assert events["exited"]["artefacts"] == events["finished"]["job"]["artefacts"] == job["artefacts"]
    assert service.job(job["id"])["artefacts"] == job["artefacts"]
    (ended,) = service.records("job.ended", job=job["id"], count=1)
    assert ended["runs"][0]["artefacts"] == [[file["name"], file["bytes"], file["sha256"]] for file in job["artefacts"]]
    assert "artefacts" not in service.result("cat")


def test_a_range_of_an_artefact(service: Service) -> None:
    """One range is honoured as for output; one outside is a 416."""
    link = service.result("leave")["artefacts"][1]["link"]
    answer = fetch(service, link, Range="bytes=4-6")
    assert (answer.status_code, answer.content) == (206, b"1,2")
    assert answer.headers["content-range"] == "bytes 4-6/8"
    assert fetch(service, link, Range="bytes=-2").content == b"2\n"
    assert fetch(service, link, Range="bytes=8-").status_code == 416


def test_artefacts_are_for_whoever_may_read_the_job(service: Service) -> None:
    """Another caller gets the 404 of a job that is not there; without a token it is a 401."""
    job = service.result("leave")
    link = job["artefacts"][0]["link"]
    other = fetch(service, link, principal="bob")
    unknown = fetch(service, link.replace(job["id"], "job_" + "0" * (len(job["id"]) - 4)), principal="bob")
    assert other.status_code == unknown.status_code == 404
    assert other.json()["detail"] == unknown.json()["detail"]
    assert fetch(service, link, principal=None).status_code == 401


@pytest.mark.parametrize(
    "number",
    ["3", "-1", "00", "01", "1e0", "0x0", "+1", "x", "999999999999999999999", "\u0660", "%30", "%2e%2e", "0%2f..%2f1"],
)
def test_numbers_of_no_artefact(service: Service, number: str) -> None:
    """Only the plain number of a listed artefact leads to one; nothing leads to another file."""
    job = service.result("leave")
    answer = fetch(service, f"/v1/jobs/{job['id']}/artefacts/{number}?host=local")
    assert answer.status_code in (400, 404), answer.text


def test_several_hosts(service: Service) -> None:
    """Each run has its own artefacts, those of an SSH host like those from here, and the link says whose."""
    job = service.result("leave", {"hosts": ["local", "far"]})
    local, far = job["runs"]
    assert (local["state"], len(local["artefacts"])) == ("succeeded", 3)
    assert [{**file, "link": ""} for file in far["artefacts"]] == [{**file, "link": ""} for file in local["artefacts"]]
    assert (far["state"], far["artefacts_left_out"]) == ("succeeded", [])
    assert fetch(service, far["artefacts"][2]["link"]).content == bytes(300_000)
    link = local["artefacts"][0]["link"]
    assert fetch(service, link).content == b"{}\n"
    assert fetch(service, link.partition("?")[0]).status_code == 400
    assert fetch(service, link.replace("host=local", "host=nowhere")).status_code == 404


@pytest.mark.parametrize(
    ("body", "state"), [({"params": {"code": 3}}, "failed"), ({"params": {"seconds": 20}, "timeout": 0.7}, "timed_out")]
)
def test_a_run_that_does_not_succeed_leaves_its_files_too(service: Service, body: Document, state: str) -> None:
    """What is there when a run ends is kept, however it ended: a report of a failure is wanted most."""
    job = service.result("leave", body)
    assert (job["state"], len(job["artefacts"])) == (state, 3)


def test_a_canceled_run(service: Service) -> None:
    """While it runs nothing is listed; after a cancel there is what it had written."""
    job = service.launch("leave", {"params": {"seconds": 20}})
    wait_until(lambda: list((service.data / "runs").rglob("other.txt")), "the run has written its files")
    assert service.job(job["id"])["artefacts"] == []
    assert len(service.cancel(job["id"])["artefacts"]) == 3


@pytest.mark.parametrize("host", ["local", "far"])
def test_a_hostile_run(service: Service, host: str) -> None:
    """Links, pipes, hard links and sparse files are left out and said; names of any bytes are shown harmlessly."""
    began = time.monotonic()
    job = service.result("hostile", {"hosts": [host]})
    assert job["ok"], job["stderr"]
    assert time.monotonic() - began < 5
    left = {file["name"]: file["why"] for file in job["artefacts_left_out"]}
    assert left == {
        "shadow.csv": "symlink",
        "folder": "symlink",
        "pipe.csv": "not_regular",
        "twice.csv": "linked",
        "twin.csv": "linked",
        "sparse.csv": "too_large",
        **({} if os.geteuid() == 0 and host == "local" else {'<b>"; filename=evil.html.csv': "unreadable"}),
    }
    names = {file["name"]: fetch(service, file["link"]) for file in job["artefacts"]}
    assert names["new\\nline.csv"].content == b"line"
    assert names["\\xff\\xfe.csv"].content == b"bytes"
    for answer in names.values():
        assert answer.headers["content-disposition"].startswith('attachment; filename="')
        assert answer.headers["content-disposition"].count('"') == 2
        assert ";" not in answer.headers["content-disposition"].partition("; filename=")[2]
    assert "root:" not in "".join(answer.text for answer in names.values())


@pytest.mark.parametrize("host", ["local", "far"])
def test_a_name_shows_no_secret(service: Service, host: str) -> None:
    """A file's name stands in the job, its events, its records and a header; what no output shows is masked there too."""
    job = service.result("name", {"params": {"pw": SECRET}, "hosts": [host]})
    assert [file["name"] for file in job["artefacts"]] == ["<***>.csv", "***/a.csv"]
    assert [file["name"] for file in job["artefacts_left_out"]] == ["***.csv"]
    told = "".join(event.raw for event in service.events(job["id"])) + json.dumps(service.job(job["id"]))
    told += "".join(str(fetch(service, file["link"]).headers) for file in job["artefacts"])
    assert not any(word in told for word in (SECRET, SECRET.encode().hex(), "token=123"))
    assert not any(SECRET.encode() in path.read_bytes() for path in service.data.rglob("*") if path.is_file())


@pytest.mark.timeout(240)
def test_ten_thousand_files(service: Service) -> None:
    """So many files are kept and no more; the rest is named or counted."""
    job = service.result("many", {"wait": 50}, timeout=55)
    assert len(job["artefacts"]) == MAX_FILES
    assert len(job["artefacts_left_out"]) == MAX_TOLD
    assert job["artefacts_left_out_count"] == 10_000 - MAX_FILES


def test_a_working_folder_that_is_a_link(service: Service) -> None:
    """A run that puts a link in the place of its working folder leaves nothing, and that is said."""
    job = service.result("swap")
    assert job["ok"], job["stderr"]
    assert (job["artefacts"], job["artefacts_left_out"]) == ([], [{"name": "", "why": "unreadable"}])


def test_what_is_kept_is_private_and_under_our_names(service: Service) -> None:
    """On disk an artefact has a name of ours, is for the service alone, and nothing else is there."""
    job = service.result("leave")
    folder = next((service.data / "artefacts").glob(f"*/{job['id']}"))
    found = {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert found == {"0": 0o700, "0/000": 0o600, "0/001": 0o600, "0/002": 0o600}


def test_artefacts_outlive_the_service(tmp_path: Path) -> None:
    """After a restart they are there; of a run that was cut off no half artefact is listed, nor left on disk."""
    with _Service.running(tmp_path / "service") as service:
        job = service.result("leave")
        cut = service.launch("leave", {"params": {"seconds": 25}})
        wait_until(lambda: list((service.data / "runs").rglob("other.txt")), "the run has written its files")
        shard = next((service.data / "artefacts").iterdir())
        (half := shard / cut["id"] / "0").mkdir(parents=True)
        (half / "000").write_bytes(b"half")
        service.kill()
        service.end_orphans()
        service.start()
        assert fetch(service, job["artefacts"][2]["link"]).content == bytes(300_000)
        lost = service.job(cut["id"])
        assert (lost["state"], lost["artefacts"]) == ("lost", [])
        assert fetch(service, f"/v1/jobs/{cut['id']}/artefacts/0").status_code == 404
        assert not half.exists()


def test_what_a_caller_may_know(service: Service) -> None:
    """The list of commands says what a command collects, and how an upload is sent."""
    with service.client() as client:
        found = as_document(client.get("/v1/commands/leave"))
        looked = as_document(client.get("/v1/commands/look"))
    assert found["files"] == {"collect": ["report/**/*.csv", "out.json", "missing"], "max_bytes": 1 << 20}
    assert looked["files"] is None
    assert looked["params"]["properties"]["rules"]["required"] == ["name", "base64"]
