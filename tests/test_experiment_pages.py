"""``jaxtract experiment``: documents found, run, and kept as one page; and the diagrams that documents draw."""

import base64
import io
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from rich.console import Console
from rich.table import Table

from jaxtract.cli import experiment
from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED, INCOMPLETE
from jaxtract.cli.main import main
from jaxtract.pictures.charts import exponent, growth, interval, rates, spread
from jaxtract.pictures.figures import save_figure
from jaxtract.pictures.page import PrintedTable, blocks, page

ROOT = Path(__file__).parents[1]

DOCUMENT = '''"""Question: does <this> & that hold?

Set-up: two lines
that are one paragraph.

    a table  of the header
    1        2
"""
import json, sys
from pathlib import Path
from rich.console import Console
from rich.table import Table

out = Table("case", "value < 1")
out.add_row("first", "0.5")
out.add_row("a & b", "-")
Console().print("before", out, "after")
print(json.dumps(sys.argv[1:]))
folder = Path(sys.argv[sys.argv.index("--out") + 1])
(folder / "law_of_growth.svg").write_text("<svg>a picture</svg>")
if "--fail" in sys.argv:
    raise ValueError("too bad")
'''


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A package with one document beside it, as a checkout has them; gives the package."""
    package = tmp_path / "place" / "package"
    (package / "cli").mkdir(parents=True)
    (package.parent / "experiments").mkdir()
    (package.parent / "experiments" / "law.py").write_text(DOCUMENT)
    monkeypatch.setattr(experiment, "__file__", str(package / "cli" / "experiment.py"))
    return package


def command(capfd, *arguments):
    """(exit code, standard output, standard error)."""
    capfd.readouterr()
    code = main(["experiment", *map(str, arguments)])
    printed = capfd.readouterr()
    return code, printed.out, printed.err


# --- the command


def test_a_document_leaves_one_page(made, capfd):
    Path("out").mkdir()
    Path("out/older.svg").write_text("<svg/>")
    code, out, _ = command(capfd, "law", "--small", "--out", "out", "--", "--seeds", "3")
    assert code == CLAIM_REACHED and "page: out/index.html" in out
    assert json.dumps(["--small", "--out", "out", "--seeds", "3"]) in out  # passed on as it comes
    text = Path("out/index.html").read_text()
    assert "<strong>Question:</strong> does &lt;this&gt; &amp; that hold?" in text
    assert "<strong>Set-up:</strong> two lines that are one paragraph." in text
    assert "<pre>    a table  of the header\n    1        2</pre>" in text
    assert "<th>case</th><th>value &lt; 1</th>" in text
    assert "<tr><td>first</td><td>0.5</td></tr><tr><td>a &amp; b</td><td>-</td></tr>" in text
    assert "jaxtract experiment law --small --out out -- --seeds 3" in text and "python-flint" in text
    # Its own picture, not the older one; inside the page, which loads nothing.
    (picture,) = re.findall('src="data:image/svg[+]xml;base64,([^"]*)"', text)
    assert base64.b64decode(picture) == b"<svg>a picture</svg>" and "law of growth" in text
    assert len(re.findall("src=|href=|url[(]", text)) == 1


def test_a_document_that_fails_keeps_what_it_printed(made, capfd):
    code, _, err = command(capfd, "law", "--", "--fail")
    text = Path("jaxtract-experiments/law/index.html").read_text()
    assert code == INCOMPLETE and "too bad" in err
    assert "ended early" in text and "<td>first</td>" in text


def test_documents_inside_the_package_come_first(made, capfd):
    (made / "experiments").mkdir()
    (made / "experiments" / "inside.py").write_text('"""Question: is it inside?"""')
    (made / "experiments" / "helper.py").write_text("x = 1")
    assert list(experiment.documents()) == ["inside"]
    code, out, _ = command(capfd, "--list")
    assert code == CLAIM_REACHED and "is it inside?" in out


def test_a_package_without_documents(made, capfd):
    (made.parent / "experiments" / "law.py").unlink()
    code, _, err = command(capfd, "law")
    assert code == BAD_INPUT and "no documents beside or inside" in err


@pytest.mark.parametrize(("arguments", "message"), [([], "say which: "), (["nothing"], "no experiment 'nothing': ")])
def test_no_such_experiment(capfd, arguments, message):
    code, out, err = command(capfd, *arguments)
    assert (code, out) == (BAD_INPUT, "") and message in err and "daniely_granot" in err


def test_every_file_is_a_document_and_the_wheel_has_them():
    known = experiment.documents()
    assert set(known) == {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert all(document.question and not document.question.startswith("Question") for document in known.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "experiments": "jaxtract/experiments"
    }


def test_a_real_document(capfd):
    """precision.py has the name of a package that it imports."""
    code, _, _ = command(capfd, "precision", "--small")
    text = Path("jaxtract-experiments/precision-small/index.html").read_text()
    assert code == CLAIM_REACHED
    assert "<th>widths</th>" in text and "<td>1 of 1</td>" in text and "data:image/svg+xml" in text


# --- tables as they are printed


def printed(*things, width=120):
    text = io.StringIO()
    Console(file=text, width=width).print(*things, sep="\n")
    return text.getvalue()


def test_tables_are_read_back():
    one, two = Table("a", "b c", title="the first"), Table("only")
    one.add_row("1", "")
    one.add_row("x", "2, 3")
    two.add_row("z")
    found = blocks(printed("said before", one, "between\nlines", two))
    assert [block if isinstance(block, PrintedTable) else block.split() for block in found] == [
        ["said", "before", "the", "first"],
        PrintedTable(["a", "b c"], [["1", ""], ["x", "2, 3"]]),
        ["between", "lines"],
        PrintedTable(["only"], [["z"]]),
    ]


def test_broken_cells_are_joined():
    table = Table("name", "some words")
    table.add_row("one", "these words do not fit on a line")
    table.add_row("two", "short")
    (found,) = blocks(printed(table, width=24))
    assert found == PrintedTable(
        ["name", "some words"], [["one", "these words do not fit on a line"], ["two", "short"]]
    )


def test_text_without_tables():
    assert blocks("one\n\ntwo\n") == ["one\n\ntwo"] and blocks(" \n") == []


def test_a_page_loads_nothing_and_escapes():
    text = page("<name>", "Question: a < b?", {"command": "x & y"}, ["<b>"], [])
    assert "<title>&lt;name&gt;</title>" in text and "a &lt; b?" in text and "x &amp; y" in text
    assert "<pre>&lt;b&gt;</pre>" in text and "<b>" not in text


# --- diagrams


def test_a_power_law_has_its_exponent():
    points = [(x, 3 * x**1.5) for x in (2, 5, 11, 40)]
    assert exponent(points) == pytest.approx(1.5)
    assert np.isnan(exponent(points[:1])) and np.isnan(exponent([]))


def test_growth_names_exponents(tmp_path):
    figure = growth({"law": [(1, 2), (10, 200)], "single": [(5, 5)]}, x="size", y="cost", proportional="as they come")
    save_figure(figure, tmp_path / "growth.svg")
    text = (tmp_path / "growth.svg").read_text()
    assert "law: exponent 2.00" in text and ">single<" in text and "as they come" in text


def test_intervals_hold_the_rate():
    """Clopper and Pearson: none of 20 is below 1 - 0.025^(1/20); both ends mirror each other."""
    assert interval(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)), abs=1e-6)
    low, high = interval(13, 20)
    assert low < 13 / 20 < high
    assert interval(7, 20) == pytest.approx((1 - high, 1 - low))


def test_rates_and_spreads_are_drawn():
    (axes,) = rates({"found": [(10, 19, 20), (20, 0, 20)]}, x="width", y="share").axes
    assert np.array_equal(axes.lines[0].get_ydata(), [0.95, 0.0])
    (bars,) = (artist for artist in axes.collections if isinstance(artist, LineCollection))
    ends = [np.asarray(segment)[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [pytest.approx(interval(19, 20)), pytest.approx(interval(0, 20))]
    (axes,) = spread({"layer 1": [(100, [0.0, 0.5, 1.0]), (200, [1.0, 1.0, 1.0])]}, x="queries", y="share").axes
    assert np.array_equal(axes.lines[0].get_ydata(), [0.5, 1.0])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert sorted({y for x, y in band.tolist() if x == 100}) == [0.25, 0.75]
