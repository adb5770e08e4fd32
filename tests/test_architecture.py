"""Who may import whom, read off the source: extraction sees an oracle and nothing else, precision stands alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("jaxtract", "precision", "experiments")

# Folders of jaxtract that hold no extraction code. Every other one, also one that does not exist yet, is held to
# the rules of extraction code.
NOT_EXTRACTION = {"network", "oracle", "report", "cli", "certificate", "targets", "evaluation", "pictures"}

# Where true weights are, or come from.
TRUTH = (
    "jaxtract.oracle.serve",
    "jaxtract.targets",
    "jaxtract.cli",
    "jaxtract.certificate",
    "jaxtract.network.files",
    "jaxtract.network.files_onnx",
    "jaxtract.network.exact_file",
    "jaxtract.network.families",
    "jaxtract.network.relu_network",
    "jaxtract.report.run_directory",
    "experiments",
)


def modules(root=ROOT, packages=PACKAGES):
    """{dotted name: file} of all source files."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree, name, known, *, is_package=False):
    """Full names that the source of module ``name`` imports, anywhere in it: function bodies and strings included.

    ``from a import b`` is the module a.b where there is one, and a with the name b otherwise. Importing a.b runs
    a/__init__ as well; so it counts.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                anchor = parts[: len(parts) - node.level + is_package]
                base = ".".join([*anchor, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in known)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "run_module"):
            names.update(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return names


def _called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


KNOWN = modules()
TREES = {name: _parse(path) for name, path in KNOWN.items()}
IMPORTS = {
    name: imported(tree, name, KNOWN, is_package=KNOWN[name].name == "__init__.py") for name, tree in TREES.items()
}


def paths_to(start, forbidden, imports, known, allowed=()):
    """Chains of imports from a module to what it must not reach, as dotted names joined by arrows.

    An import of a.b.c runs the packages a and a.b as well. The root package is exempt: ``jaxtract/__init__`` offers
    everything to users, and nothing inside the package may import from it (which another test holds).
    """
    chains, seen, queue = [], {start}, [(start,)]
    while queue:
        chain = queue.pop(0)
        for target in sorted(imports.get(chain[-1], ())):
            if any(_inside(target, name) for name in forbidden):
                chains.append(" -> ".join([*chain, target]))
            steps = {target, *(".".join(target.split(".")[:i]) for i in range(2, target.count(".") + 1))}
            for step in sorted(steps & set(known) - seen - set(allowed)):
                seen.add(step)
                queue.append((*chain, step))
    return chains


def _inside(module, package):
    return module == package or module.startswith(package + ".")


EXTRACTION = sorted(
    name for name in KNOWN if name.startswith("jaxtract.") and name.split(".")[1] not in NOT_EXTRACTION | {"_x64"}
)


def test_extraction_code_is_where_it_should_be():
    """The rules below hold for these folders, and for every folder that will be added."""
    assert {name.split(".")[1] for name in EXTRACTION} >= {"search", "measurement", "layers", "signs", "verification"}
    assert {path.name for path in (ROOT / "jaxtract").iterdir() if path.is_dir()} >= NOT_EXTRACTION


@pytest.mark.parametrize("module", EXTRACTION)
def test_extraction_never_reaches_the_truth(module):
    """No chain of imports leads from extraction code to a served network, a file, a family or a target."""
    # What an extraction returns holds a network of its own: ExactNetwork is a value, with no weights in it.
    assert paths_to(module, TRUTH, IMPORTS, KNOWN) == []


def test_truth_is_really_there():
    """The forbidden names exist, and the command line, which serves networks, is seen to reach them."""
    assert paths_to("jaxtract.cli.main", ("jaxtract.oracle.serve",), IMPORTS, KNOWN)
    for name in TRUTH:
        assert name in KNOWN or (ROOT / name.replace(".", "/")).is_dir(), name


@pytest.mark.parametrize("module", sorted(name for name in KNOWN if _inside(name, "precision")))
def test_precision_stands_alone(module):
    assert paths_to(module, ("jax", "jaxlib", "equinox", "jaxtyping", "jaxtract", "experiments"), IMPORTS, KNOWN) == []


@pytest.mark.parametrize("module", sorted(name for name in KNOWN if _inside(name, "jaxtract")))
def test_imports_run_one_way(module):
    """experiments -> jaxtract -> precision; the library does not import the tests, nor itself from its front door."""
    assert not [name for name in IMPORTS[module] if _inside(name, "experiments") or _inside(name, "tests")]
    assert "jaxtract" not in IMPORTS[module], "import from the module that defines a name, not from jaxtract"


def test_lower_folders_do_not_import_higher_ones():
    """The order of the README's map, for the folders of the flow of data."""
    order = [
        "network",
        "oracle",
        "search",
        "measurement",
        "signs",
        "verification",
        "equality",
        "layers",
        "certificate",
        "cli",
    ]
    for name, targets in IMPORTS.items():
        folder = name.split(".")[1] if name.count(".") else ""
        if not name.startswith("jaxtract.") or folder not in order:
            continue
        higher = {f"jaxtract.{other}" for other in order[order.index(folder) + 1 :]}
        assert not [t for t in targets if any(_inside(t, other) for other in higher)], name


