"""What pySigma makes of the suite's cases: one line `section TAB name TAB verdict` each.

pySigma reads rules and has no evaluator, so the tree that it makes of a rule is walked here over the
case's event: conditions, modifiers, escapes and wildcards are pySigma's, comparing two values is ours.

    pysigma_verdicts.py FILE.ndjson...

Verdicts: true, false, refused (pySigma raises an error), unclear (a value type this does not know).
"""

import datetime
import ipaddress
import json
import re
import signal
import sys
import uuid

from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma import types


# Seconds for one case: Python's expressions backtrack.
CASE_SECONDS = 2


class Unclear(Exception):
    """This script cannot say."""


def too_long(*_):
    raise Unclear("takes too long")


class Object:
    """An object, as the value of the field that holds it: there, and without text."""

    def __str__(self):
        return "\ufffe"


def flat(value, name, out):
    """Nested objects are fields with dotted names; of arrays each member counts."""
    if isinstance(value, dict):
        if name and value:
            out.setdefault(name, []).append(Object())
        for key, inner in value.items():
            flat(inner, f"{name}.{key}" if name else key, out)
    elif isinstance(value, list):
        out.setdefault(name, [])
        for inner in value:
            flat(inner, name, out)
    else:
        out.setdefault(name, []).append(value)


def text(value):
    if value is True or value is False:
        return str(value).lower()
    return str(value)


def pattern(value):
    """A SigmaString as a regular expression over the whole text."""
    parts = []
    for part in value.s:
        if isinstance(part, str):
            parts.append(re.escape(part))
        elif part == types.SpecialChars.WILDCARD_MULTI:
            parts.append(".*")
        elif part == types.SpecialChars.WILDCARD_SINGLE:
            parts.append(".")
        else:
            raise Unclear(f"placeholder {part}")
    return "".join(parts)


def string_holds(value, found):
    flags = re.DOTALL if isinstance(value, types.SigmaCasedString) else re.DOTALL | re.IGNORECASE
    return found is not None and re.fullmatch(pattern(value), text(found), flags) is not None


def number_holds(number, found):
    if isinstance(found, bool) or found is None:
        return False
    if isinstance(found, (int, float)):
        return found == number
    return text(found) == str(number)


def number_of(found):
    if isinstance(found, bool) or found is None:
        return None
    try:
        return int(str(found))
    except ValueError:
        try:
            return float(str(found))
        except ValueError:
            return None


COMPARES = {
    types.SigmaCompareExpression.CompareOperators.LT: lambda a, b: a < b,
    types.SigmaCompareExpression.CompareOperators.LTE: lambda a, b: a <= b,
    types.SigmaCompareExpression.CompareOperators.GT: lambda a, b: a > b,
    types.SigmaCompareExpression.CompareOperators.GTE: lambda a, b: a >= b,
}


def in_network(network, found):
    try:
        address = ipaddress.ip_address(str(found))
    except ValueError:
        return False
    net = ipaddress.ip_network(network, strict=False)
    return address.version == net.version and address in net


def part_of(name, found):
    """A part of a date, from its digits as written; None where there is none."""
    digits = re.match(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d))?", text(found))
    if digits is None:
        return None
    year, month, day, hour, minute = (int(d) if d else None for d in digits.groups())
    try:
        week = datetime.date(year, month, day).isocalendar()[1]
    except ValueError:
        return None
    parts = {"YEAR": year, "MONTH": month, "DAY": day, "HOUR": hour, "MINUTE": minute, "WEEK": week}
    return parts[name]


