"""Which arguments a caller may not shape, and which it had better not."""

# ruff: noqa: ISC004 - a long message goes on in the next line

import re
from functools import cache

import pytest

from cmdhttp.policy.findings import Finding
from tests.unit.policy.lint.linting import HOSTS, each, found, shown

CODES = ("P303", "P304", "P305", "P306", "P307", "P320", "P321", "P325")
PARAMS = {
    "text": "{type: string, pattern: '[a-z /.+!;=@:|-]+'}",
    "word": "{type: string, pattern: '[a-z]+'}",
    "both": "{type: string, pattern: '[a-z./]+'}",
    "dash": "{type: string, pattern: '-?[a-z]+', leading_dash: true}",
    "n": "{type: int}",
    "neg": "{type: int, min: -5, leading_dash: true}",
    "pos": "{type: int, min: 0, leading_dash: true}",
    "half": "{type: number, min: -1, leading_dash: true}",
    "e": "{type: enum, values: [a, b]}",
    "opts": "{type: enum, values: [-a, -b], leading_dash: true}",
    "tool": "{type: enum, values: [/opt/a, /opt/b]}",
    "shell": "{type: enum, values: [/bin/sh, /bin/df]}",
    "p": "{type: path, under: [/srv]}",
    "any": "{type: path, under: [/]}",
    "u": "{type: url}",
    "h": "{type: url, hosts: [a.example]}",
    "f": "{type: filename}",
    "host": "{type: hostname}",
    "id": "{type: uuid, leading_dash: true}",
    "many": "{type: list, of: {type: string, pattern: '[a-z]+'}}",
    "dashes": "{type: list, of: {type: string, pattern: '[a-z-]+', leading_dash: true}}",
    "v": "{type: bool, flag: -v}",
    "b": "{type: bool}",
}


def keys(run: str) -> str:
    """The keys of a command with this run list and the parameters that it names."""
    names = dict.fromkeys(re.findall(r"<([a-z]+)", run))
    return f"run: {run}, params: {{{', '.join(f'{name}: {PARAMS[name]}' for name in names)}}}"


