"""What an author takes for granted who is used to a shell."""

import pytest

from tests.unit.policy.lint.linting import each

SCRIPT, TWO = "use a script", "write two items"
RUNS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    # a run list, and the items that are told with their hints
    "a plain list": ("[/bin/ls, -l, /var/backups]", []),
    "a pipe": ("[/bin/ls, -l, '|', wc, -l]", [("|", SCRIPT)]),
    "redirections": ("[/bin/ls, '>', /tmp/a, '2>&1']", [(">", SCRIPT), ("2>&1", SCRIPT)]),
    "other redirections": (
        "[/bin/cat, '<', a, '>>', b, 2>/dev/null]",
        [("<", SCRIPT), (">>", SCRIPT), ("2>/dev/null", SCRIPT)],
    ),
    "further commands": (
        "[/bin/a, '&&', b, '||', c, ';', d, '&']",
        [("&&", SCRIPT), ("||", SCRIPT), (";", SCRIPT), ("&", SCRIPT)],
    ),
    "an operator within a word": ("[/bin/a, 'b|c', 'a;', 'a > b']", []),
    "a home": ("[/bin/ls, ~/x, '~x', a~/x]", [("~/x", SCRIPT)]),
    "wildcards": ("[/bin/ls, '/var/*', '*.log', '--include=/a/*']", [("/var/*", SCRIPT)]),
    "wildcards of its own": ("[/usr/bin/find, /var, -path, '/var/*']", []),
    "wildcards after a launcher": ("[/usr/bin/sudo, /usr/bin/rsync, '/var/*', a]", []),
    "two words": ("[/bin/ls, '-l /var/backups']", [("-l /var/backups", TWO)]),
    "two words with a value": ("[/bin/ls, '-n <m>']", [("-n <m>", TWO)]),
    "two words in a group": ("[/bin/ls, -l, [x, '-n <n>']]", [("-n <n>", TWO)]),
    "text with a blank": ("[/bin/echo, 'a b', '-ab c', '- a']", []),
    "a program with its argument": ("['/bin/ls -l']", [("/bin/ls -l", TWO)]),
    "code of a shell": ("[/bin/sh, -ec, '~/a; /bin/ls /var/*']", []),
    "words for another shell": ("[/usr/bin/ssh, h, ls, '/var/*', '|', wc, '-l a']", []),
    "the end of -exec": ("[/usr/bin/find, /var, -exec, /bin/a, '{}', ;]", []),
    "another end": ("[/usr/bin/find, /var, -name, a, ;]", [(";", SCRIPT)]),
    "a comparison": ("[/usr/bin/expr, '1', '<', '2']", []),
    "a separator": ("[/usr/bin/cut, -d, '|', /a]", []),
    "a pipe from a program with separators": ("[/usr/bin/sort, /a, '|', wc]", [("|", SCRIPT)]),
    "a pipe after an option": ("[/bin/ls, -t, '|', head]", [("|", SCRIPT)]),
}


def test_what_is_handed_over_as_it_stands() -> None:
    """Each item that only a shell would take apart, at its place, and with what to write instead."""
    keys = {
        name: f"run: {run}, params: {{n: {{type: int, required: false}}, m: {{type: int}}}}"
        for name, (run, _) in RUNS.items()
    }
    found = {
        name: [(finding.message, finding.hint) for finding in findings if finding.code == "P333"]
        for name, findings in each(keys).items()
    }
    assert found == {
        name: [(f"there is no shell: '{item}' is handed over as it stands", hint) for item, hint in told]
        for name, (_, told) in RUNS.items()
    }


@pytest.mark.parametrize(("run", "item"), [("[/bin/ls, -l, '|', wc]", "'|'"), ("[/bin/ls, [-l, '>', <n>]]", "'>'")])
def test_where_the_item_stands(run: str, item: str) -> None:
    """At the item itself, also within an inner list."""
    keys = f"run: {run}, params: {{n: {{type: int, required: false}}}}"
    (finding,) = (finding for finding in each({"c": keys})["c"] if finding.code == "P333")
    assert finding.at.column == f"  c0: {{on: local, {keys}}}".index(item) + 1


def test_a_script_has_its_shell() -> None:
    """In a script all of this is meant."""
    assert [
        finding.code for finding in each({"c": "script: ls ~/x | wc, interpreter: sh"})["c"] if finding.code == "P333"
    ] == []
