"""Check a certificate against its two networks: exact integers and fractions, the standard library, nothing else.

Runs alone: ``python check.py CERTIFICATE RECOVERED REFERENCE``. Why its steps prove anything: the other files here.
Affine expressions are dictionaries: 0 for the constant, j - d for the factor of input j of d, k > 0 for unit k's."""

import ast
import hashlib
import json
import math
import struct
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

CODES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I", "u1": "B"}
ONE, SIDES, HALVES = Fraction(1), {"on": 1, "off": -1}, (("low", -1), ("high", 1))


def need(condition, what):
    if not condition:
        raise ValueError(what)


def array(data):  # a member of a .npz: (rows, columns); a vector is one column
    start = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:start].decode("latin1"))
    (n, m), order = (*header["shape"], 1)[:2], header["descr"][0].replace("|", "=")
    found = struct.unpack(f"{order}{n * m}{CODES[header['descr'][1:]]}", data[start:])
    return n, [found[n * j : n * j + n] if header["fortran_order"] else found[j::m] for j in range(m)]


def read_network(path):  # (widths, rows): every neuron over the inputs and the neurons before it, outputs last
    path = Path(path) / "exact.json" if Path(path).is_dir() else Path(path)
    if path.suffix == ".json":
        given = json.loads(path.read_text("utf-8"))
        inputs, biases = given["widths"][0], [layer["bias"] for layer in given["layers"]]
        blocks = [(i, i + 1, layer["weights"]) for i, layer in enumerate(given["layers"])]
        blocks += [(skip["source"], skip["target"], skip["weights"]) for skip in given.get("skips", [])]
    else:
        with zipfile.ZipFile(path) as file:
            arrays = {name.removesuffix(".npy"): array(file.read(name)) for name in file.namelist()}
        inputs, biases = arrays["W0"][0], [arrays[f"b{i}"][1][0] for i in range(sum(name[0] == "b" for name in arrays))]
        blocks = [(i, i + 1, arrays[f"W{i}"][1]) for i in range(len(biases))]
        blocks += [(*map(int, name[1:].split("_")), arrays[name][1]) for name in arrays if name[0] == "S"]
    widths, layers = [inputs, *map(len, biases)], [[{0: Fraction(b)} for b in bias] for bias in biases]
    starts = [sum(widths[:i]) - inputs + (i > 0) for i in range(len(widths))]  # key of the first input or neuron
    for source, target, block in blocks:
        for row, weights in zip(layers[target - 1], block, strict=True):
            read = {key: Fraction(w) for key, w in enumerate(weights, start=starts[source])}
            need(0 <= source < target and len(read) == widths[source] and not read.keys() & row.keys(), "weights")
            row.update(read)
    return widths, [combine([(1, row)]) for layer in layers for row in layer]


def values(widths, rows, point):
    known = {0: ONE, **dict(zip(range(-widths[0], 0), point, strict=True))}
    for n, row in enumerate(rows, start=1):
        z = sum(x * known[key] for key, x in row.items())
        known[n] = max(z, 0) if n <= len(rows) - widths[-1] else z
    return list(known.values())[-widths[-1] :]


def combine(terms):  # the sum of factor * expression
    total = {}
    for factor, expression in terms:
        for key, x in expression.items() if factor else ():
            total[key] = total.get(key, 0) + factor * x
    return {key: x for key, x in total.items() if x}


def put(forms, row):  # a row with expressions for what it is over
    return combine((x, forms[key]) for key, x in row.items())


def has_sign(side, row):  # side * row >= 0, as neurons and units are never negative
    return all(key >= 0 and side * x >= 0 for key, x in row.items())