def leaf(value, values, event):
    """Whether a field with these values satisfies the value; `values` is None if it is absent."""
    if isinstance(value, types.SigmaExists):
        return (values is not None) == bool(value.exists)
    if isinstance(value, types.SigmaNull):
        return values is None or any(v is None for v in values)
    if isinstance(value, types.SigmaExpansion):
        return any(leaf(inner, values, event) for inner in value.values)
    found = values or []
    if isinstance(value, types.SigmaString):
        return any(string_holds(value, v) for v in found)
    if isinstance(value, types.SigmaBool):
        return any(text(v).lower() == str(value.boolean).lower() for v in found if not isinstance(v, (int, float)) or isinstance(v, bool))
    if isinstance(value, types.SigmaTimestampPart):
        return any(part_of(value.timestamp_part.name, v) == value.number for v in found)
    if isinstance(value, types.SigmaNumber):
        return any(number_holds(value.number, v) for v in found)
    if isinstance(value, types.SigmaRegularExpression):
        flags = 0
        for flag in value.flags:
            flags |= {"IGNORECASE": re.IGNORECASE, "MULTILINE": re.MULTILINE, "DOTALL": re.DOTALL}[flag.name]
        regex = value.regexp if isinstance(value.regexp, str) else str(value.regexp)
        return any(v is not None and not isinstance(v, Object) and re.search(regex, text(v), flags) for v in found)
    if isinstance(value, types.SigmaCIDRExpression):
        return any(in_network(str(value.cidr), v) for v in found)
    if isinstance(value, types.SigmaCompareExpression) and value.op in COMPARES:
        numbers = [number_of(v) for v in found]
        return any(n is not None and COMPARES[value.op](n, value.number.number) for n in numbers)
    if isinstance(value, types.SigmaFieldReference):
        others = [text(v) for v in event.get(value.field, []) if v is not None]
        begins = getattr(value, "starts_with", False)
        ends = getattr(value, "ends_with", False)
        for v in (text(v).lower() for v in found if v is not None):
            for other in (o.lower() for o in others):
                tests = {
                    (False, False): v == other,
                    (True, False): v.startswith(other),
                    (False, True): v.endswith(other),
                    (True, True): other in v,
                }
                if tests[(begins, ends)]:
                    return True
        return False
    raise Unclear(type(value).__name__)


def keyword(value, event, raw):
    scalars = [v for values in event.values() for v in values if v is not None and not isinstance(v, Object)]
    if isinstance(value, types.SigmaString):
        regex, flags = pattern(value), re.DOTALL
        flags |= 0 if isinstance(value, types.SigmaCasedString) else re.IGNORECASE
    elif isinstance(value, types.SigmaNumber):
        regex, flags = re.escape(str(value.number)), 0
    elif isinstance(value, types.SigmaRegularExpression):
        regex, flags = str(value.regexp), 0
    else:
        raise Unclear(type(value).__name__)
    return any(re.search(regex, text(v), flags) for v in scalars + ([raw] if raw else []))


def holds(node, event, raw):
    if isinstance(node, ConditionAND):
        return all([holds(n, event, raw) for n in node.args])
    if isinstance(node, ConditionOR):
        return any([holds(n, event, raw) for n in node.args])
    if isinstance(node, ConditionNOT):
        return not holds(node.args[0], event, raw)
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return bool(leaf(node.value, event.get(node.field), event))
    if isinstance(node, ConditionValueExpression):
        return keyword(node.value, event, raw)
    raise Unclear(type(node).__name__)


def with_uuids(rule):
    """pySigma wants UUIDs where the suite is content with any id."""
    for name in re.findall(r"^id: (\S+)$", rule, re.MULTILINE):
        try:
            uuid.UUID(name)
        except ValueError:
            known = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
            rule = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", known, rule)
    return rule


def verdict(case):
    event = {}
    flat(case["event"], "", event)
    try:
        # Filters among the documents are applied as they are read.
        rule = SigmaCollection.from_yaml(with_uuids(case["rule"])).rules[0]
        trees = [c.parsed for c in rule.detection.parsed_condition]
        for node in trees:
            if node is None:
                return "refused"
        return "true" if any([holds(n, event, case.get("raw") or "") for n in trees]) else "false"
    except Unclear as why:
        return f"unclear {why}"
    except Exception as why:  # pySigma raises many kinds; each means that the rule does not run
        return "refused" if why.__class__.__module__.startswith(("sigma", "yaml")) else f"error {type(why).__name__} {why}"


def main():
    signal.signal(signal.SIGALRM, too_long)
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for line in file:
                case = json.loads(line)
                signal.alarm(CASE_SECONDS)
                found = verdict(case)
                signal.alarm(0)
                print(case["section"], case["name"], found, sep="\t", flush=True)


if __name__ == "__main__":
    main()
