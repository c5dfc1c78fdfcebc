"""Makes rules and events in the form of the suite, for comparing engines with each other.

    generate.py [--seed N] [--count N]

One line per case: `section`, `name`, `rule`, `event`; no `expect`, as nobody decided these. The same
seed gives the same cases on every machine. Values of an event are mostly made from values of its rule
(other case, something before or after, a character changed, the number as text), so that about a
third of the rules hold.
"""

import argparse
import base64
import json

FIELDS = ["A", "B", "C", "D.e", "Name with space"]
PIECES = [
    "a", "b", "K", "xyz", "\u00e4", "\u00d6", "\u20ac", "\\", "\\\\", "-", "/", " ", ".", "\n", "0", "42",
    "cmd.exe", "C:\\Windows\\", " -enc ", " /c ", "whoami", "10.1.2.3", "::1", "(", "[", "$", "^", "%",
]
WILDCARDS = ["*", "?", "\\*", "\\?", "\\\\*", "*", "*"]
EXPRESSIONS = [
    "a.c", "^a", "a$", "a|b", "[0-9]+", "(?:ab)+", "wh?oami", "\\d{2,}", "\\\\Windows", "^$", "x[yY]z", "\u00e4",
    "a\\.b", "^4", "exe$", "\\s-enc\\s", "[^a]b", "(a|b)(c|d)?", "k",
]
NETWORKS = ["10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/32", "192.168.0.0/16", "::/0", "fe80::/10", "2001:db8::/32"]
ADDRESSES = ["10.1.2.3", "10.255.0.1", "11.0.0.1", "192.168.7.7", "::1", "fe80::5", "2001:db8::1", "no address", ""]
NUMBERS = [0, 1, -1, 42, 443, 4624, 65536, 1 << 31, 1 << 40, 1.5, -0.25]
DATES = ["2026-03-05T14:07:09Z", "2026-12-31 23:59:59", "2024-02-29T00:00:00+02:00", "2026-01-01", "yesterday"]
PARTS = {"minute": [0, 7, 59], "hour": [0, 14, 23], "day": [1, 5, 31], "week": [1, 9, 53], "month": [1, 2, 12], "year": [2024, 2026]}
TEXT_MODIFIERS = ["", "contains", "startswith", "endswith", "cased", "contains|cased", "startswith|cased", "endswith|cased", "neq", "contains|neq"]
CONDITIONS = {
    "s": ["s", "s", "s", "not s", "not not s"],
    "s t": ["s and t", "s or t", "s and not t", "not (s or t)", "not s and not t", "1 of them", "all of them", "not 1 of them"],
    "s t u": ["s or t and not u", "(s or t) and u"],
    "s1 s2 t1": ["1 of s*", "all of s*", "any of s*", "s1 and 1 of t*"],
}


class Dice:
    """A generator of our own: the same everywhere (Knuth's MMIX constants)."""

    def __init__(self, seed):
        self.state = seed * 2654435769 + 1

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % n

    def one(self, values):
        return values[self.below(len(values))]

    def chance(self, percent):
        return self.below(100) < percent


def text(dice, wildcards):
    out = []
    for _ in range(1 + dice.below(3)):
        if wildcards and dice.chance(18):
            out.append(dice.one(WILDCARDS))
        else:
            out.append(dice.one(PIECES))
    return "".join(out)


def listed(dice, make, least=1):
    """One value, or a list."""
    if least == 1 and dice.chance(60):
        return make()
    return [make() for _ in range(max(least, 1) + dice.below(3))]


def plain(dice):
    """A line of text, numbers or null, with what the event may hold for it."""
    modifier = dice.one(TEXT_MODIFIERS)
    kinds = 100 if modifier in ("", "neq") else 80
    if dice.below(kinds) >= 80:
        return modifier, listed(dice, lambda: dice.one([dice.one(NUMBERS), None, "", True, False, "true", "4624", "*"]))
    if modifier and dice.chance(25):
        return modifier + "|all", listed(dice, lambda: text(dice, True), 2)
    return modifier, listed(dice, lambda: text(dice, True))


def expression(dice):
    flags = dice.one(["", "", "|i", "|m", "|s", "|i|m"])
    return "re" + flags, listed(dice, lambda: dice.one(EXPRESSIONS))


def network(dice):
    return "cidr", listed(dice, lambda: dice.one(NETWORKS))


def compare(dice):
    return dice.one(["lt", "lte", "gt", "gte"]), dice.one(NUMBERS)


def presence(dice):
    return "exists", dice.chance(50)


def dashes(dice):
    return "contains|windash", listed(dice, lambda: dice.one([" -enc ", " /c ", "-a", " -no-b ", "/x -y"]))


def encoded(dice):
    modifier = dice.one(["base64|contains", "base64offset|contains", "wide|base64offset|contains"])
    return modifier, dice.one(["whoami", "IEX (New", "cmd /c dir", "abcd"])