@pytest.mark.parametrize("module", sorted(KNOWN))
def test_nothing_unpickles(module):
    """No pickle by any of its names, and numpy loads arrays of numbers only."""
    banned = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not {name.split(".")[0] for name in IMPORTS[module]} & banned
    assert unsafe_loads(TREES[module]) == []


def unsafe_loads(tree):
    """Lines of calls that may unpickle: allow_pickle other than False, numpy's load without it, eval and exec."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        pickled = [k for k in node.keywords if k.arg == "allow_pickle"]
        explicit = all(isinstance(k.value, ast.Constant) and k.value.value is False for k in pickled)
        numpy_load = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in ("np.load", "numpy.load")
        if not explicit or (numpy_load and not pickled) or ast.unparse(node.func) in ("eval", "exec"):
            lines.append(f"line {node.lineno}: {ast.unparse(node)}")
    return lines


@pytest.mark.parametrize("module", sorted(name for name in KNOWN if not _inside(name, "experiments")))
def test_the_library_is_silent_and_catches_by_name(module):
    """Prints are for the command line; an exception is caught by its own name, or caught and passed on."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call) and _called(node) == "print":
            assert _inside(module, "jaxtract.cli"), f"{module}: line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            passed_on = any(isinstance(inner, ast.Raise) for inner in node.body)
            assert not broad or passed_on, f"{module}: line {node.lineno}"


# --- the rules themselves are tried on small packages that break them


def small_package(folder, **files):
    """(known, imports) of a package written to a folder: names with __ for dots."""
    for name, source in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        for parent in path.relative_to(folder).parents:
            if parent.parts and not (folder / parent / "__init__.py").exists():
                (folder / parent / "__init__.py").write_text("")
    known = modules(folder, ("pack",))
    return known, {
        name: imported(_parse(path), name, known, is_package=path.name == "__init__.py") for name, path in known.items()
    }


@pytest.mark.parametrize(
    "source",
    [
        "import pack.truth",
        "from pack import truth",
        "from pack.truth import weights",
        "from . import truth",
        "from .truth import weights",
        "def f():\n    from pack.truth import weights",
        "import importlib\nimportlib.import_module('pack.truth')",
        "__import__('pack.truth')",
        "import pack.middle",
        "from pack.folder.leaf import x",
    ],
)
def test_every_way_to_import_is_seen(tmp_path, source):
    known, imports = small_package(
        tmp_path,
        pack__start=source,
        pack__truth="weights = 1",
        pack__middle="from pack.truth import weights",
        pack__folder__leaf="x = 1",
        pack__other="y = 2",
    )
    (tmp_path / "pack/folder/__init__.py").write_text("import pack.truth")
    imports["pack.folder"] = {"pack.truth"}
    assert paths_to("pack.start", ("pack.truth",), imports, known)
    assert paths_to("pack.other", ("pack.truth",), imports, known) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("np.load(f)", 1),
        ("np.load(f, allow_pickle=True)", 1),
        ("np.load(f, allow_pickle=flag)", 1),
        ("read_array(f, allow_pickle=True)", 1),
        ("eval('1')", 1),
        ("np.load(f, allow_pickle=False)", 0),
        ("json.load(f)", 0),
    ],
)
def test_unsafe_loads_are_seen(source, count):
    assert len(unsafe_loads(ast.parse(source))) == count
