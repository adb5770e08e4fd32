"""The certificate file and its checker: alone, short, and not to be fooled."""

import ast
import copy
import json
import pathlib
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from certificate_helpers import accepted, disguised, document_of, fractions
from flint import fmpq
from helpers import network
from test_canonical import symmetric_copy
from test_certify import hidden_weight, ramp
from test_certify_bounds import QUICK, UNIT, near_pair

from jaxtract.certificate import check
from jaxtract.certificate.certify import CertifyOptions, certify
from jaxtract.certificate.document import FORMAT, certificate_document, description, seal, write_certificate
from jaxtract.certificate.domain import Ball
from jaxtract.cli.main import main
from jaxtract.network.exact_file import write_exact
from jaxtract.network.families import he
from jaxtract.network.files import save_network, save_npz

CHECKER = pathlib.Path(check.__file__)


def identical():
    original = he((3, 4, 3, 2), 0).exact()
    rng = np.random.default_rng(0)
    return symmetric_copy(disguised(original, rng), rng), original, {}


def by_cases():
    given, other = hidden_weight(1)
    return other, given, {}


def by_order():
    return (*ramp(), {})


def different():
    return (*near_pair((3, 4, 2), 0), {})


def close_on_a_box():
    return (*near_pair((2, 4, 4, 2), 0), {"domain": UNIT, "options": QUICK})


def close_on_a_ball():
    return (*near_pair((3, 4, 2), 0), {"domain": Ball(fmpq(3, 2)), "options": QUICK})


KINDS = [identical, by_cases, by_order, different, close_on_a_box, close_on_a_ball]


def made(kind):
    """(document, recovered, reference as the checker reads them)."""
    recovered, reference, arguments = kind()
    certificate = certify(recovered, reference, **arguments)
    return document_of(certificate, recovered, reference), fractions(recovered), fractions(reference)


def leaves(value, path=()):
    """Every place in a JSON document that holds no other places."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    else:
        yield path


def containers(value, path=()):
    """Every list and dictionary that is not empty."""
    if isinstance(value, dict | list) and value:
        yield path
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from containers(value[key], (*path, key))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def other_values(value):
    """What one field might be changed to."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, str(value)]
    try:
        number = Fraction(value)
    except ValueError:
        return [value + "x", value.swapcase() + "?", "", "on" if value != "on" else "off"]
    tiny = Fraction(1, 2**200)
    return [str(x) for x in (number + 1, -number - 1, number * 2 + 1, number + tiny, number - tiny)]


def rejected(document, f, g):
    try:
        check.check(document, f, g)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return True
    return False


def changes(document):
    """(path, document with one field altered, removed or doubled)."""
    for path in leaves(document):
        for value in {*other_values(at(document, path))} - {at(document, path)}:
            changed = copy.deepcopy(document)
            at(changed, path[:-1])[path[-1]] = value
            yield path, changed
    for path in containers(document):
        changed = copy.deepcopy(document)
        part = at(changed, path)
        del part[next(iter(part)) if isinstance(part, dict) else -1]
        yield path, changed
        if isinstance(part, list):
            changed = copy.deepcopy(document)
            at(changed, path).append(at(changed, path)[-1])
            yield path, changed


@pytest.mark.parametrize("kind", KINDS)
def test_any_altered_field_is_rejected(kind):
    document, f, g = made(kind)
    check.check(document, f, g)
    tried = [path for path, changed in changes(document) if rejected(changed, f, g) or pytest.fail(str(path))]
    assert len(tried) > 20


CLAIMS = ("domain", "upper", "point", "recovered", "reference", "difference")


def is_claim(path):
    """Verdict, hashes, domain, bounds and values. The rest is how they are proved, or who wrote the file."""
    return path[0] in ("format", "verdict", "recovered", "reference") or (len(path) > 1 and path[1] in CLAIMS)


