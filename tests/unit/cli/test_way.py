"""Where the service is and what a caller proves who it is with, as flags, variables and files say."""

import argparse
from pathlib import Path

import pytest

from cmdhttp.cli.calls.requests import command_name, idempotency_key, job_id
from cmdhttp.cli.calls.way import add_way, caller_of, read_headers
from cmdhttp.client.address import Address, read_address, read_proxy, trust
from cmdhttp.errors import ConfigError

JOB = "job_01M8D100000000000000000000"


def given(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_way(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", Address(host="127.0.0.1", port=8080)),
        ("http://localhost", Address(host="localhost", port=80)),
        ("https://cmd.example.com", Address(host="cmd.example.com", port=443, tls=True)),
        ("https://cmd.example.com:8443/tools/", Address(host="cmd.example.com", port=8443, tls=True, prefix="/tools")),
        ("http://[::1]:8080", Address(host="::1", port=8080)),
        ("unix:/run/cmdhttp/api.sock", Address(socket="/run/cmdhttp/api.sock")),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    """What a service may listen on can be named."""
    assert read_address(url, origin="--url") == address


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("https://run.example.com/secret-path", "https://run.example.com:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("unix:/run/cmdhttp/api.sock", "unix:/run/cmdhttp/api.sock"),
    ],
)
def test_an_address_for_people(url: str, origin: str) -> None:
    """It says which service was meant, without a path that may be known to few."""
    assert read_address(url, origin="--url").origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "8080",
        "localhost:8080",
        "ftp://x",
        "http://",
        "http://:80",
        "http://a:b@c",
        "http://tok@c",
        "http://c:99999",
        "http://c/?x=1",
        "http://c/#x",
        "http://c/a/../b",
        "http://c/./b",
        "http://c/a//b",
        "http://c/%2e",
        "http://c\\d",
        "http://c d",
        "http://c\r\nX: y",
        "http://é",
        "unix:api.sock",
        "unix:",
        "unix:/a\x00b",
        "file:///etc/passwd",
    ],
    ids=repr,
)
def test_addresses_that_are_none(url: str) -> None:
    """Anything else is refused before anything is sent, and the message does not repeat it: it may hold a password."""
    with pytest.raises(ConfigError) as refused:
        read_address(url, origin="--url")
    assert "tok" not in refused.value.detail


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
        ("https://example.com", False),
        ("unix:/x", False),
        ("http://example.com", True),
        ("http://127.0.0.1.example.com", True),
        ("http://10.0.0.1", True),
    ],
)
def test_what_goes_in_clear(url: str, *, clear: bool) -> None:
    """Only plain HTTP to another machine shows the token to the network."""
    assert read_address(url, origin="--url").in_clear is clear


def test_proxies() -> None:
    """A proxy is plain HTTP, without path and password."""
    assert read_proxy("http://proxy:3128", origin="--proxy").port == 3128
    for url in ("https://proxy", "unix:/x", "http://a:b@proxy", "http://proxy/x", "proxy:3128"):
        with pytest.raises(ConfigError):
            read_proxy(url, origin="--proxy")


def test_headers() -> None:
    """Lines of `Name: value`, with comments and empty lines between."""
    text = "# Access\n\nCF-Access-Client-Id: a.access\r\nCF-Access-Client-Secret:  b c \n"
    assert read_headers(text, origin="f") == {"CF-Access-Client-Id": "a.access", "CF-Access-Client-Secret": "b c"}


@pytest.mark.parametrize(
    "text",
    [
        "no colon",
        "a b: c",
        ": c",
        "a:",
        "a: \x1b",
        "a: é",
        "Authorization: Bearer hunter2",
        "Host: x",
        "hOST: x",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Idempotency-Key: x",
        "Connection: x",
        "A: hunter2\na: y",
    ],
    ids=repr,
)
def test_headers_that_are_refused(text: str) -> None:
    """No header that this client sets, none twice, none that is not plain; no message shows a value."""
    with pytest.raises(ConfigError) as refused:
        read_headers(text, origin="f")
    assert "hunter2" not in refused.value.detail + refused.value.hint


def test_a_carriage_return_in_a_header_makes_no_second_one() -> None:
    """A line break of any kind begins a new line, which must be a header of its own."""
    with pytest.raises(ConfigError):
        read_headers("a: b\rAuthorization: x", origin="f")


def test_where_the_token_is_from(tmp_path: Path) -> None:
    """A file wins over the variable; none at all, an empty one, and more than a word are errors that show nothing."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("from-file\n")
    for flags, environ, found in (
        ((), {"CMDHTTP_TOKEN": "from-variable"}, "from-variable"),
        (("--token-file", str(path)), {"CMDHTTP_TOKEN": "from-variable"}, "from-file"),
        ((), {"CMDHTTP_TOKEN": "x", "CMDHTTP_TOKEN_FILE": str(path)}, "from-file"),
    ):
        assert caller_of(given(*flags), environ)._headers["Authorization"] == f"Bearer {found}"
    for environ in ({}, {"CMDHTTP_TOKEN": " "}, {"CMDHTTP_TOKEN": "hunter2 x"}, {"CMDHTTP_TOKEN": "hunter2\r\nX: y"}):
        with pytest.raises(ConfigError) as refused:
            caller_of(given(), environ)
        assert "hunter2" not in refused.value.detail + refused.value.hint


def test_no_proxy_from_the_environment() -> None:
    """`http_proxy` and the like change nothing; a proxy that is asked for is not used for plain HTTP."""
    everywhere = {f"{name}_proxy": "http://thief:1" for name in ("http", "https", "all", "HTTP", "HTTPS", "ALL")}
    assert caller_of(given("--url", "https://x"), {"CMDHTTP_TOKEN": "t", **everywhere})._proxy is None
    with pytest.raises(ConfigError, match="https alone"):
        caller_of(given("--proxy", "http://p:1"), {"CMDHTTP_TOKEN": "t"})


def test_certificates_are_always_verified(tmp_path: Path) -> None:
    """With the system's authorities or with others, names and certificates are checked; a file without one is an error."""
    context = trust(None)
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    (tmp_path / "empty.pem").write_text("nothing")
    for path in (tmp_path / "empty.pem", tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match="ca-file"):
            trust(str(path))


def test_what_stands_in_paths() -> None:
    """Only the name of a command and the id of a job get into a path: nothing that could lead to another route."""
    assert (command_name("disk.usage"), job_id(JOB)) == ("disk.usage", JOB)
    for name in ("", "../jobs", "a/b", "a?b", "a%2fb", ".x", "a b", "a\n", "x" * 65):
        with pytest.raises(ConfigError):
            command_name(name)
    for name in ("", "job_1", JOB + "/cancel", JOB.lower(), "../" + JOB):
        with pytest.raises(ConfigError):
            job_id(name)
    for key in ("", "é", "a b", "a\r\nb", "x" * 256):
        with pytest.raises(ConfigError):
            idempotency_key(key)