def over_units(widths, rows, parts, units):  # the outputs over units; units[k], filled in here: k before its ReLU
    forms, hidden = {key: {key: ONE} for key in range(-widths[0], 1)}, len(rows) - widths[-1]
    for n, (row, part) in enumerate(zip(rows[:hidden], parts, strict=True), start=1):
        z = put(forms, row)
        if part in ("on", "off"):
            need(has_sign(SIDES[part], row) or has_sign(SIDES[part], z), "sign of a neuron")
            forms[n] = z if part == "on" else {}
        else:
            k, c, v = part[0], Fraction(part[1]), combine([(1 / Fraction(part[1]), z)])
            need(type(k) is int and k > max(0, *v) and units.setdefault(k, v) == v, "neuron is no multiple of its unit")
            forms[n] = combine([(abs(c), {k: ONE}), (c < 0, z)])  # s(-v) = s(v) - v
    return [put(forms, row) for row in rows[hidden:]]


def prove(node, units, targets, d, states):  # targets vanish wherever units are on or off as (on, strictly) in states
    s, z, first = {key: {key: ONE} for key in range(-d, 1)}, {}, {}
    for k in sorted(units):
        z[k] = put(s, units[k])
        lead = z[k][max(z[k])] if z[k] else ONE
        same, other = first.setdefault(frozenset((key, x / lead) for key, x in z[k].items()), (k, lead))
        if k in states or has_sign(1, z[k]) or has_sign(-1, z[k]):
            s[k] = z[k] if (states[k][0] if k in states else has_sign(1, z[k])) else {}
        else:
            s[k] = {k: ONE} if same == k else combine([(abs(lead / other), s[same]), (lead / other < 0, z[k])])
    if "zero" in node:
        need(node["zero"] is True and not any(put(s, target) for target in targets), "outputs do not cancel")
    elif "farkas" in node:
        parts = {k: {key: x for key, x in row.items() if x > 0} for k, row in units.items() if min(row, default=0) >= 0}
        known = {"side": lambda k: [(1 if states[k][0] else -1, z[k])], "relu": lambda k: [(1, s[k])]}
        known |= {"above": lambda k: [(1, s[k]), (-1, z[k])], "below": lambda k: [(1, put(s, parts[k])), (-1, s[k])]}
        total = combine((Fraction(x) * y, term) for kind, k, x in node["farkas"] for y, term in known[kind](k))
        strict = any(kind == "side" and states[k][1] for kind, k, _ in node["farkas"])
        need(all(Fraction(x) > 0 for _, _, x in node["farkas"]), "multipliers")
        need(set(total) <= {0} and total.get(0, 0) < (1 if not total and strict else 0), "nothing is refuted")
    elif "same" in node:  # a lemma: s(z_k) = c s(z_j), so that z_k may be c z_j in what follows
        k, j, c = *node["same"][:2], Fraction(node["same"][2])
        need(0 < j < k and c > 0 and k not in states, "lemma")
        prove(node["proof"], units, [combine([(1, {k: ONE}), (-c, {j: ONE})])], d, states)
        rows = {n: combine([(1, row), (row.get(k, 0), {j: c, k: -ONE})]) for n, row in units.items()}
        prove(node["then"], {**rows, k: combine([(c, units[j])])}, targets, d, states)
    else:
        k, side = node["unit"], node["strict"]
        need(side in SIDES or (side == "both" and z[k] and max(z[k]) <= 0), "split")  # both: z = 0 is a null set
        for name in SIDES:
            prove(node[name], units, targets, d, {**states, k: (name == "on", side in (name, "both"))})


def interval(form, ball):  # inputs (keys < 0) are in [-1, 1] or the unit ball, symbols (keys > 0) in [-1, 1]
    radius = sum(abs(x) for key, x in form.items() if key > 0 or (key < 0 and not ball))
    square = sum(x * x for key, x in form.items() if key < 0 and ball)
    if square:  # its root, rounded up
        shift = 256 + square.denominator.bit_length()
        radius += Fraction(math.isqrt(math.ceil(square * 4**shift)) + 1, 2**shift)
    return form.get(0, 0) - radius, form.get(0, 0) + radius