def visible(document, changed, path):
    """Changes of 2^-200 leave a bound of 40 bits what it is, and true."""
    try:
        return abs(Fraction(at(document, path)) - Fraction(at(changed, path))) > Fraction(1, 2**100)
    except (ValueError, TypeError, LookupError):
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_altered_claims_are_rejected_even_with_a_new_seal(kind):
    """Not the hash but the mathematics: who alters a claim and seals the document again is found out as well."""
    document, f, g = made(kind)
    fooled = []
    for path, changed in changes(document):
        if path and is_claim(path) and visible(document, changed, path):
            changed["sha256"] = seal(changed)
            fooled += [] if rejected(changed, f, g) else [path]
    assert fooled == []


@pytest.mark.parametrize("kind", [identical, different])
def test_altered_matching_is_rejected_even_with_a_new_seal(kind):
    """Where the proof is equality, a scale off by 2^-200 is found."""
    document, f, g = made(kind)
    scales = 0
    for path, changed in changes(document):
        if path[:2] == ("evidence", "units") and len(path) == 5 and path[-1] == 1:
            changed["sha256"] = seal(changed)
            unused = at(document, path[:-1])[0] not in used_units(document, f)
            assert rejected(changed, f, g) or unused
            scales += 1
    assert (scales > 0) == (kind is identical)


def used_units(document, f):
    """Units that a later layer or the output weighs at all; scales of the others are nobody's business."""
    units = {}
    ends = check.over_units(*f, document["evidence"]["units"]["recovered"], units)
    return {key for row in [*units.values(), *ends] for key in row if key > 0}


@pytest.mark.parametrize("kind", KINDS)
def test_another_network_is_rejected(kind):
    document, f, g = made(kind)
    widths, rows = copy.deepcopy(g)
    rows[0][-1] += Fraction(1, 2**300)
    assert rejected(document, f, (widths, rows)) and rejected(document, (widths, rows), g)


def lies():
    """Documents that claim what is not so, sealed properly."""
    recovered, original = near_pair((5, 3, 1), 0)
    bounded = certify(recovered, original, domain=UNIT, options=QUICK)
    document = document_of(bounded, recovered, original)
    yield "too many slopes hide an output", document, lambda e: e["parts"]["slopes"].append(128)
    yield "slope above one", document, lambda e: e["parts"]["slopes"].__setitem__(0, 300)
    yield "unit below one", document, lambda e: e["units"]["recovered"][0].__setitem__(0, 0)
    yield "a unit over itself", document, lambda e: e["units"]["recovered"][0].__setitem__(0, True)
    yield "a unit called off", document, lambda e: e["parts"]["slopes"].__setitem__(0, "off")
    yield "a smaller upper bound", document, lambda e: e.__setitem__("upper", "0")


@pytest.mark.parametrize("index", range(6))
def test_lies_are_rejected(index):
    recovered, original = near_pair((5, 3, 1), 0)
    _, document, tell = list(lies())[index]
    document = copy.deepcopy(document)
    tell(document["evidence"])
    document["sha256"] = seal(document)
    assert rejected(document, fractions(recovered), fractions(original))


@pytest.mark.parametrize("axis", [-1, 2, 5])
def test_only_the_inputs_of_a_box_are_cut(axis):
    """Halving the constant, or one side of a ball, would halve what is proved."""
    recovered, original = near_pair((2, 3, 1), 0)
    for domain in (UNIT, Ball(fmpq(1))):
        document = document_of(certify(recovered, original, domain=domain, options=QUICK), recovered, original)
        evidence = document["evidence"]
        for tried in (axis, 0) if domain is not UNIT else (axis,):
            evidence["parts"] = {"axis": tried, "low": evidence["parts"], "high": evidence["parts"]}
            document["sha256"] = seal(document)
            with pytest.raises((ValueError, LookupError), match=r"only boxes are cut|-\d"):
                check.check(document, fractions(recovered), fractions(original))