def part(dice):
    name = dice.one(sorted(PARTS))
    return name, dice.one(PARTS[name])


def reference(dice):
    return dice.one(["fieldref", "fieldref", "fieldref|startswith", "fieldref|contains"]), dice.one(FIELDS)


LINES = [plain] * 12 + [expression] * 3 + [network, compare, compare, presence, dashes, encoded, encoded, part, reference]


def selection(dice):
    """A map, a list of maps, or keywords."""
    if dice.chance(8):
        key = dice.one(["", "", "|all"])
        words = [dice.one(["whoami", "cmd.exe", "a", "K", "42", "x*z", "\u00e4"]) for _ in range(2 + dice.below(2))]
        return {key: words} if key else words
    maps = []
    for _ in range(2 if dice.chance(12) else 1):
        lines = {}
        for _ in range(1 + dice.below(2)):
            modifier, value = dice.one(LINES)(dice)
            field = dice.one(FIELDS)
            lines[f"{field}|{modifier}" if modifier else field] = value
        maps.append(lines)
    return maps if len(maps) > 1 else maps[0]


def changed(dice, value, modifier):
    """A value that an event may hold for a value of a rule."""
    if "base64" in modifier:
        raw = value.encode("utf-16-le" if "wide" in modifier else "utf-8")
        around = [b"", b"x", b"Y ", b"zz~"]
        return base64.b64encode(dice.one(around) + raw + dice.one(around)).decode()
    if modifier == "cidr":
        return dice.one(ADDRESSES)
    if modifier in PARTS:
        return dice.one(DATES)
    if modifier.startswith("re"):
        return dice.one(["abc", "ab", "aac", "ABC", "42", "x\na", "C:\\Windows\\cmd.exe", "whoami", "a -enc b", ""])
    if isinstance(value, str) and not modifier.startswith("fieldref"):
        out = value.replace("\\*", "\0").replace("\\?", "\1")
        out = out.replace("*", dice.one(["", "q", "lo\nng"])).replace("?", dice.one(["q", "\u00e9", ""]))
        out = out.replace("\0", "*").replace("\1", "?")
        if "windash" in modifier and dice.chance(60):
            out = out.replace("-", "/") if dice.chance(50) else out.replace("/", "-")
        mutate = dice.below(8)
        if mutate < 2:
            out = out.swapcase()
        if mutate == 2 or "contains" in modifier or "endswith" in modifier:
            out = dice.one(["", "pre", "-"]) + out
        if mutate == 3 or "contains" in modifier or "startswith" in modifier:
            out += dice.one(["", "post", "\n"])
        if mutate == 4 and out:
            at = dice.below(len(out))
            out = out[:at] + "#" + out[at + 1:]
        return out
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value + dice.one([0, 0, 0, 1, -1])
        return str(number) if dice.chance(40) else number
    return dice.one([value, None, "", "x", 1])


def event(dice, selections):
    """Values for the fields of some selections; the rest is absent, null, or something else."""
    out = {}
    for lines in selections:
        for line in lines if isinstance(lines, list) else [lines]:
            if isinstance(line, str):
                if dice.chance(40):
                    out["A"] = "say " + line.replace("*", "-") + " again"
                continue
            for key, values in line.items():
                field, _, modifier = key.partition("|")
                if not field or not dice.chance(75):
                    continue
                value = dice.one(values) if isinstance(values, list) and values else values
                made = changed(dice, value, modifier)
                if isinstance(values, list) and "all" in modifier.split("|"):
                    made = "".join(str(changed(dice, v, modifier)) for v in values)
                out[field] = [made, "other"] if dice.chance(8) else made
    for field in FIELDS:
        if field not in out and dice.chance(25):
            out[field] = dice.one([None, "", "a", "cmd.exe", 42, "4624", True, 1.5, text(dice, False)])
    nested = {name: value for name, value in out.items() if "." not in name}
    if "D.e" in out:
        nested["D"] = {"e": out["D.e"]}
    return nested


def case(seed, number):
    dice = Dice(seed * 1_000_003 + number)
    for _ in range(4):
        dice.below(2)  # the first numbers of neighbouring seeds are alike
    names, condition = dice.one([(n, c) for n, conditions in CONDITIONS.items() for c in conditions])
    selections = {name: selection(dice) for name in names.split()}
    detection = {**selections, "condition": condition}
    rule = (
        f"title: case {number}\nid: 00000000-0000-4000-8000-{number:012d}\n"
        f"logsource: {{product: test}}\ndetection: {json.dumps(detection, ensure_ascii=False)}\n"
    )
    made = event(dice, list(selections.values()))
    return {"section": "generated", "name": str(number), "rule": rule, "event": made}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    args = parser.parse_args()
    for number in range(args.count):
        print(json.dumps(case(args.seed, number), ensure_ascii=False))


if __name__ == "__main__":
    main()
