"""The trained networks that come with the package."""

import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxtract.network.canonical import canonical_form
from jaxtract.network.files import load_network
from jaxtract.network.structure import structure_of
from jaxtract.targets import load_target, targets

NAMES = ["breast-cancer", "diabetes", "digits", "digits-conv", "digits-deep", "digits-eight"]


@functools.cache
def script():
    """The experiment as a module, found by its path: experiments are not installed."""
    path = Path(__file__).parents[1] / "experiments" / "train_targets.py"
    spec = importlib.util.spec_from_file_location("train_targets", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_the_registry():
    assert sorted(targets()) == NAMES
    deep = [name for name, target in sorted(targets().items()) if not target.one_hidden_layer]
    assert deep == ["digits-conv", "digits-deep", "digits-eight"]
    assert targets()["digits-eight"].hidden_layers == 8


@pytest.mark.parametrize("name", NAMES)
def test_targets_load_as_described(name):
    target = targets()[name]
    network = load_target(name)
    assert network.widths == target.widths
    assert target.name == name and "held-out" in target.description
    # Every hidden neuron counts: none is a constant, a duplicate or without output.
    assert canonical_form(network.exact()).widths == target.widths
    # Weights that training has let decay to nothing make a strange target.
    # Outside of its kernels a convolution is zero.
    sizes = [np.abs(np.asarray(weight)) for weight in network.weights]
    assert min(float(size[size > 0].min()) for size in sizes) > 1e-6
    assert all((size > 0).all() for size in sizes) or name == "digits-conv"


def test_the_convolutional_target_shares_its_weights():
    first, second = structure_of(load_target("digits-conv").exact()).convolutions
    assert (first.kernel, first.stride, first.padding) == ((3, 3), (2, 2), (1, 1))
    assert (first.input, first.output, first.weights) == ((1, 8, 8), (4, 4, 4), 40)
    assert (second.kernel, second.stride, second.padding) == ((2, 2), (2, 2), (0, 0))
    assert (second.input, second.output, second.weights) == ((4, 4, 4), (8, 2, 2), 136)


def test_unknown_targets_are_named():
    with pytest.raises(ValueError, match="no target named 'mnist'; there are breast-cancer, diabetes"):
        load_target("mnist")


@pytest.mark.parametrize("name", NAMES)
def test_stored_targets_score_what_the_description_says(name):
    """Rounded to three digits; where data or split of another scikit-learn differ, this is the place to see it."""
    pytest.importorskip("sklearn")
    training = script()
    recipe = training.RECIPES[name]
    _, x, _, y = training.held_out(recipe)
    score = training.score(load_target(name), x, y, classes=recipe.classes)
    assert targets()[name].description.endswith(f" {score:.3f}")


def test_the_script_runs_small(tmp_path, capsys):
    pytest.importorskip("sklearn")
    training = script()
    training.main(["--small", "--out", str(tmp_path)])
    assert sorted(path.stem for path in tmp_path.iterdir()) == NAMES == sorted(training.RECIPES)
    assert all(load_network(path).widths == targets()[path.stem].widths for path in tmp_path.iterdir())
    assert capsys.readouterr().out.count("\n") == 1 + len(NAMES)