RUNS: dict[str, tuple[str, str]] = {
    # a run list, and the codes that must be said of it
    "a program that is not known": ("[/opt/tool, <text>, --, <p>]", ""),
    "a word with a number in shell code": ("[/bin/sh, -c, 'sleep <n>']", "P303"),
    "a choice in shell code": ("[/bin/bash, -euc, 'systemctl restart <e>']", "P303"),
    "a value after shell code": ("[/bin/sh, -c, 'echo \"$1\"', sh, <word>]", ""),
    "code attached to its option": ("[/usr/bin/perl, '-e<word>']", "P303"),
    "code after letters": ("[/usr/bin/perl, -lane, 'print <word>']", "P303"),
    "code with an equals sign": ("[/usr/bin/node, '--eval=<word>']", "P303"),
    "constant code": ("[/usr/bin/python3, -c, 'import sys', <text>]", ""),
    "code by a version of the name": ("[/usr/bin/python3.12, -c, <word>]", "P303"),
    "everything after -Command": ("[/usr/bin/pwsh, -NoProfile, -Command, Get-Item, <p>]", "P303"),
    "everything attached": ("[/usr/bin/pwsh, -Command, Get-Item]", ""),
    "a script that the caller names": ("[/bin/bash, <p>]", "P304"),
    "a script after letters": ("[/bin/bash, -x, <p>]", "P304"),
    "a script from a choice": ("[/usr/bin/python3, /opt/<e>.py]", ""),
    "a module that the caller names": ("[/usr/bin/python3, -m, <word>]", "P304"),
    "a constant module and its arguments": ("[/usr/bin/python3, -m, json.tool, <text>]", ""),
    "a library that the caller names": ("[/usr/bin/ruby, -r, <word>, /opt/x.rb]", "P304"),
    "a library with attached text": ("[/usr/bin/perl, '-I<p>', /opt/x.pl]", "P304"),
    "a relative script": ("[/usr/bin/python3, report.py]", "P306"),
    "a relative class is a name": ("[/usr/bin/java, -jar, /opt/x.jar, <text>]", ""),
    "a class that the caller names": ("[/usr/bin/java, -Xmx1g, <word>]", "P304"),
    "options of a shell with values": ("[/bin/bash, -o, pipefail, +o, histexpand, /opt/x.sh, <text>]", ""),
    "an interpreter of subcommands": ("[/usr/bin/deno, run, <word>]", "P304"),
    "letters that are flags": ("[/bin/sh, -ex, /opt/x.sh, <text>]", ""),
    "an option at the end": ("[/usr/bin/python3, -c]", ""),
    "sed code with text": ("[/usr/bin/sed, -n, '/<word>/p', /var/log/a]", "P303"),
    "sed code with a number": ("[/usr/bin/sed, -n, '<n>p', /var/log/a]", ""),
    "sed code with a host name": ("[/usr/bin/sed, -n, '/<host>/p', /var/log/a]", ""),
    "sed code given by an option": ("[/usr/bin/sed, -e, p, /srv/<f>]", ""),
    "a sed script from a file": ("[/usr/bin/sed, -f, /opt/x.sed, <any>]", "P320"),
    "awk with a value as variable": ("[/usr/bin/awk, -v, 'x=<text>', 'BEGIN {print x}']", ""),
    "awk code with text": ("[/usr/bin/awk, '/<word>/']", "P303"),
    "SQL with text": ("[/usr/bin/psql, -c, 'select <word>']", "P303"),
    "SQL with a number": ("[/usr/bin/psql, -c, 'select <n>']", ""),
    "sqlite code as second operand": ("[/usr/bin/sqlite3, /srv/a.db, 'select <word>']", "P303"),
    "a launcher with a constant program": ("[/usr/bin/sudo, -n, -u, www, /usr/bin/systemctl, restart, --, <e>]", ""),
    "a launcher judged as its program": ("[/usr/bin/sudo, -n, --, /bin/sh, -c, 'echo <n>']", "P303"),
    "a program that the caller names": ("[/usr/bin/sudo, -n, <any>]", "P305"),
    "a program of which it names a part": ("[/usr/bin/env, -i, /opt/<f>]", "P305"),
    "a program from a choice": ("[/usr/bin/nice, -n, '5', <tool>, <text>]", ""),
    "a program from a choice, each judged": ("[/usr/bin/nice, <shell>, <p>]", "P304"),
    "a program from words without a path": ("[/usr/bin/nice, <e>]", "P306 P306"),
    "a program from a list": ("[/usr/bin/nice, '<many...>']", "P305"),
    "a program from a number": ("[/usr/bin/nice, <n>]", "P305"),
    "a program from two choices": ("[/usr/bin/nice, '/opt/<e>/<e>']", "P305"),
    "a relative program": ("[/usr/bin/timeout, 5s, df, -h]", "P306"),
    "variables before the program": ("[/usr/bin/env, -, 'A=<word>', /usr/bin/df]", ""),
    "a variable that is all the caller's": ("[/usr/bin/env, <text>, /usr/bin/df]", "P305"),
    "an account that the caller names": ("[/usr/bin/sudo, '--user=<word>', /usr/bin/id]", ""),
    "a launcher without a program": ("[/usr/bin/sudo, -l]", ""),
    "a shell that the caller names": ("[/usr/bin/su, '--shell=<any>', u]", "P305"),
    "code for su": ("[/usr/bin/su, '-', u, -c, 'id <e>']", "P303"),
    "a program with -u": ("[/usr/sbin/runuser, -u, u, --, id]", "P306"),
    "an account without -u": ("[/usr/sbin/runuser, u, -c, id]", ""),
    "no program with -p": ("[/usr/bin/taskset, -p, <n>]", ""),
    "an applet needs no path": ("[/bin/busybox, df, <p>]", ""),
    "an applet that is a shell": ("[/bin/busybox, sh, <p>]", "P304"),
    "a remote shell": ("[/usr/bin/ssh, <host>, uptime, <n>]", "P303 P325"),
    "options within shell text": ("[/usr/bin/watch, -n, '5', df, -n, <n>]", "P303"),
    "an option of ssh": ("[/usr/bin/ssh, -o, <word>, a.example, uptime]", "P305 P325"),
    "find -exec with a shell": ("[/usr/bin/find, /srv, -exec, /bin/sh, -c, 'rm <f>', ;]", "P303"),
    "find -exec with a program": ("[/usr/bin/find, <p>, -name, <text>, -exec, /bin/ls, '{}', +, -print]", ""),
    "find -exec without an end": ("[/usr/bin/find, /srv, -exec, rm, '{}']", "P306"),
    "find -exec without anything": ("[/usr/bin/find, /srv, -exec, ;]", ""),
    "a container": ("[/usr/bin/docker, exec, web, sh, -c, 'echo <word>']", "P303 P325"),
    "a harmless use of a container": ("[/usr/bin/docker, logs, <word>, <word>]", ""),
    "a scheduler": ("[/usr/bin/crontab, -u, <word>, /opt/tab]", "P325"),
    "a harmless use of a scheduler": ("[/usr/bin/crontab, -l]", ""),
    "another session": ("[/usr/bin/setsid, /opt/daemon]", "P325"),
    "any file to read": ("[/usr/bin/cat, <any>]", "P320"),
    "files of one folder": ("[/usr/bin/cat, <p>]", ""),
    "a file name in a folder": ("[/usr/bin/cat, /var/log/<f>]", ""),
    "text in a folder": ("[/usr/bin/cat, /var/log/<both>]", "P320"),
    "text in a folder, with an end": ("[/usr/bin/cat, '/var/log/<both>.log']", "P320"),
    "text after a name": ("[/usr/bin/cat, 'a-<text>']", ""),
    "two values in a path": ("[/usr/bin/cat, '/srv/<e>/<both>']", "P320"),
    "a pattern, not a file": ("[/usr/bin/grep, -r, -A, '3', -- , <text>, /var/log]", ""),
    "a file after the pattern": ("[/usr/bin/grep, -e, x, <any>]", "P320"),
    "a file after an attached value": ("[/usr/bin/cut, '-d:', <any>]", "P320"),
    "a file as value of an option": ("[/usr/bin/curl, '--output=<any>', 'https://a.example/']", "P320"),
    "a file after if=": ("[/usr/bin/dd, 'if=<any>']", "P320"),
    "a file after @": ("[/usr/bin/curl, --data, <text>, 'https://a.example/']", "P320"),
    "a fixed file after @": ("[/usr/bin/curl, --data, '@<any>', 'https://a.example/']", "P320"),
    "a value in data": ("[/usr/bin/curl, --data, 'a=<text>', -H, 'X-Y: <text>', 'https://a.example/']", ""),
    "a file in a field of a form": ("[/usr/bin/curl, -F, 'a=@<any>', 'https://a.example/']", "P320"),
    "a field of a form": ("[/usr/bin/curl, -F, 'a=<text>', 'https://a.example/']", "P320"),
    "a value in a field of a form": ("[/usr/bin/curl, -F, 'a=b<text>', 'https://a.example/']", ""),
    "any address": ("[/usr/bin/curl, --, <u>]", "P320"),
    "addresses of one host": ("[/usr/bin/curl, --, <h>]", ""),
    "any host in an address": ("[/usr/bin/curl, 'https://<host>/health']", "P320"),
    "a path in an address": ("[/usr/bin/curl, 'https://a.example/<text>']", ""),
    "text after a word": ("[/usr/bin/curl, 'a<text>']", ""),
    "a repository that starts a program": ("[/usr/bin/git, clone, --, <text>]", "P320"),
    "a repository by url": ("[/usr/bin/git, clone, --, <h>]", ""),
    "a repository below a folder": ("[/usr/bin/git, clone, '/srv/<text>']", ""),
    "a program that an option starts": ("[/usr/bin/tar, '--to-command=<word>', -xf, /srv/a]", "P320"),
    "a package": ("[/usr/bin/apt-get, install, -y, <word>]", "P320"),
    "a package to look at": ("[/usr/bin/apt-get, changelog, <word>]", ""),
    "a variable of make": ("[/usr/bin/make, -C, /srv, <text>]", "P320"),
    "a unit that may be a path": ("[/usr/bin/systemctl, enable, <any>]", "P320"),
    "a unit to restart": ("[/usr/bin/systemctl, restart, <text>]", ""),
    "a service that may be a path": ("[/usr/sbin/service, <both>, status]", "P320"),
    "code for a program of another kind": ("[/usr/bin/socat, '-', <text>]", "P320"),
    "a command after +": ("[/usr/bin/less, <text>]", "P320"),
    "a script for a scanner": ("[/usr/bin/nmap, --script, <word>, a.example]", "P320"),
    "a list of files": ("[/usr/bin/cat, '<many...>']", ""),
    "a dash without a guard": ("[/opt/tool, <dash>]", "P321"),
    "a dash after --": ("[/opt/tool, --, <dash>]", ""),
    "a dash after an equals sign": ("[/opt/tool, '--x=<dash>']", ""),
    "a dash in an item of a list": ("[/opt/tool, '<dashes...>']", "P321"),
    "a dash with a known risk": ("[/usr/bin/tar, -cf, /srv/a, <dash>]", "P321"),
    "a number that may be negative": ("[/opt/tool, <neg>, <half>]", "P321 P321"),
    "a number that may not": ("[/opt/tool, <pos>]", ""),
    "options that the admin listed": ("[/opt/tool, <opts>, <id>]", ""),
    "a guard of the launcher does not count": ("[/usr/bin/sudo, --, /opt/tool, <dash>]", "P321"),
    "the letter of an option": ("[/opt/tool, '-<word>', '-<n>', '--<word>=x']", "P321 P321"),
    "the name of an option": ("[/usr/bin/tar, '--<word>']", "P321"),
    "a flag that the caller sets": ("[/usr/bin/nice, <v>, /usr/bin/df, <b>]", ""),
    "an optional group": ("[/bin/sh, [-c, <word>]]", "P303"),
}  # fmt: skip


