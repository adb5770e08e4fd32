"""``jaxtract experiment``: run one of the documents and leave a page with its tables and pictures."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxtract.cli.exit_codes import CLAIM_REACHED, INCOMPLETE
from jaxtract.pictures.page import MEDIA, blocks, page
from jaxtract.report.report import versions

EXPERIMENT_HELP = """\
Run one of the documents that come with jaxtract: a question, the claim of a paper, a set-up, and the measuring code.
DIR/index.html holds its header, the tables and pictures of this run, command and versions, in one file. Full runs take
minutes; --small shows in seconds what they do. What stands behind -- goes to the document.

examples:
  jaxtract experiment --list
  jaxtract experiment daniely_granot --small
  jaxtract experiment rolnick_koerding --out pages/rk -- --only 10-10-10-1

exit code: 0 done; 1 the document failed, what it printed is in the page; 2 bad input."""

PAGE = "index.html"

COLUMNS = 200
"""Characters of a line that the document may print: its tables should not be broken."""


@dataclasses.dataclass(frozen=True)
class Document:
    """A file in ``experiments/``: its header is its docstring."""

    name: str
    path: Path
    header: str

    @property
    def question(self) -> str:
        return " ".join(self.header.split("\n\n")[0].removeprefix("Question:").split())


def add_experiment(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    parser = commands.add_parser(
        "experiment",
        help="run a document of experiments and leave a page",
        description=EXPERIMENT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_experiment)
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the document")
    parser.add_argument("--list", action="store_true", help="list the documents with their questions")
    parser.add_argument("--small", action="store_true", help="a few small networks: seconds")
    parser.add_argument("--out", metavar="DIR", help="where the page goes (default jaxtract-experiments/NAME)")
    parser.usage = "%(prog)s [-h] [--list] [--small] [--out DIR] [NAME] [-- OPTIONS OF THE DOCUMENT]"


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before ``--``, and behind it the options of the document, which argparse must not see."""
    given = list(arguments)
    cut = given.index("--") if given[:1] == ["experiment"] and "--" in given else len(given)
    return given[:cut], given[cut + 1 :]


def documents() -> dict[str, Document]:
    """All documents by name.

    Raises:
        ValueError: there are none: the package was copied without them.
    """
    package = Path(__file__).parents[1]
    # An installed package has them inside, a checkout beside it.
    folders = [place for place in (package / "experiments", package.parent / "experiments") if place.is_dir()]
    found = {}
    for path in sorted(folders[0].glob("*.py")) if folders else []:
        header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if header:
            found[path.stem] = Document(path.stem, path, header)
    if not found:
        raise ValueError(f"no documents beside or inside {package}; install jaxtract with its experiments")
    return found


def _experiment(options: argparse.Namespace, command: list[str]) -> int:
    known = documents()
    if options.list:
        table = Table("document", "question", title="experiments", title_justify="left")
        for document in known.values():
            table.add_row(document.name, document.question)
        Console().print(table)
        return CLAIM_REACHED
    if options.name not in known:
        said = "say which" if options.name is None else f"there is no experiment {options.name!r}"
        raise ValueError(f"{said}: {', '.join(known)}")
    document = known[options.name]
    directory = Path(options.out or Path("jaxtract-experiments") / (options.name + "-small" * options.small))
    directory.mkdir(parents=True, exist_ok=True)
    before = _pictures(directory)
    _, own = split_options(command[1:])
    arguments = [*(["--small"] if options.small else []), "--out", str(directory), *own]
    begun = time.perf_counter()
    code, printed = _run(document.path, arguments)
    facts = {
        "command": shlex.join(command),
        "seconds": f"{time.perf_counter() - begun:.0f}, on {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        **({} if code == 0 else {"ended early": f"exit code {code}; what was printed before is below"}),
    }
    made = [path for path, stamp in _pictures(directory).items() if before.get(path) != stamp]
    text = page(document.name, document.header, facts, blocks(printed), made)
    (directory / PAGE).write_text(text, encoding="utf-8")
    print(f"page: {directory / PAGE}")
    return CLAIM_REACHED if code == 0 else INCOMPLETE


def _run(path: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard output of a document in a process of its own; the output is passed on as it comes."""
    settings = {"COLUMNS": str(COLUMNS), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"} | settings
    lines = []
    # -P: a document must not hide the modules that it imports, as precision.py would hide the package of that name.
    command = [sys.executable, "-P", str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def _pictures(directory: Path) -> dict[Path, tuple[int, int]]:
    """Pictures in a folder, with what changes when one is written again."""
    files = sorted(path for path in directory.iterdir() if path.suffix in MEDIA)
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