def test_different_networks_are_never_accepted_as_identical():
    """An empty proof, a proof by a false case, and one that gives z = 0 to neither side."""
    one, two = network(([[1]], [0]), ([[1]], [0])), network(([[1]], [0]), ([[2]], [0]))
    units = {"recovered": [[1, "1"]], "reference": [[1, "1"]]}
    never_on = {"unit": 1, "strict": "on", "on": {"farkas": [["side", 1, "1"]]}, "off": {"zero": True}}
    for proof in ({"zero": True}, never_on, never_on | {"on": {"farkas": [["relu", 1, "1"], ["side", 1, "-1"]]}}):
        document = {
            "format": FORMAT,
            "verdict": "identical",
            "recovered": description(one),
            "reference": description(two),
            "evidence": {"units": units, "proof": proof},
        }
        document["sha256"] = seal(document)
        assert rejected(document, fractions(one), fractions(two))
    same = document | {"reference": description(one)}
    same["sha256"] = seal(same)
    assert rejected(same, fractions(one), fractions(one))  # right, but not proved by these multipliers


def test_zero_on_an_open_set_is_no_loophole():
    """s(x) - s(x) is neither positive nor negative anywhere: excluding z > 0 and z < 0 would exclude everything."""
    one = network(([[1], [1]], [0, 0]), ([[1, -1]], [0]), ([[1]], [3]))
    two = network(([[1], [1]], [0, 0]), ([[1, -1]], [0]), ([[1]], [4]))
    certificate = certify(one, two)
    assert certificate.verdict == "different"
    assert accepted(certificate, one, two) == "different"


def test_the_checker_is_short_and_stands_alone():
    source = CHECKER.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 200
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    assert imported <= set(sys.stdlib_module_names)
    assert not imported & {"pickle", "importlib", "ctypes", "marshal", "shelve", "decimal", "random"}
    assert not any(isinstance(n, ast.Constant) and isinstance(n.value, float) for n in ast.walk(ast.parse(source)))
    calls = {n.func.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not calls & {"float", "eval", "exec", "__import__", "compile"}


def test_the_checker_runs_without_the_package(tmp_path):
    """No site-packages, no environment: -I -S."""
    original = he((4, 5, 3, 2), 0)
    save_npz(original, tmp_path / "original.npz")
    copied = symmetric_copy(original.exact(), np.random.default_rng(0))
    (tmp_path / "run").mkdir()
    write_exact(copied, tmp_path / "run" / "exact.json")
    certificate = certify(copied, original.exact())
    write_certificate(certificate_document(certificate, copied, original.exact(), {}), tmp_path / "c.json")

    def run(*names):
        places = [str(tmp_path / name) for name in names]
        return subprocess.run([sys.executable, "-I", "-S", str(CHECKER), *places], capture_output=True, text=True)

    good = run("c.json", "run", "original.npz")
    assert (good.returncode, good.stdout) == (0, "accepted: identical\n")
    swapped = run("c.json", "original.npz", "run")
    assert swapped.returncode != 0 and "other networks" in swapped.stderr


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_checker_reads_npz_as_the_package_does(tmp_path, dtype, order):
    rng = np.random.default_rng(0)
    arrays = {
        "W0": rng.integers(0, 9, (3, 4)), "b0": rng.integers(0, 9, 4),
        "W1": rng.integers(0, 9, (4, 2)), "b1": rng.integers(0, 9, 2),
    }  # fmt: skip
    with (tmp_path / "net.npz").open("wb") as file:
        np.savez(file, **{name: np.asarray(a, dtype=dtype, order=order) for name, a in arrays.items()})
    from jaxtract.network.files import load_network

    package = load_network(tmp_path / "net.npz").exact()
    assert check.read_network(tmp_path / "net.npz") == fractions(package)
    write_exact(package, tmp_path / "exact.json")
    assert check.read_network(tmp_path) == fractions(package)
    write_exact(package, tmp_path / "exact.json", prec=200)
    assert check.read_network(tmp_path / "exact.json") == fractions(package)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 3}', "null", '{"verdict": "close"}'])
