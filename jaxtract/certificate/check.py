"""Check a certificate against its two networks: exact integers and fractions, the standard library, nothing else.

Runs alone: ``python check.py CERTIFICATE RECOVERED REFERENCE``. Why its steps prove anything: the other files here.
"""

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
ONE = Fraction(1)


def need(condition, what):
    if not condition:
        raise ValueError(what)


def array(data):  # a member of a .npz: (shape, values in C order)
    start = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:start].decode("latin1"))
    shape, order = header["shape"], header["descr"][0].replace("|", "=")
    values = struct.unpack(f"{order}{math.prod(shape)}{CODES[header['descr'][1:]]}", data[start:])
    if header["fortran_order"] and len(shape) == 2:
        values = [values[i + j * shape[0]] for i in range(shape[0]) for j in range(shape[1])]
    return shape, list(map(Fraction, values))


def read_network(path):  # (inputs, [(rows, bias), ...]): a row is a neuron
    path = Path(path) / "exact.json" if Path(path).is_dir() else Path(path)
    if path.suffix == ".json":
        given = json.loads(path.read_text("utf-8"))
        pairs = [(layer["weights"], layer["bias"]) for layer in given["layers"]]
        layers = [([list(map(Fraction, row)) for row in w], list(map(Fraction, b))) for w, b in pairs]
        skips = {(skip["source"], skip["target"]): skip["weights"] for skip in given.get("skips", [])}
        skips = {place: [list(map(Fraction, row)) for row in rows] for place, rows in skips.items()}
        return given["widths"][0], plain(given["widths"][0], layers, skips)
    with zipfile.ZipFile(path) as file:
        arrays = {name.removesuffix(".npy"): array(file.read(name)) for name in file.namelist()}
    named = {tuple(map(int, name[1:].split("_"))): arrays.pop(name) for name in list(arrays) if name[0] == "S"}
    skips = {place: [w[h :: shape[1]] for h in range(shape[1])] for place, (shape, w) in named.items()}
    pairs = [(*arrays[f"W{i}"], arrays[f"b{i}"][1]) for i in range(len(arrays) // 2)]
    layers = [([w[h :: shape[1]] for h in range(shape[1])], b) for shape, w, b in pairs]
    return pairs[0][0][0], plain(pairs[0][0][0], layers, skips)


def plain(d, layers, skips):  # neurons that carry what skips {(source, target): rows} read: s(a) = a, x = s(x) - s(-x)
    need(all(0 <= s < t - 1 < len(layers) for s, t in skips), "ends of a skip")
    until = {s: max(t for k, t in skips if k == s) for s, _ in sorted(skips)}
    widths, found = [d, *(len(b) for _, b in layers)], []
    for t, (rows, bias) in enumerate(layers, start=1):
        start, size = {t - 1: 0}, widths[t - 1]
        for s in [s for s in until if s < t - 1 < until[s]]:
            block = skips.get((s, t), [[Fraction(0)] * widths[s]] * widths[t])
            rows = [[*r, *x, *([-v for v in x] if s == 0 else [])] for r, x in zip(rows, block, strict=True)]
            start[s], size = size, size + widths[s] * (2 if s == 0 else 1)
        copied = [(s, widths[s] * (2 if s == 0 and t > 1 else 1)) for s in until if s < t < until[s]]
        held = [(start[s] + j, 1) for s, count in copied for j in range(count)]
        held += [(j, -1) for j in range(d)] if t == 1 and held else []
        rows = [*rows, *([Fraction(sign * (i == j)) for i in range(size)] for j, sign in held)]
        found.append((rows, [*bias, *[Fraction(0)] * len(held)]))
    return found


def describe(inputs, layers):
    text = json.dumps([[[list(map(str, row)) for row in rows], list(map(str, bias))] for rows, bias in layers])
    return {"widths": [inputs, *(len(b) for _, b in layers)], "sha256": hashlib.sha256(text.encode()).hexdigest()}


def values(layers, x):
    for index, (rows, bias) in enumerate(layers):
        x = [sum((w * v for w, v in zip(row, x, strict=True)), b) for row, b in zip(rows, bias, strict=True)]
        x = [max(z, 0 * z) for z in x] if index + 1 < len(layers) else x
    return x


def combine(terms, constant=0):  # sum of factor * {-1: constant, j: of input j, d + k: of unit k}
    total = {-1: Fraction(constant)}
    for factor, expression in terms:
        for key, x in expression.items() if factor else ():
            total[key] = total.get(key, 0) + factor * x
    return {key: x for key, x in total.items() if x}


def over_units(d, layers, parts, rows):  # the outputs over units; rows[k] is unit k before its ReLU, filled in here
    state = [{j: ONE} for j in range(d)]
    for layer, ((weight, bias), part) in enumerate(zip(layers[:-1], parts, strict=True)):
        new = []
        for row, b, p in zip(weight, bias, part, strict=True):
            z = combine(zip(row, state, strict=True), b)
            if p in ("on", "off"):
                side = 1 if p == "on" else -1
                plain = all(side * x >= 0 for x in (*row, b)) and (layer or not any(row))
                need(plain or all(not 0 <= key < d and side * x >= 0 for key, x in z.items()), "sign of a neuron")
                new.append(z if p == "on" else {})
            else:
                unit, c = p[0], Fraction(p[1])
                v = combine([(1 / c, z)])
                need(type(unit) is int and max(v) < d + unit and unit >= 0, "number of a unit")
                need(rows.setdefault(unit, v) == v, "neuron is no multiple of its unit")
                new.append(combine([(abs(c), {d + unit: ONE}), (c < 0, z)]))  # s(-v) = s(v) - v
        state = new
    return [combine(zip(row, state, strict=True), b) for row, b in zip(*layers[-1], strict=True)]


def prove(node, rows, targets, d, states):  # targets vanish wherever units are on or off as (on, strictly) in states
    z, s, first = {}, {}, {}
    for k in sorted(rows):
        z[k] = combine((c, s[key - d] if key >= d else {key: ONE}) for key, c in rows[k].items())
        lead = z[k][max(z[k])] if z[k] else ONE
        same, other = first.setdefault(tuple(sorted((key, c / lead) for key, c in z[k].items())), (k, lead))
        signs = {0 if 0 <= key < d else (1 if c > 0 else -1) for key, c in z[k].items()}
        if k in states or signs <= {1} or signs == {-1}:
            s[k] = z[k] if (states[k][0] if k in states else signs <= {1}) else {}
        else:
            s[k] = {d + k: ONE} if same == k else combine([(abs(lead / other), s[same]), (lead / other < 0, z[k])])
    if "zero" in node:
        left = [combine((c, s[key - d] if key >= d else {key: ONE}) for key, c in t.items()) for t in targets]
        need(node["zero"] is True and not any(left), "outputs do not cancel")
    elif "farkas" in node:
        known = {"side": lambda k: combine([(1 if states[k][0] else -1, z[k])]), "relu": lambda k: s[k]}
        known["above"] = lambda k: combine([(1, s[k]), (-1, z[k])])
        total = combine((Fraction(x), known[kind](k)) for kind, k, x in node["farkas"])
        strict = any(kind == "side" and states[k][1] for kind, k, _ in node["farkas"])
        need(all(Fraction(x) > 0 for _, _, x in node["farkas"]), "multipliers")
        need(set(total) <= {-1} and total.get(-1, 0) < (1 if not total and strict else 0), "nothing is refuted")
    else:
        side, affine = node["strict"], z[node["unit"]] and max(z[node["unit"]]) < d  # a null set
        need(side in ("on", "off") or (side == "both" and affine), "split")
        for name in ("on", "off"):
            prove(node[name], rows, targets, d, {**states, node["unit"]: (name == "on", side in (name, "both"))})


def interval(form, region, d):  # of {-1: constant, j: of input j, d + i: of a symbol in [-1, 1]}
    radius, middle = sum((abs(x) for key, x in form.items() if key >= d), Fraction(0)), form.get(-1, Fraction(0))
    slope = {key: x for key, x in form.items() if 0 <= key < d}
    if slope and isinstance(region, dict):  # a box
        middle += sum(x * sum(region[key]) for key, x in slope.items()) / 2
        radius += sum(abs(x) * (region[key][1] - region[key][0]) for key, x in slope.items()) / 2
    elif slope:  # a ball: its radius times the norm of the slope, rounded up
        square = sum(x * x for x in slope.values())
        shift = 256 + square.denominator.bit_length()
        radius += region * Fraction(math.isqrt(math.ceil(square * 4**shift)) + 1, 2**shift)
    return middle - radius, middle + radius


def bound(node, units, ends, region, d):  # max |f - f'| on the region: the largest over parts, each of them checked
    if "axis" in node:
        low, high = region[node["axis"]]
        halves = {"low": (low, (low + high) / 2), "high": ((low + high) / 2, high)}
        return max(bound(node[half], units, ends, {**region, node["axis"]: x}, d) for half, x in halves.items())
    h, diff, worst = {-1: {-1: ONE}, **{j: {j: ONE} for j in range(d)}}, {}, Fraction(0)
    need(len(node["slopes"]) == len(units), "number of slopes")
    for k, (one, two) in enumerate([*units, *ends]):
        change = [(c, h[key]) for key, c in combine([(1, one), (-1, two)]).items()]
        delta = combine([*change, *((c, diff[key]) for key, c in one.items() if key >= d)])
        far = max(map(abs, interval(delta, region, d)))
        if k >= len(units):
            worst = max(worst, far)
            continue
        z, slope = combine((c, h[key]) for key, c in two.items()), node["slopes"][k]
        low, high = interval(z, region, d)
        if slope in ("on", "off"):
            side, other = 1 if slope == "on" else -1, interval(combine([(1, z), (1, delta)]), region, d)
            need(all(side * x >= 0 for x in (low, high, *other)), "a unit may bend")
            h[d + k], diff[d + k] = (z, delta) if slope == "on" else ({}, {})
        else:
            q = Fraction(slope, 256)
            need(0 <= q <= 1, "slope")
            wide = max(-q * low, (1 - q) * high) / 2
            h[d + k] = combine([(q, z), (wide, {-1: ONE, d + 2 * k: ONE})])
            diff[d + k] = combine([(ONE / 2, delta), (far / 2, {d + 2 * k + 1: ONE})])
    claimed = Fraction(node["bound"])
    need(worst <= claimed and (claimed - worst) * 2**39 <= worst, "bound of a part")
    return claimed


def check(document, f, g):  # ValueError unless the document holds and proves what it says
    body = json.dumps({key: x for key, x in document.items() if key != "sha256"}, sort_keys=True)
    need(document["sha256"] == hashlib.sha256(body.encode()).hexdigest(), "the certificate was altered")
    verdict, claim, d = document["verdict"], document["evidence"], g[0]
    need(verdict in ("identical", "different", "close") and document["format"] == "jaxtract-certificate/1", "format")
    need([document["recovered"], document["reference"], d] == [describe(*f), describe(*g), f[0]], "other networks")
    point = list(map(Fraction, claim.get("point", [])))
    if verdict != "identical":  # what is known of one point
        ours = [values(f[1], point), values(g[1], point)]
        far = max(abs(x - y) for x, y in zip(*ours, strict=True))
        need([claim["recovered"], claim["reference"]] == [list(map(str, y)) for y in ours], "values at the point")
        need(claim["difference"] == str(far) and (far or verdict == "close"), "difference at the point")
    if verdict == "different":
        return
    one, two = ({},) * 2 if verdict == "identical" else ({}, {})  # identical: the units are the same
    ends = over_units(d, g[1], claim["units"]["reference"], two)
    ends = list(zip(over_units(d, f[1], claim["units"]["recovered"], one), ends, strict=True))
    if verdict == "identical":
        prove(claim["proof"], one, [combine([(1, x), (-1, y)]) for x, y in ends], d, {})
    else:
        domain = {key: Fraction(x) for key, x in claim["domain"].items()}
        region = domain["radius"] if "radius" in domain else dict.fromkeys(range(d), (domain["low"], domain["high"]))
        inside = all(domain["low"] <= x <= domain["high"] for x in point) if "low" in domain else None
        need(sum(x * x for x in point) <= domain["radius"] ** 2 if inside is None else inside, "the point is outside")
        units = [(one.get(k, {}), two.get(k, {})) for k in range(1 + max([-1, *one, *two]))]
        need(bound(claim["parts"], units, ends, region, d) == Fraction(claim["upper"]), "the parts give another bound")


def check_files(certificate, recovered, reference):  # the verdict that is proved; ValueError if none is
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        document = json.loads(Path(certificate).read_text("utf-8"))
        check(document, read_network(recovered), read_network(reference))
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, struct.error) as error:
        raise ValueError(f"malformed: {error!r}") from error
    finally:
        sys.set_int_max_str_digits(limit)
    return document["verdict"]


if __name__ == "__main__":
    sys.stdout.write(f"accepted: {check_files(*sys.argv[1:])}\n")