def bound(node, units, ends, region, ball):  # max |f - f'| on the region: the largest over parts, each of them checked
    if "axis" in node:
        key = node["axis"] - len(region) + 1
        need(key < 0 and not ball, "only boxes are cut")
        c, r = region[key][0], region[key][key] / 2
        return max(bound(node[h], units, ends, {**region, key: {0: c + s * r, key: r}}, ball) for h, s in HALVES)
    ours, theirs = dict(region), dict(region)
    for k, ((one, two), slope) in enumerate(zip(units, node["slopes"], strict=True), start=1):
        z, y = put(ours, one), put(theirs, two)
        change, (low, high) = combine([(1, z), (-1, y)]), interval(y, ball)
        if slope in ("on", "off"):
            need(all(SIDES[slope] * x >= 0 for x in (low, high, *interval(z, ball))), "a unit may bend")
            ours[k], theirs[k] = (z, y) if slope == "on" else ({}, {})
        else:
            q, far = Fraction(slope, 256), max(map(abs, interval(change, ball)))
            need(0 <= q <= 1, "slope")
            theirs[k] = combine([(q, y), (max(-q * low, (1 - q) * high) / 2, {0: ONE, 2 * k: ONE})])
            ours[k] = combine([(1, theirs[k]), (ONE / 2, change), (far / 2, {2 * k + 1: ONE})])
    changes = [combine([(1, put(ours, one)), (-1, put(theirs, two))]) for one, two in ends]
    worst, claimed = max(abs(x) for change in changes for x in interval(change, ball)), Fraction(node["bound"])
    need(worst <= claimed and (claimed - worst) * 2**39 <= worst, "bound of a part")
    return claimed


def check(document, f, g):  # the verdict; ValueError unless the document holds and proves what it says
    body = json.dumps({key: x for key, x in document.items() if key != "sha256"}, sort_keys=True)
    need(document["sha256"] == hashlib.sha256(body.encode()).hexdigest(), "the certificate was altered")
    verdict, claim, d = document["verdict"], document["evidence"], g[0][0]
    need(verdict in ("identical", "different", "close") and document["format"] == "jaxtract-certificate/2", "format")
    for name, (widths, rows) in (("recovered", f), ("reference", g)):
        text = json.dumps([sorted(row.items()) for row in rows], default=str)
        shown = {"widths": widths, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        need(document[name] == shown and widths[0] == d, "other networks")
    point = list(map(Fraction, claim.get("point", [])))
    if verdict != "identical":  # what is known of one point
        ours = [values(f[0], f[1], point), values(g[0], g[1], point)]
        far = max(abs(x - y) for x, y in zip(*ours, strict=True))
        need([claim["recovered"], claim["reference"]] == [list(map(str, y)) for y in ours], "values at the point")
        need(claim["difference"] == str(far) and (far or verdict == "close"), "difference at the point")
    if verdict == "different":
        return verdict
    one, two = ({},) * 2 if verdict == "identical" else ({}, {})  # identical: the units are the same
    ends = over_units(g[0], g[1], claim["units"]["reference"], two)
    ends = list(zip(over_units(f[0], f[1], claim["units"]["recovered"], one), ends, strict=True))
    if verdict == "identical":
        prove(claim["proof"], one, [combine([(1, x), (-1, y)]) for x, y in ends], d, {})
        return verdict
    domain, ball = {key: Fraction(x) for key, x in claim["domain"].items()}, "radius" in claim["domain"]
    low, high = (-domain["radius"], domain["radius"]) if ball else (domain["low"], domain["high"])
    inside = sum(x * x for x in point) <= high**2 if ball else all(low <= x <= high for x in point)
    need(low < high and inside, "the point is outside")
    region = {key: {0: (low + high) / 2, key: (high - low) / 2} for key in range(-d, 0)} | {0: {0: ONE}}
    units = [(one.get(k, {}), two.get(k, {})) for k in range(1, 1 + max([0, *one, *two]))]
    need(bound(claim["parts"], units, ends, region, ball) == Fraction(claim["upper"]), "the parts give another bound")
    return verdict


def check_files(certificate, recovered, reference):  # the verdict that is proved; an error if none is
    return check(json.loads(Path(certificate).read_text("utf-8")), read_network(recovered), read_network(reference))


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)  # rationals may be long
    sys.stdout.write(f"accepted: {check_files(*sys.argv[1:])}\n")
