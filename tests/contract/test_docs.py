"""What the program knows by name, its documentation explains; what the documentation shows, the program takes."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cmdhttp.api import body
from cmdhttp.audit.codes import Code
from cmdhttp.cli.doctor.verb import CHECKS
from cmdhttp.errors import CmdHttpError, Limit
from cmdhttp.execution.local.collecting import REASONS
from cmdhttp.execution.model import Figures, RunErrorCode
from cmdhttp.execution.ssh.scan import Standing
from cmdhttp.jobs.artefacts import NOT_KEPT
from cmdhttp.jobs.state import State
from cmdhttp.jobs.ticket import Waits
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy import model
from cmdhttp.policy.decide import Reason
from cmdhttp.policy.fields import Strict
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.load import Inputs, load_policy
from cmdhttp.policy.params import CODES, PARAM_TYPES
from cmdhttp.policy.review.advice import Kind
from cmdhttp.policy.review.diff import What
from cmdhttp.policy.review.explain import Check
from cmdhttp.policy.schema import policy_schema
from cmdhttp.results.builtin import BUILTIN
from cmdhttp.results.library import KnownParsers, find_library
from cmdhttp.results.model import DataErrorCode
from cmdhttp.settings import SETTINGS, variable
from cmdhttp.telemetry.metrics import Metrics
from tests.support.editor import read_as_editor
from tests.support.routes import api_routes

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SCHEMA = Draft202012Validator(policy_schema())
HOW_TOS = sorted((ROOT / "docs" / "how-to").glob("*.md"))

_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def reference(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text()


def rows(name: str) -> set[str]:
    """What stands in backticks at the start of a table row."""
    return set(re.findall(r"^\| `([^`]+)`", reference(name), re.MULTILINE))


def quoted(name: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", reference(name)))


def problem_classes(root: type[CmdHttpError] = CmdHttpError) -> Iterator[type[CmdHttpError]]:
    yield root
    for below in root.__subclasses__():
        yield from problem_classes(below)


def policy_keys() -> set[str]:
    """Every key that a mapping of a policy file may have, parameter types included."""
    models = [kind for kind in vars(model).values() if isinstance(kind, type) and issubclass(kind, Strict)]
    return {info.alias or name for kind in (*models, *PARAM_TYPES.values()) for name, info in kind.model_fields.items()}


def slugs(page: Path) -> set[str]:
    """The anchors that a page's headings make, as forges derive them."""
    text = _FENCED.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def policy_blocks(page: Path) -> list[str]:
    return [block for block in _YAML.findall(page.read_text()) if block.startswith("version: 1")]


def test_settings_are_documented() -> None:
    """Every setting has a row, no row is left of one that went, and its flag and variable stand in the page."""
    assert rows("settings") == set(SETTINGS)
    flags = {f"--{name.replace('_', '-')}" for name in SETTINGS}
    assert flags | {variable(name) for name in SETTINGS} <= quoted("settings")


def test_problem_codes_are_documented() -> None:
    """Every code that a problem document may carry has a row."""
    assert {kind.code for kind in problem_classes() if kind.__module__.startswith("cmdhttp.")} <= rows("problems")


def test_limits_and_reasons_to_wait_are_documented() -> None:
    """Every limit that refuses a call and everything that a job may wait for has a row."""
    assert set(Limit) <= rows("problems")
    assert set(Waits) <= rows("http")


def test_value_codes_are_documented() -> None:
    """Every code with which a parameter type may refuse a value has a row."""
    assert set(CODES) <= rows("problems")


def test_run_errors_are_documented() -> None:
    """Every reason for which a run may end without an exit status of its own has a row."""
    assert {code.value for code in RunErrorCode} <= rows("run-errors")


def test_parsers_and_their_errors_are_documented() -> None:
    """Every parser of ours and every reason for having no data has a row, and no row is left of one that went."""
    assert rows("results") == {*BUILTIN, *(code.value for code in DataErrorCode)}


def test_audit_codes_are_documented() -> None:
    """Every kind of audit record and every reason of a decision has a row."""
    assert rows("audit") >= {code.value for code in Code} | {reason.value for reason in Reason}


