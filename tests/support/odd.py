"""Texts that a reader of values may stumble over, by what they pretend to be. None of them is a trick on YAML itself."""

from itertools import product

_MOMENTS = product(
    ("0001-01-01", "9999-12-31", "2026-12-20"),
    ("00:00:00", "23:59:59", "24:00:00", "23:59:59.9999999"),
    ("Z", "+14:00", "-14:00", "+23:59", "-23:59:59", "+99:99", ""),
)
_SURROGATE = '"\\ud800"'

ODD: dict[str, tuple[str, ...]] = {
    "numbers": (
        *("0", "-0", "-1", "1", "00", "0644", "0x10", "1e999", "-1e999", "nan", "inf", "1_000", "1.", ".5", "22:22"),
        *(f"{2**53}", f"{2**63 - 1}", f"{-(2**63)}", "9" * 18, "9" * 19, "9" * 400, "9" * 5000),
        *(f"0.{'9' * 18}", f"{'9' * 18}.{'9' * 18}", "0.000000000000000001"),
    ),
    "days": (
        *("0001-01-01", "9999-12-31", "0000-01-01", "10000-01-01", "2026-02-30", "2026-W01-1", "20261220"),
        *("2026-12-20", "2027-01-03"),
    ),
    "moments": tuple(f"{day}T{hour}{zone}" for day, hour, zone in _MOMENTS),
    "spans": (
        *("0s", "1ms", "500ms", "0.5s", "1y", "s", "1d1d", "99999999999d23h59m59s999ms"),
        *("9" * 9 + "d", "9" * 14 + "d", "9" * 300 + "d", "9" * 400 + "ms", "9" * 5000 + "s"),
    ),
    "sizes": ("0B", "1B", "1KiB", "1MiB", "16MiB", "999999999999999TiB", "1MB", "-1B", "1.5KiB"),
    "rates": ("0/s", "1/s", "999999999/d", "9999999999/d", "1/week", "1/", "/s"),
    "networks": (
        *("0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "::ffff:10.0.0.0/104"),
        *("::ffff:0:0/90", "fe80::1%eth0", "2001::/32", "64:ff9b:1::/48", "/8", "1/8"),
    ),
    "addresses": (
        *("127.0.0.1", "192.0.2.7", "::1", "::ffff:10.0.0.1", "0177.0.0.1", "1.2.3", "999.1.1.1", "1::2::3"),
        *("64:ff9b::a00:1", "2130706433", "[::1]", "a.example.com", "a..b", "127.1", "a@b.example", "*.example.com"),
    ),
    "patterns": (
        *(
            "",
            "(",
            "a)|(?:b",
            "(?=x)",
            "(?x) #",
            r"\1",
            ".*",
            "a{1000}",
            r"\w{9}",
            "[a-z]{1,1000}",
            "[[:alpha:]]",
            "\\",
        ),
        *("x" * 2000, "x" * 2001, "(?P<x>a)", "a{99999999999}", r"\x{110000}", "(?-u:\\xff)", "(" * 300 + ")" * 300),
    ),
    "paths": ("/", "//", "/.", "/a/../b", "../x", "/" + "a" * 300, "/a" * 2100, "\\", ".hidden", "a/b", "/bin/true"),
    "urls": (
        *("https://", "https://a:0/", "https://a:99999/", "https://[::1]/", "file:///etc/passwd", "https://a@b/"),
        *("https://a/..", "HTTPS://A:443", "https://a/%zz"),
    ),
    "documents": (
        *("{}", "[]", "null", '{"a":1,"a":2}', "NaN", "1e999", "9" * 5000, "[" * 60 + "]" * 60, "[" * 5000),
        *(_SURROGATE, '{"":[{}]}', '"\\u0000"'),
    ),
    "placeholders": (
        *("<", ">", "<>", "<x>", "<x...>", "<...>", "<<x>>", "<unit", "a<unit>b<unit>", "<unit...>", "<a b>"),
        *("--x=<addresses...>", "<account>", "cmdhttp-<account>"),
    ),
    "words": (
        *(
            "",
            "*",
            "local",
            "none",
            "root",
            "true",
            "yes",
            "~",
            "role:",
            "role:*",
            "role:role:x",
            "tag",
            "effect",
            "read",
        ),
        *(
            "4",
            "6",
            "sh",
            "md5",
            "https",
            "file:x",
            "env:X",
            "file:../x",
            "deny",
            "invalid",
            "needs-approval",
            "required",
        ),
    ),
    "characters": (
        *(
            "\u0663",
            "\uff11\uff12",
            "\u00bd",
            "\u00b2",
            "\u212a",
            "\ufb01",
            "\u00df",
            "\u0130",
            "e\u0301",
            "\U0001d7d9",
        ),
        *("\U0001f600", "'", '"', "%s%n", "{0}", "{x}", "$(id)", "`id`", "a\tb", "a b", "a" * 300, "-x", "--", "a\nb"),
    ),
}

KIN: dict[str, tuple[str, ...]] = {
    "int": ("numbers",),
    "number": ("numbers",),
    "port": ("numbers",),
    "date": ("days", "moments"),
    "datetime": ("moments", "days"),
    "duration": ("spans",),
    "ip": ("addresses", "networks"),
    "cidr": ("networks",),
    "hostname": ("addresses",),
    "email": ("addresses",),
    "string": ("patterns", "characters"),
    "username": ("patterns", "words"),
    "filename": ("paths", "patterns"),
    "path": ("paths",),
    "url": ("urls", "addresses", "words"),
    "json": ("documents", "sizes"),
    "enum": ("characters", "words"),
    "bool": ("words",),
    "secret": ("sizes", "numbers"),
    "file": ("sizes",),
}
"""Which of them a parameter of a type takes most seriously."""

FOR_KEY: dict[str, tuple[str, ...]] = {
    "expires": ("moments", "days"),
    "at": ("moments", "days"),
    "from": ("moments", "days", "networks"),
    "until": ("moments", "days"),
    "timeout": ("spans",),
    "within": ("spans",),
    "ttl": ("spans",),
    "cpu": ("spans",),
    "max": ("sizes", "numbers"),
    "memory": ("sizes",),
    "file_size": ("sizes",),
    "rate": ("rates",),
    "run": ("placeholders",),
    "args": ("placeholders",),
    "principal": ("placeholders",),
    "pattern": ("patterns",),
    "redact": ("patterns",),
    "script_file": ("paths",),
    "known_hosts": ("paths",),
    "port": ("numbers",),
    "needed": ("numbers",),
    "success_codes": ("numbers",),
}
"""The same for keys."""
