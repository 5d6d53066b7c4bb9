"""The benchmark of local runs: its figures, its reading of HTTP, and its policy."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.figures import Aim, Aims, Column, Figure, Row, Sheet, percentile
from benchmarks.local import load, moments, output
from benchmarks.local.contenders import Cat, Cmdhttp, Webhook, policy
from benchmarks.local.http import Answer, request
from benchmarks.local.moments import delays
from benchmarks.local.page import page
from benchmarks.local.programs import FULL, QUICK, Sizes, programs
from benchmarks.local.run import aims
from benchmarks.policy import INPUTS
from cmdhttp.policy.load import load as load_policy

TOKEN = {"id": "Ab3dEf9h", "sha256": "ab" * 32, "expires": "2027-03-31"}


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 102)], 0.99, 100.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentiles_are_values_that_were_seen(values: list[float], share: float, found: float) -> None:
    """The nearest rank: the least value that so many do not exceed."""
    assert percentile(values, share) == found


def test_a_figure_has_its_median_least_and_spread() -> None:
    """The spread is a share of the median; a figure that is always 0 has none."""
    figure = Figure((4.0, 2.0, 3.0))
    assert (figure.median, figure.least) == (3.0, 2.0)
    assert figure.spread == pytest.approx(2 / 3)
    assert Figure((0.0, 0.0)).spread == 0


def test_a_ratio_is_taken_within_the_rounds() -> None:
    """A round in which everything was slow counts as one, not as a change of the ratio."""
    mine, its = Figure((2.0, 20.0, 4.0)), Figure((1.0, 10.0, 1.0))
    assert mine.ratio(its) == 2.0
    assert mine.less(its) == Figure((1.0, 10.0, 3.0))
    assert math.isnan(mine.ratio(Figure((1.0, 0.0, 1.0))))
    with pytest.raises(ValueError, match="zip"):
        mine.ratio(Figure((1.0,)))


SHEET = Sheet(
    title="A race",
    columns=(Column(name="calls", unit="1/s"), Column(name="p99", unit="ms")),
    rows=(
        Row(name="we", figures=(Figure((1000.0, 2000.0)), Figure((1.0, 3.0)))),
        Row(name="they", figures=(Figure((500.0, 1000.0)), None)),
    ),
    notes=("It is short.",),
)


def test_a_sheet_says_the_same_to_people_and_machines() -> None:
    """Each figure comes with its least, its spread and how many times the first's it is."""
    head, *rows = SHEET.text().split("\n")[1:]
    assert head.split() == ["calls", "1/s", "least", "spread", "times", "p99", "ms", "least", "spread", "times"]
    assert rows[0].split() == ["we", "1,500", "1,000", "67%", "1", "2.00", "1.00", "100%", "1"]
    assert rows[1].split() == ["they", "750", "500", "67%", "0.5", "-"]
    assert rows[2] == "  It is short."
    written = json.loads(json.dumps(SHEET.document()))
    assert [len(row["figures"]) for row in written["rows"]] == [2, 1]
    theirs = written["rows"][1]["figures"][0]
    assert theirs == {
        "name": "calls",
        "unit": "1/s",
        "median": 750.0,
        "least": 500.0,
        "spread": pytest.approx(2 / 3),
        "values": [500.0, 1000.0],
        "times_the_first": 0.5,
    }


@pytest.mark.parametrize(("row", "column"), [("they", "p99"), ("nobody", "calls"), ("we", "p50")])
def test_a_figure_that_is_not_there_is_no_figure(row: str, column: str) -> None:
    """Asking a sheet for what it does not have is an error, never a 0."""
    assert SHEET.figure("we", "p99") == Figure((1.0, 3.0))
    with pytest.raises(LookupError, match="A race"):
        SHEET.figure(row, column)


def test_aims_are_met_or_missed() -> None:
    """An aim is met at its very value; a bound from below and one from above are told apart."""
    at_most = Aim(what="p99", unit="ms", wanted=5, found=5)
    at_least = Aim(what="calls", unit="1/s", wanted=1000, found=999, at_least=True)
    both = Aims(title="Aims", aims=(at_most, at_least))
    assert (at_most.met, at_least.met) == (True, False)
    assert [line.split() for line in both.text().split("\n")[2:]] == [
        ["p99", "<=", "5.00", "ms", "5.00", "met"],
        ["calls", ">=", "1,000", "1/s", "999", "MISSED"],
    ]
    written = json.loads(json.dumps(both.document()))["aims"]
    assert written[0] == {"what": "p99", "unit": "ms", "at_most": 5, "found": 5, "met": True}
    assert written[1]["at_least"] == 1000


def one(value: float) -> Figure:
    return Figure((value,))


def sheets(*, rate: float, p99: float, p50: float, speed: float, memory: float, line: float) -> dict[str, Sheet]:
    """A sheet of each kind, with peers whose figures are plain."""
    made = []
    for program in load.PROGRAMS:
        for clients in (1, 32):
            ours = (one(rate), one(p50), one(p99), one(4))
            theirs: dict[str, tuple[Figure | None, ...]] = {
                Webhook.name: (one(1000), one(1), one(30), None),
                load.FLOOR: (one(1500), one(0.5), one(1), one(1)),
            }
            made.append(load.sheet(program, clients, {Cmdhttp.name: ours, **theirs}))
    for program in ("zeros", "lines"):
        rows = (
            Row(name=Cmdhttp.name, figures=(one(speed), one(memory))),
            Row(name=Cat.name, figures=(one(1000), one(4))),
        )
        made.append(Sheet(title=output.title(program, FULL), columns=output.COLUMNS, rows=rows))
    for title, name in ((moments.LINE_TITLE, moments.FIRST), (moments.CALL_TITLE, moments.P50)):
        row = Row(name=moments.NDJSON, figures=(one(line),))
        made.append(Sheet(title=title, columns=(Column(name=name, unit="ms"),), rows=(row,)))
    return {sheet.title: sheet for sheet in made}


