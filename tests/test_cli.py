"""The command line: exit codes, what is printed where, and what a run leaves behind."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from jaxtract import certify, load_target
from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED, INCOMPLETE
from jaxtract.cli.main import main
from jaxtract.network.exact_file import read_exact
from jaxtract.network.families import he
from jaxtract.network.files import load_network, save_network
from jaxtract.targets import targets

REPORT_KEYS = {
    "target", "context", "prec", "claim", "outcome", "widths", "parameters", "identifiable_parameters", "queries",
    "queries_per_parameter", "seconds", "verified", "signs", "resolution", "not_resolved", "seed", "command",
    "versions",
}  # fmt: skip
FEW = ["--verify-inputs", "55", "--verify-lines", "3"]

ORACLES = """
from fractions import Fraction
import numpy as np
from jaxtract import CallableOracle, oracle_function

@oracle_function(inputs=2, outputs=1, number_system="exact")
def exact(batch):
    return [[max(x + 2 * y - 1, 0) - max(Fraction(1, 3) - x, 0)] for x, y in batch]

@oracle_function(inputs=2, outputs=1)
def doubles(batch):
    return np.maximum(batch @ np.array([[1.0], [2.0]]) - 1, 0)

@oracle_function(inputs=2, outputs=1)
def nan_far_out(batch):
    return np.where(np.abs(batch).max(axis=1, keepdims=True) > 4, np.nan, batch[:, :1])

def made():
    return exact

def no_oracle():
    return 7

number = 7
"""


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def oracles(work_folder, monkeypatch, request):
    """A module with oracles in the folder that the command runs in; its name is new in every test."""
    name = f"oracles_{abs(hash(request.node.nodeid))}"
    (work_folder / f"{name}.py").write_text(ORACLES)
    monkeypatch.syspath_prepend(str(work_folder))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def small(work_folder):
    """(path, network): a stored network of one hidden layer."""
    save_network(he((5, 6, 2), 0), work_folder / "small.npz")
    return "small.npz", he((5, 6, 2), 0).exact()


def command(capsys, *arguments):
    """(exit code, standard output, standard error)."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def report(capsys, *arguments, code=CLAIM_REACHED):
    reached, out, err = command(capsys, "extract", *arguments, "--json")
    assert reached == code and err == ""
    return json.loads(out)


# --- extract


@pytest.mark.parametrize("name", [name for name, target in sorted(targets().items()) if len(target.widths) == 3])
def test_shipped_targets_of_one_hidden_layer(capsys, name):
    """Claim exact, and certify proves it: from the saved run alone."""
    found = report(capsys, name, "--out", "run")
    assert found["claim"] == "exact" and found["widths"] == list(targets()[name].widths)
    code, out, _ = command(capsys, "certify", "run", name, "--json")
    assert code == CLAIM_REACHED and json.loads(out)["verdict"] == "identical"


def test_the_report(capsys, small):
    path, net = small
    found = report(capsys, path, *FEW, "--seed", 3, "--out", "run")
    assert set(found) >= REPORT_KEYS
    assert (found["target"], found["context"], found["prec"], found["seed"]) == (path, "exact", None, 3)
    assert (found["claim"], found["outcome"], found["not_resolved"]) == ("exact", "complete", [])
    assert found["widths"] == [5, 6, 2]
    assert found["parameters"] == 50 == net.parameters and found["identifiable_parameters"] == 44
    queries = found["queries"]
    assert list(queries) == ["total", "search", "measure", "verify"]
    assert queries["total"] == queries["search"] + queries["measure"] + queries["verify"]
    assert found["queries_per_parameter"] == round((queries["search"] + queries["measure"]) / 50, 4)
    assert 0 <= found["seconds"]["oracle"] <= found["seconds"]["total"]
    assert found["verified"] == {
        "inputs": 55, "disagreements": 0, "lines": 3, "unexplained_kinks": 0, "residual_bits": None
    }  # fmt: skip
    assert (found["resolution"]["kinks_apart"], found["resolution"]["line_reach"]) == ("2^-256", "2^40")
    assert set(found["versions"]) == {"python", "jaxtract", "jax", "numpy", "python-flint", "mpmath"}
    assert found["command"] == f"jaxtract extract {path} {' '.join(FEW)} --seed 3 --out run --json"
    assert json.loads(Path("run/report.json").read_text()) == found


