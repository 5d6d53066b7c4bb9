"""The law of the policy once more, slowly: it reads the policy's own text, rule by rule, and knows nothing of the compiler.

No index, no normal form, no shared code: where it and the real decision differ, one of them is wrong.
"""

from datetime import UTC, datetime
from typing import Any

from tests.support.random_policies import Doc


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def verdict(doc: Doc, by: str, command: str, host: str, values: Doc, at: str) -> str:
    remote, everything = set(doc["hosts"]), {*doc["hosts"], "local"}
    if by not in doc["principals"] or command not in doc["commands"]:
        return "deny"
    spec = doc["commands"][command]
    if host not in hosts_of(doc, spec["on"], remote):
        return "deny"
    params = spec["params"]
    if not values.keys() <= params.keys() or not all(right(param, values.get(name)) for name, param in params.items()):
        return "invalid"
    given = {name: param["default"] for name, param in params.items() if "default" in param} | values
    held = {role for grant in doc["grants"] if by in many(grant["to"]) for role in many(grant["roles"])}
    for deny in doc["deny"]:
        who = set(many(deny.get("to", "*")))
        named = who & {"*", by, *(f"role:{role}" for role in held)}
        now = moment(deny.get("from", "0001-01-01")) <= moment(at) < moment(deny.get("until", "9999-01-01"))
        this = takes(doc, deny.get("commands", "*"), command) and host in hosts_of(
            doc, deny.get("hosts", "*"), everything
        )
        if named and now and this and meets(params, deny, given, some=any):
            return "deny"
    for line in (line for role in held for line in doc["roles"][role]):
        this = takes(doc, line["commands"], command) and host in hosts_of(doc, line["hosts"], everything)
        if this and meets(params, line, given, some=all):
            return "needs-approval" if "approval" in spec else "allow"
    return "deny"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00+00:00").astimezone(UTC)


def hosts_of(doc: Doc, selector: Any, star: set[str]) -> set[str]:
    if selector == "*":
        return star
    if isinstance(selector, list):
        return {host for item in selector for host in hosts_of(doc, item, star)}
    if isinstance(selector, dict):
        items = doc["hosts"].items()
        return {name for name, host in items if all(host["labels"][key] in many(selector[key]) for key in selector)}
    return hosts_of(doc, doc["groups"][selector], set(doc["hosts"])) if selector in doc["groups"] else {selector}


def takes(doc: Doc, selector: Any, command: str) -> bool:
    if isinstance(selector, dict):
        spec = doc["commands"][command]
        return selector.get("effect") == spec["effect"] or selector.get("tag") in spec["tags"]
    return any(
        item in ("*", command) or (isinstance(item, dict) and takes(doc, item, command)) for item in many(selector)
    )


def meets(params: Doc, rule: Doc, given: Doc, *, some: Any) -> bool:
    return all(
        name in given and fits(params[name], by, given[name], some=some) for name, by in rule.get("params", {}).items()
    )


def fits(param: Doc, by: Any, value: Any, *, some: Any) -> bool:
    if param["type"] == "list":
        if isinstance(by, dict):
            return len(value) <= int(by["max_items"])
        return bool(value) and bool(some(fits(param["of"], by, item, some=some) for item in value))
    more = by if isinstance(by, dict) else {"values": many(by)}
    among = "values" not in more or any(plain(param, value) == plain(param, each) for each in more["values"])
    return among and right({**more, "type": param["type"], "values": None}, value)


# What a value is worth, by the type of its parameter.


def right(param: Doc, value: Any) -> bool:
    """Whether a parameter takes a value; None is no value."""
    kind = param["type"]
    if value is None:
        return "default" in param or param.get("required") == "false"
    if kind == "list":
        return isinstance(value, list) and all(right(param["of"], item) for item in value)
    if kind == "enum":
        return param["values"] is None or value in param["values"]
    if kind == "int":
        good = isinstance(value, int) or (value.isdecimal() and str(int(value)) == value)
        return good and int(param.get("min", 0)) <= int(value) <= int(param.get("max", 2**53))
    if kind == "path":
        parts = value.split("/")
        return not parts[0] and ".." not in parts and any(below(value, prefix) for prefix in param.get("under", ["/"]))
    inside = any(contains(network, value) for network in param.get("in", ["0.0.0.0/0"]))
    return inside and not any(contains(network, value) for network in param.get("not_in", []))


def plain(param: Doc, value: Any) -> Any:
    """What is compared: a number, the steps of a path, or the value itself."""
    return int(value) if param["type"] == "int" else steps(value) if param["type"] == "path" else value


def steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def below(path: str, prefix: str) -> bool:
    return steps(path)[: len(steps(prefix))] == steps(prefix)


def contains(network: str, address: str) -> bool:
    base, _, prefix = network.partition("/")
    return bits(address)[: int(prefix)] == bits(base)[: int(prefix)] and len(bits(address)) == 32


def bits(address: str) -> str:
    """The 32 bits of an IPv4 address in plain decimals; nothing for any other text."""
    parts = address.split(".")
    good = len(parts) == 4 and all(part.isdecimal() and str(int(part)) == part and int(part) < 256 for part in parts)
    return "".join(f"{int(part):08b}" for part in parts) if good else ""