def test_the_aims_are_those_that_were_set() -> None:
    """Webhook's throughput and a third of its p99, 1 ms over the floor, half of cat's speed, 40 MB, 5 ms."""
    good = list(aims(sheets(rate=1000, p99=10, p50=1.5, speed=500, memory=40, line=5), FULL))
    assert [aim.found for aim in good if not aim.met] == []
    bad = list(aims(sheets(rate=999, p99=10.1, p50=1.6, speed=499, memory=41, line=5.1), FULL))
    assert [aim.what for aim in bad if aim.met] == []
    assert len(good) == len(bad) == 12


def test_only_the_aims_of_what_was_measured_are_said() -> None:
    """A part of the benchmark speaks of its own aims; sheets of other sizes are no evidence."""
    everything = sheets(rate=1, p99=1, p50=1, speed=1, memory=1, line=1)
    lines = {moments.LINE_TITLE: everything[moments.LINE_TITLE]}
    assert [aim.unit for aim in aims(lines, FULL)] == ["ms"]
    assert list(aims({output.title("zeros", FULL): everything[output.title("zeros", FULL)]}, QUICK)) == []


# HTTP.

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
CLOSED = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello"


@pytest.mark.parametrize("sent", [PLAIN, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["plain", "chunked", "204"])
def test_an_answer_is_whole_at_its_last_byte(sent: bytes) -> None:
    """However the bytes are cut, the answer is whole with the last one and not before."""
    answer = Answer()
    assert [answer.feed(sent[at : at + 1]) for at in range(len(sent))] == [False] * (len(sent) - 1) + [True]
    assert answer.status == int(sent[9:12])
    assert not answer.closes
    assert Answer().feed(sent)


def test_an_answer_without_length_ends_with_the_connection() -> None:
    """An old server's answer is whole when the connection ends; one that is cut off is not."""
    answer = Answer()
    assert not answer.feed(CLOSED)
    assert answer.end()
    assert (answer.body, answer.closes) == (b"hello", True)
    for cut in (PLAIN[:-1], CHUNKED[:-1], CLOSED[:10], b""):
        broken = Answer()
        assert not broken.feed(cut)
        assert not broken.end()


def test_a_server_may_say_that_it_closes() -> None:
    """The next call needs a new connection then."""
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert answer.closes


def test_a_request_is_written_as_http() -> None:
    """A body has its type and length; no body has none."""
    assert request("GET", "/x") == b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert request("POST", "/x", headers={"A": "b"}, body=b"{}") == (
        b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_delays_are_read_from_lines_that_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line counts when its last byte is there, whatever is around it."""
    now = iter([2_000_000, 3_000_000, 9_000_000])
    monkeypatch.setattr("benchmarks.local.moments.time.monotonic_ns", lambda: next(now))
    received = iter([b'{"text":"@10000', b'00@\\n"}{"text":"@2000000@\\n', b"@8000000@", b""])
    assert delays(lambda: next(received)) == [2.0, 1.0, 1.0]


# What is run.


@pytest.mark.parametrize("sizes", [FULL, QUICK], ids=["full", "quick"])
def test_our_policy_loads(sizes: Sizes, tmp_path: Path) -> None:
    """The policy of the benchmark is one that the service takes, and it publishes every program."""
    argvs = programs(sizes)
    (tmp_path / "policy.yaml").write_text(json.dumps(policy(argvs, TOKEN)))
    (tmp_path / "policy.yaml").chmod(0o644)
    loaded = load_policy(tmp_path, INPUTS).usable()
    assert set(loaded.commands) == {*argvs, "sleep"}


def test_the_sizes_are_what_they_are_called() -> None:
    """The full size is the one that the aims are about."""
    assert (FULL.bytes_of("zeros"), FULL.bytes_of("lines")) == (1 << 30, 100_000_000)
    assert output.title("zeros", FULL).startswith("1 GiB")
    assert output.title("lines", FULL).startswith("50,000,000 lines")


def test_the_page_shows_what_was_measured() -> None:
    """The Markdown has the medians of the JSON, and says which aims were missed."""
    found = sheets(rate=999, p99=10, p50=1.5, speed=500, memory=40, line=5)
    last = Aims(title="Aims", aims=tuple(aims(found, FULL)))
    reports = [*(sheet.document() for sheet in found.values()), last.document()]
    document = {
        "machine": {"python": "CPython 3", "system": "Linux", "processors": 2, "load": "0.10"},
        "rounds": 5,
        "benchmarks": {"policy": [{"title": "no part of it"}], "local": reports},
    }
    text = page(json.loads(json.dumps(document)))
    assert "| `/bin/true`: calls a second (p50, p99; processor time a call; in ms) | 1 client | 32 clients |" in text
    assert "| cmdhttp | 999 (1.50, 10.00; 4.00) | 999 (1.50, 10.00; 4.00) |" in text
    assert "| webhook | 1,000 (1.00, 30.00; ?) | 1,000 (1.00, 30.00; ?) |" in text
    assert "| 1 GiB of zeros to curl | speed, MB/s | memory, MB |" in text
    assert "| floor: cat | 1,000 | 4.0 |" in text
    assert "| /bin/true, 32 clients: calls a second, of webhook's | at least 1 times | 0.999 | **no** |" in text
    assert "| 1 GiB of zeros to curl: memory above idle | at most 40.0 MB | 40.0 | yes |" in text
    assert "CPython 3, Linux, 2 processors; load 0.10 at the start; 5 rounds." in text