def test_metrics_are_documented() -> None:
    """Every metric has a row, and every row a metric."""
    metrics = Metrics(version="1")
    metrics.count_connections(lambda: Figures(open=0, in_use=0, backing_off=0, waiting=0, counts=Counter()))
    metrics.count_queue(list)
    families = metrics.registry.collect()
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert rows("metrics") == names


def test_findings_are_documented() -> None:
    """Every finding code in the policy sources has a section of its own, and every section a code."""
    sources = "".join(path.read_text() for path in (ROOT / "cmdhttp" / "policy").rglob("*.py"))
    headings = set(re.findall(r"^### (P[0-9]{3})\b", reference("findings"), re.MULTILINE))
    assert headings == set(re.findall(r'"(P[0-9]{3})"', sources))


def test_words_of_the_policy_verbs_are_documented() -> None:
    """Every word that `explain` and `diff` print as data for what they looked at stands in the page of the command line."""
    assert {word.value for words in (Check, Kind, What) for word in words} <= quoted("cli")


def test_checks_of_the_doctor_are_documented() -> None:
    """Every check of `cmdhttp doctor` has a row, and every row a check."""
    assert rows("cli") == set(CHECKS)


def test_standings_of_host_keys_are_documented() -> None:
    """Every word that `cmdhttp hosts scan` has for what is recorded of a key is explained in the page of the command line."""
    assert {standing.value for standing in Standing} <= set(
        re.findall(r"^- `([a-z]+)`:", reference("cli"), re.MULTILINE)
    )


def test_routes_are_documented() -> None:
    """Every route of the API stands in the HTTP page with each of its methods."""
    text = reference("http")
    routes = api_routes()
    wanted = {f"{method} {route.path}" for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {line for line in wanted if f"`{line}`" not in text} == set()


def test_body_fields_and_states_are_documented() -> None:
    """Every field of a call's body and every state of a job stands in the HTTP page."""
    assert {*body._FIELDS, *(state.value for state in State)} <= quoted("http")


def test_reasons_for_leaving_a_file_out_are_documented() -> None:
    """Every reason for which a file that a run left is not kept has a row in the HTTP page."""
    assert {*REASONS, NOT_KEPT} <= rows("http")


def test_parameter_types_are_documented() -> None:
    """Every parameter type has a row in the policy page, and so has no other word in that place."""
    assert set(PARAM_TYPES) <= rows("policy")


def test_policy_keys_are_documented() -> None:
    """Every key that a policy file may hold stands in the policy page."""
    assert policy_keys() - quoted("policy") == set()


@pytest.mark.parametrize("page", [page for page in PAGES if policy_blocks(page)], ids=name_of)
def test_policies_load(page: Path, tmp_path: Path) -> None:
    """The policy blocks of a page load together as one policy folder."""
    folder = tmp_path / "policies"
    folder.mkdir(mode=0o700)
    for number, block in enumerate(policy_blocks(page)):
        path = folder / f"{number}.yaml"
        path.write_text(block)
        path.chmod(0o600)
    try:
        policy = load_policy(
            folder, Inputs(resolve=resolve_argv, now=datetime.now(tz=UTC), parsers=KnownParsers(find_library()))
        )
    except PolicyError as error:
        pytest.fail(str(error))
    assert policy.commands or policy.hosts


@pytest.mark.parametrize("page", [page for page in PAGES if policy_blocks(page)], ids=name_of)
def test_policies_fit_the_schema(page: Path) -> None:
    """An editor with our schema has nothing to say of the policies that a page shows."""
    for block in policy_blocks(page):
        assert [error.message for error in SCHEMA.iter_errors(read_as_editor(block))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Every link to a file leads to one, and every anchor to a heading of it."""
    dead = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in slugs(target)):
            dead.append(link)
    assert dead == []


def test_every_page_is_in_the_index() -> None:
    """The index links every page but the decisions, which it links as a folder."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text())}
    decisions = ROOT / "docs" / "decisions"
    pages = {page for page in PAGES if decisions not in page.parents and page not in (index, ROOT / "README.md")}
    assert {name_of(page) for page in pages - linked} == set()
    assert decisions in linked


@pytest.mark.parametrize("page", HOW_TOS, ids=name_of)
def test_how_tos_end_with_a_check(page: Path) -> None:
    """Every how-to ends with how to verify the work and what to do when it fails."""
    headings = re.findall(r"^## (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    assert headings[-2:] == ["Verify", "Troubleshooting"]