@cache
def said() -> dict[str, list[Finding]]:
    return each({name: keys(run) for name, (run, _) in RUNS.items()})


@pytest.mark.parametrize("name", RUNS)
def test_of_a_run_list_is_said(name: str) -> None:
    """Each run list gets exactly the findings that it deserves."""
    assert sorted(finding.code for finding in said()[name] if finding.code in CODES) == RUNS[name][1].split()


STDIN: dict[str, tuple[str, str]] = {
    "a shell": ("[/bin/sh]", "P307"),
    "a shell that is told so": ("[/bin/sh, '-']", "P307"),
    "a shell with code": ("[/bin/sh, -c, cat]", ""),
    "a shell with a script": ("[/bin/sh, /opt/x.sh]", ""),
    "a shell after a launcher": ("[/usr/bin/sudo, /bin/bash]", "P307"),
    "a launcher that starts a shell": ("[/usr/bin/sudo, -i]", "P307"),
    "a launcher with a program": ("[/usr/bin/sudo, /usr/bin/tee, /srv/a]", ""),
    "a scheduler": ("[/usr/bin/at, now]", "P307 P325"),
    "a file of commands": ("[/usr/bin/psql, -f, '-']", "P307"),
    "a program that reads data": ("[/usr/bin/wc, -l]", ""),
}


