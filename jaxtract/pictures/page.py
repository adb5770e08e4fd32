"""One page of HTML that holds an experiment: header, figures of the run, tables, pictures; nothing is loaded."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
"""Pictures that a page can hold."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-family: ui-monospace, monospace; } pre { overflow-x: auto; background: #f6f6f6; padding: .8rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; display: block; overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #eee; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; }
"""


@dataclasses.dataclass(frozen=True)
class PrintedTable:
    """A table as it was printed: names of the columns, and rows of as many cells."""

    columns: list[str]
    rows: list[list[str]]


def blocks(text: str) -> list[str | PrintedTable]:
    """What a document printed, parted into text and the tables that Rich drew with its usual box."""
    found: list[str | PrintedTable] = []
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("┏"):
            found += ["\n".join(lines)]
            lines = []
        lines.append(line)
        if line.strip().startswith("└") and lines[0].strip().startswith("┏"):
            found += [_table(lines)]
            lines = []
    found += ["\n".join(lines)]
    return [block for block in found if isinstance(block, PrintedTable) or block.strip()]


def _table(lines: Sequence[str]) -> PrintedTable:
    columns = _joined([_cells(line, "┃") for line in lines if line.strip().startswith("┃")])
    rows: list[list[str]] = []
    for line in lines:
        cells = _cells(line, "│") if line.strip().startswith("│") else []
        if cells and rows and not cells[0]:
            rows[-1] = _joined([rows[-1], cells])  # a cell that was too long goes on in the next line
        elif cells:
            rows.append(cells)
    return PrintedTable(columns, rows)


def _cells(line: str, bar: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip(bar).split(bar)]


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    return [" ".join(part for part in cells if part) for cells in zip(*rows, strict=True)]


def page(
    name: str, header: str, facts: Mapping[str, str], printed: Sequence[str | PrintedTable], pictures: Sequence[Path]
) -> str:
    """The page.

    Args:
        name: of the document.
        header: its docstring: paragraphs, indented ones as they stand.
        facts: of this run: command, versions, time.
        printed: see ``blocks``.
        pictures: files whose ending is in ``MEDIA``.

    Raises:
        OSError: a picture cannot be read.
    """
    parts = [f"<h1>{html.escape(name)}</h1>", *_paragraphs(header), "<h2>This run</h2>", _facts(facts)]
    parts += [_html(block) for block in printed]
    parts += [_picture(path) for path in pictures]
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(name)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _paragraphs(header: str) -> list[str]:
    """Paragraphs with their first word (``Question:``) strong; what is indented keeps its lines."""
    found = []
    for paragraph in re.split(r"\n\s*\n", header):
        if paragraph.startswith(" ") or "\n    " in paragraph:
            found.append(f"<pre>{html.escape(paragraph)}</pre>")
        else:
            text = html.escape(" ".join(paragraph.split()))
            strong = re.sub("^([A-Z][^:.]{2,40}:)", r"<strong>\1</strong>", text)
            found.append(f"<p>{strong}</p>")
    return found


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


def _html(block: str | PrintedTable) -> str:
    if isinstance(block, str):
        return f"<pre>{html.escape(block)}</pre>"
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.columns)
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in block.rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    title = html.escape(path.stem.replace("_", " "))
    source = f"data:{MEDIA[path.suffix]};base64,{data}"
    return f'<figure><img alt="{title}" src="{source}"><figcaption>{title}</figcaption></figure>'