def test_what_is_no_certificate_is_rejected(tmp_path, capsys, text):
    (tmp_path / "c.json").write_text(text)
    save_npz(he((2, 2, 1), 0), tmp_path / "net.npz")
    digits = sys.get_int_max_str_digits()
    assert main(["check", *(str(tmp_path / name) for name in ("c.json", "net.npz", "net.npz"))]) == 1
    assert re.search("rejected: (malformed|the certificate was altered)", capsys.readouterr().err)
    assert sys.get_int_max_str_digits() == digits


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("net.npz", {"S1_1": np.ones((3, 3))}),  # a layer that reads itself
        ("net.npz", {"S0_1": np.ones((2, 3))}),  # what the layer's own matrix reads already
        ("net.npz", {"S2_0": np.ones((1, 2))}),
        ("net.npz", {"S0_3": np.ones((2, 1))}),
        ("net.npz", {"S0_2": np.ones((2, 2))}),
        ("net.npz", {"b1": np.ones(2)}),
        ("net.npz", {"b2": np.ones(1)}),
        ("net.json", {"skips": [{"source": -1, "target": 2, "weights": [["1"]]}]}),
        ("net.json", {"skips": [{"source": 0, "target": 2, "weights": [["1"]]}]}),
        ("net.json", {"widths": [3, 3, 1]}),
    ],
)
def test_files_that_are_no_networks_are_not_read(tmp_path, file, change):
    arrays = {"W0": np.ones((2, 3)), "b0": np.ones(3), "W1": np.ones((3, 1)), "b1": np.ones(1)}
    if file == "net.npz":
        np.savez(tmp_path / file, **arrays | change)
    else:
        write_exact(he((2, 3, 1), 0).exact(), tmp_path / file)
        (tmp_path / file).write_text(json.dumps(json.loads((tmp_path / file).read_text()) | change))
    with pytest.raises((ValueError, LookupError)):
        check.read_network(tmp_path / file)


def test_undecided_is_not_certified():
    one, two = ramp()
    certificate = certify(one, two, options=CertifyOptions(cases=0))
    with pytest.raises(ValueError, match="nothing to certify"):
        certificate_document(certificate, one, two, {})


@pytest.mark.parametrize("suffix", [".npz", ".onnx"])
def test_from_the_command_line(tmp_path, capsys, suffix):
    original = he((3, 4, 2), 0)
    reference, recovered, file = (str(tmp_path / name) for name in (f"net{suffix}", "exact.json", "c.json"))
    save_network(original, reference)
    copied, _ = near_pair((3, 4, 2), 0)
    write_exact(copied, recovered)
    capsys.readouterr()
    quick = ["--samples", "50", "--certificate", file]
    assert main(["certify", recovered, reference, *quick]) == 1
    assert "different" in capsys.readouterr().out
    assert main(["check", file, recovered, reference]) == 0
    assert capsys.readouterr().out == "accepted: different\n"
    assert main(["certify", recovered, reference, "--box", "-0.5", "1e0", *quick]) == 0
    assert "upper / lower" in capsys.readouterr().out
    assert main(["check", file, recovered, reference]) == 0
    capsys.readouterr()
    assert main(["certify", recovered, reference, "--ball", "2", "--epsilon", "1e-20", "--json", *quick]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "different" and shown["bounds"]["random"]["exceed"] == 50
    assert main(["certify", reference, reference, *quick]) == 0
    assert main(["check", file, reference, reference]) == 0
    assert main(["check", file, recovered, reference]) == 1
    assert "rejected" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "none.json"), recovered, reference]) == 2
    assert main(["check", file, str(tmp_path / "none.npz"), reference]) == 2
    assert main(["certify", reference, reference, "--box", "1", "0"]) == 2
    for bad in (["--box", "1", "x"], ["--ball", "1/0"], ["--box", "0", "1", "--ball", "1"], ["--cases", "-1"]):
        with pytest.raises(SystemExit):
            main(["certify", reference, reference, *bad])


def test_built_in_names(tmp_path, capsys):
    file = str(tmp_path / "c.json")
    assert main(["certify", "diabetes", "diabetes", "--certificate", file]) == 0
    assert main(["check", file, "diabetes", "diabetes"]) == 0
    assert "accepted: identical" in capsys.readouterr().out