@cache
def said_of_stdin() -> dict[str, list[Finding]]:
    return each({name: f"stdin: {{max: 1KiB}}, run: {run}" for name, (run, _) in STDIN.items()})


@pytest.mark.parametrize("name", STDIN)
def test_stdin_that_is_code(name: str) -> None:
    """A caller's stdin is not code for an interpreter."""
    assert sorted(finding.code for finding in said_of_stdin()[name] if finding.code in CODES) == STDIN[name][1].split()


def test_without_stdin_nothing_is_sent() -> None:
    """An interpreter without code and without stdin does nothing."""
    assert shown(each({"c": "run: [/bin/sh]"})["c"], "P307") == []


def test_a_script_is_not_judged_as_a_run_list() -> None:
    """The arguments of a script are its own; the interpreter was chosen by the admin."""
    text = "script: 'echo \"$1\"', interpreter: sh, args: [<x>], params: {x: {type: string, pattern: '[a-z]+'}}"
    assert shown(each({"c": text})["c"], *CODES) == []


def test_a_choice_is_told_once() -> None:
    """Two shells of one choice make one finding at one place."""
    text = "run: [/usr/bin/nice, <s>, -c, 'echo <n>'], params: {s: {type: enum, values: [/bin/sh, /usr/bin/sh]}, n: {type: int}}"
    assert len(shown(each({"c": text})["c"], "P303")) == 1


MESSAGES: dict[str, tuple[str, str]] = {
    # a run list, and what is said of it, with the hint
    "P303": (
        "[/bin/sh, -c, 'echo <word>']",
        "<word> is part of the code that 'sh' runs: a shell runs any text"
        "\n    hint: use a script: it gets its values as P_NAME variables, never as text inside it",
    ),
    "P304": (
        "[/bin/sh, <p>]",
        "<p> decides which code 'sh' runs: a shell runs any text\n    hint: list the values that are meant in an enum",
    ),
    "P305": (
        "[/usr/bin/sudo, <p>]",
        "<p> decides what 'sudo' starts\n    hint: write one command for each program, or list the programs in an enum",
    ),
    "P306": (
        "[/usr/bin/sudo, df]",
        "the program 'df' that 'sudo' starts is not an absolute path\n    hint: write the whole path, like /usr/bin/df",
    ),
    "P320": (
        "[/usr/bin/tar, -T, <any>]",
        "warning: 'tar' may be given '/etc/shadow' as -T: options of it start programs, and an archive can write over any file"
        "\n    hint: narrow 'under' so that /etc/shadow lies outside",
    ),
    "P321": (
        "[/usr/bin/tar, <dash>]",
        "warning: <dash> may start with '-' and become an option of 'tar' (it has --to-command: options of it start programs, "
        "and an archive can write over any file)"
        "\n    hint: put '--' or '--option=' before it, or take out 'leading_dash'",
    ),
    "P325": (
        "[/usr/bin/setsid, /opt/x]",
        "warning: a cancel or a time limit does not end what 'setsid' starts: what it starts leaves the process group, and "
        "a cancel does not reach it\n    hint: run the work itself, so that it ends with the job",
    ),
}