def test_a_run_leaves_its_files(capsys, small):
    path, net = small
    report(capsys, path, *FEW, "--out", "some/where/run")
    folder = Path("some/where/run")
    left = ["answers.sqlite", "course.json", "exact.json", "network.npz", "report.json"]
    assert sorted(p.name for p in folder.iterdir()) == left
    assert certify(read_exact(folder / "exact.json"), net).verdict == "identical"
    # The true weights are float64, so that float64 holds the recovered ones too.
    assert certify(load_network(folder / "network.npz").exact(), net).verdict == "identical"
    with np.load(folder / "network.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["W0", "W1", "b0", "b1"] and stored["W0"].shape == (5, 6)


def test_without_out_the_run_has_a_folder_of_its_own(capsys, small):
    path, _ = small
    report(capsys, path, *FEW, "--seed", 4)
    assert Path("jaxtract-runs/small-exact-seed4/exact.json").exists()


def test_a_run_again_replaces_the_old_files(capsys, small):
    """A budget too small for any network leaves no network of an earlier run behind."""
    path, _ = small
    report(capsys, path, *FEW, "--out", "run")
    found = report(capsys, path, "--max-queries", 3, "--out", "run", code=INCOMPLETE)
    assert found["widths"] is None and found["parameters"] is None and found["queries_per_parameter"] is None
    assert sorted(p.name for p in Path("run").iterdir()) == ["answers.sqlite", "course.json", "report.json"]


@pytest.mark.parametrize("suffix", [".npz", ".onnx"])
@pytest.mark.parametrize(("context", "claim"), [("exact", "exact"), ("mp", "refined"), ("float64", "approximate")])
def test_files_in_every_context(capsys, suffix, context, claim):
    save_network(he((5, 6, 2), 1), Path(f"net{suffix}"))
    found = report(capsys, f"net{suffix}", *FEW, "--context", context, "--prec", 96, "--out", "run")
    assert (found["claim"], found["context"]) == (claim, context)
    assert found["prec"] == {"exact": None, "mp": 96, "float64": 53}[context]
    certificate = certify(read_exact(Path("run/exact.json")), he((5, 6, 2), 1).exact())
    assert certificate.max_relative_error <= {"exact": 0, "mp": 2.0**-86, "float64": 1e-6}[context]


def test_a_table_is_printed_without_json(capsys, small):
    """For people: the table on standard output, progress on standard error."""
    path, _ = small
    code, out, err = command(capsys, "extract", path, *FEW, "--out", "run")
    assert code == CLAIM_REACHED
    assert f"{path}: exact" in out
    for word in ("5-6-2", "search", "measure", "verify", "unique solution of the linear system", "run", "0 disagree"):
        assert word in out
    assert "Traceback" not in err


def test_a_budget_is_kept_and_what_was_found_is_saved(capsys, small):
    path, net = small
    whole = report(capsys, path, *FEW, "--out", "whole")
    asked = whole["queries"]["search"] + whole["queries"]["measure"] + 6
    found = report(capsys, path, *FEW, "--max-queries", asked, "--out", "run", code=INCOMPLETE)
    assert (found["claim"], found["outcome"]) == ("incomplete", "budget_spent")
    assert found["queries"]["total"] <= asked and any("--max-queries" in s for s in found["not_resolved"])
    # Everything was measured, only not verified.
    assert certify(read_exact(Path("run/exact.json")), net).verdict == "identical"
    code, out, _ = command(capsys, "extract", path, *FEW, "--max-queries", asked, "--out", "run")
    assert code == INCOMPLETE and "incomplete" in out and "budget is spent" in " ".join(out.split())


def test_deeper_networks_are_read_in_the_exact_context(capsys):
    save_network(he((6, 8, 6, 1), 0, bias_std=0.5), Path("deep.npz"))
    found = report(capsys, "deep.npz", *FEW)
    assert (found["claim"], found["outcome"], found["widths"]) == ("exact", "complete", [6, 8, 6, 1])


def test_deeper_networks_are_read_to_many_bits(capsys):
    save_network(he((6, 8, 6, 1), 0, bias_std=0.5), Path("deep.npz"))
    found = report(capsys, "deep.npz", *FEW, "--context", "mp", "--prec", "200")
    assert (found["claim"], found["outcome"], found["widths"]) == ("refined", "complete", [6, 8, 6, 1])
    assert found["accuracy_bits"] >= 100


def test_the_seed_decides_every_query(capsys, small):
    path, _ = small
    counts = [report(capsys, path, *FEW, "--seed", seed)["queries"] for seed in (1, 1, 2)]
    assert counts[0] == counts[1] != counts[2]


def test_resolution_and_packing_are_passed_on(capsys, small):
    path, _ = small
    assert report(capsys, path, *FEW, "--resolution", 99)["resolution"]["kinks_apart"] == "2^-99"
    plain, packed = (report(capsys, path, *FEW, "--pack", n)["queries"]["measure"] for n in (1, 8))
    assert packed < plain


# --- oracles of one's own


@pytest.mark.parametrize(
    ("name", "context"), [("exact", "exact"), ("made", "exact"), ("exact", "mp"), ("doubles", "float64")]
)
def test_module_and_callable(capsys, oracles, name, context):
    found = report(capsys, f"{oracles}:{name}", "--context", context, *FEW)
    assert found["claim"] != "incomplete" and found["widths"] == [2, 1 if name == "doubles" else 2, 1]
    assert Path(f"jaxtract-runs/{oracles}.{name}-{context}-seed0/report.json").exists()


def test_an_oracle_that_fails_keeps_what_was_found(capsys, oracles):
    code, out, err = command(
        capsys, "extract", f"{oracles}:nan_far_out", "--context", "float64", "--out", "run", "--json"
    )
    assert code == BAD_INPUT and out == ""
    assert "is [nan]; an oracle must answer every finite point" in err  # brackets are no markup
    saved = json.loads(Path("run/report.json").read_text())
    assert (saved["claim"], saved["outcome"]) == ("incomplete", "oracle_failed") and saved["queries"]["total"] > 0


# --- bad input: exit code 2, one line on standard error, nothing on standard output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "'nothing' is neither a built-in name (breast-cancer"),
        (["missing.npz"], "target missing.npz does not exist"),
        (["empty.npz"], "empty.npz"),
        (["no_such_module_here:f"], "cannot import 'no_such_module_here'"),
        (["{oracles}:nobody"], "has no 'nobody'"),
        (["{oracles}:number"], "gave a int; it must be an Oracle"),
        (["{oracles}:no_oracle"], "gave a int; it must be an Oracle"),
        (["{oracles}:doubles"], "answers in float64, which the exact context cannot use"),
        (["digits", "--context", "mp", "--prec", "8"], "prec is 8 bits"),
        (["digits", "--out", "a-file/run"], "a-file"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_bad_targets(capsys, oracles, arguments, message):
    Path("empty.npz").write_bytes(b"")
    Path("a-file").write_text("")
    code, out, err = command(capsys, "extract", *(a.format(oracles=oracles) for a in arguments), "--json")
    assert (code, out) == (BAD_INPUT, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["extract"],
        ["extract", "digits", "--context", "float32"],
        ["extract", "digits", "--max-queries", "0"],
        ["extract", "digits", "--max-queries", "many"],
        ["extract", "digits", "--seed", "-1"],
        ["extract", "digits", "--resolution", "0"],
        ["extract", "digits", "--prec", "1.5"],
        ["invent", "digits"],
        ["certify", "digits"],
    ],
    ids=" ".join,
)
def test_bad_options(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    printed = capsys.readouterr()
    assert stopped.value.code == BAD_INPUT
    assert printed.out == "" and "usage: jaxtract" in printed.err


# --- certify


def test_certify_says_identical(capsys, small):
    """A run, its exact.json, its float64 file and the original: one function."""
    path, _ = small
    report(capsys, path, *FEW, "--out", "run")
    for recovered in ("run", "run/exact.json", "run/network.npz", path):
        code, out, err = command(capsys, "certify", recovered, path, "--json")
        found = json.loads(out)
        assert (code, err) == (CLAIM_REACHED, "")
        assert {"verdict", "max_relative_error", "matched", "unmatched"} <= set(found)
        assert (found["verdict"], found["max_relative_error"]) == ("identical", 0.0)
        assert (found["matched"], found["unmatched"]) == (6, 0)


def test_certify_says_different_and_where(capsys, small):
    path, net = small
    save_network(he((5, 6, 2), 9), Path("other.npz"))
    code, out, _ = command(capsys, "certify", path, "other.npz", "--json")
    found = json.loads(out)
    assert code == INCOMPLETE and found["verdict"] == "different" and found["unmatched"] > 0
    point = [Fraction(x) for x in found["witness"]["point"]]
    assert net(point) != he((5, 6, 2), 9).exact()(point)
    code, out, _ = command(capsys, "certify", path, "other.npz")
    assert code == INCOMPLETE and "different" in out


def test_certify_of_rounded_runs_gives_the_error(capsys, small):
    path, _ = small
    report(capsys, path, *FEW, "--context", "mp", "--prec", 128, "--out", "run")
    _, out, _ = command(capsys, "certify", "run", path, "--json")
    assert 0 < json.loads(out)["max_relative_error"] < 2.0**-118
    assert json.loads(out)["matched"] == 6


@pytest.mark.parametrize(
    ("recovered", "reference", "message"),
    [
        ("digits", "diabetes", "recovered maps 64 inputs to 10 outputs, reference 10 to 1"),
        ("digits", "nowhere", "nowhere does not exist"),
        ("folder", "digits", "folder holds no exact.json"),
    ],
)
def test_certify_bad_input(capsys, recovered, reference, message):
    Path("folder").mkdir()
    code, out, err = command(capsys, "certify", recovered, reference, "--json")
    assert (code, out) == (BAD_INPUT, "") and message in err


# --- targets, version, the installed command


def test_targets_are_listed(capsys):
    code, out, _ = command(capsys, "targets", "--json")
    found = json.loads(out)
    assert code == CLAIM_REACHED and set(found) == set(targets())
    assert all(found[name]["widths"] == list(load_target(name).widths) for name in found)
    _, table, _ = command(capsys, "targets")
    assert all(name in table for name in found)


def test_the_installed_command(small):
    """A process of its own: only JSON on standard output, the exit code, nothing on standard error."""
    path, _ = small
    script = Path(sys.executable).with_name("jaxtract")
    run = subprocess.run([script, "extract", path, *FEW, "--json"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (CLAIM_REACHED, "")
    assert json.loads(run.stdout)["claim"] == "exact"
    wrong = subprocess.run([script, "extract", "nothing"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (BAD_INPUT, "") and "Traceback" not in wrong.stderr