@cache
def messages() -> dict[str, list[Finding]]:
    return each({code: keys(run) for code, (run, _) in MESSAGES.items()})


@pytest.mark.parametrize("code", MESSAGES)
def test_what_a_finding_says(code: str) -> None:
    """What, where, why and how to mend it."""
    (finding,) = (finding for finding in messages()[code] if finding.code in CODES)
    number = list(MESSAGES).index(code)
    assert str(finding).partition(": ")[2] == f"{code} {MESSAGES[code][1]}"
    line = f"  c{number}: {{on: local, run: {MESSAGES[code][0]}"
    item = {"P303": "'echo", "P305": "<p>", "P306": "df", "P325": "[/usr"}.get(code, "<")
    assert (finding.at.line, finding.at.column) == (number + 3, line.index(item) + 1)


def test_a_path_that_has_no_under_is_told_of_it() -> None:
    """Only who has written 'under' is told to narrow it."""
    (said,) = shown_whole("run: [/usr/bin/cat, --, <x>], params: {x: {type: path}}", "[]")
    assert said.endswith("hint: use a path with 'under', or a filename after a constant folder")


ANY = "run: [/usr/bin/cat, --, <x>], params: {x: {type: path, under: [/etc, /root]}}"
TOLD_OF: dict[str, tuple[str, str]] = {
    # denies, and which value is shown then
    "another value": ("{why: a, commands: c, params: {x: /etc/passwd}}", "/etc/shadow"),
    "one of the values": ("{why: a, commands: c, params: {x: /etc/shadow}}", "/root/.ssh/authorized_keys"),
    "all of the values": ("{why: a, commands: c, params: {x: {under: [/etc/shadow, /root]}}}", ""),
    "all in two denies": (
        "{why: a, commands: c, params: {x: {under: [/etc]}}}, "
        "{why: b, commands: {effect: change}, params: {x: {under: [/root]}}}",
        "",
    ),
    "for one principal": ("{why: a, commands: c, to: p, params: {x: {under: [/etc, /root]}}}", "/etc/shadow"),
    "on one of its hosts": ("{why: a, commands: c, hosts: web1, params: {x: {under: [/etc, /root]}}}", "/etc/shadow"),
    "on all of its hosts": ("{why: a, commands: c, hosts: [web1, web2], params: {x: {under: [/etc, /root]}}}", ""),
    "from a date on": ("{why: a, commands: c, from: 2026-01-01, params: {x: {under: [/etc, /root]}}}", "/etc/shadow"),
    "until a date": ("{why: a, commands: c, until: 2027-01-01, params: {x: {under: [/etc, /root]}}}", "/etc/shadow"),
    "of another command": ("{why: a, commands: d, params: {x: {under: [/etc, /root]}}}", "/etc/shadow"),
    "whatever the values are": ("{why: a, commands: c}", "/etc/shadow"),
}
LIST = "run: [/usr/bin/cat, --, '<x...>'], params: {x: {type: list, of: {type: path, under: [/etc, /root]}}}"
TOLD_OF_ITEMS: dict[str, tuple[str, str]] = {
    "each item": ("{why: a, commands: c, params: {x: {under: [/etc, /root]}}}", ""),
    "the list": ("{why: a, commands: c, params: {x: {min_items: 2}}}", "/etc/shadow"),
    "items of long lists": ("{why: a, commands: c, params: {x: {min_items: 2, under: [/etc]}}}", "/etc/shadow"),
}


def shown_whole(keys: str, denies: str) -> list[str]:
    """What P320 says of one command on two hosts, hints included, beside these denies."""
    text = f"""\
        commands:
          c: {{on: [web1, web2], {keys}}}
          d: {{on: [web1, web2], {keys}}}
        principals: {{p: {{}}}}
        deny: {denies}
        """
    return [str(finding) for finding in found(text, HOSTS) if finding.code == "P320" and finding.at.line == 3]


@pytest.mark.parametrize(
    ("keys", "name"), [*((ANY, name) for name in TOLD_OF), *((LIST, name) for name in TOLD_OF_ITEMS)]
)
def test_a_deny_may_refuse_the_value(keys: str, name: str) -> None:
    """What nobody can ever send is no news; a deny with a way around it changes nothing."""
    denies, value = {**TOLD_OF, **TOLD_OF_ITEMS}[name]
    said = shown_whole(keys, f"[{denies}]")
    assert len(said) == bool(value)
    assert all(f"may be given '{value}'" in text for text in said)
