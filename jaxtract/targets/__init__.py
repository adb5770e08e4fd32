"""Trained networks that come with the package: real targets for extraction.

They were trained by ``experiments/train_targets.py`` on data sets that scikit-learn ships; the weights are
stored in float64, bit for bit, as ``.npz`` in ``jaxtract/targets/data``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from importlib import resources

from jaxtract.network.files import load_npz
from jaxtract.network.relu_network import ReLUNetwork


@dataclasses.dataclass(frozen=True)
class Target:
    """One trained network.

    Attributes:
        name: what ``load_target`` takes.
        description: data set, inputs, outputs, and how well the network does on held-out data.
        loader: gives the network, float64.
        widths: (inputs, hidden widths ..., outputs).
    """

    name: str
    description: str
    loader: Callable[[], ReLUNetwork]
    widths: tuple[int, ...]

    @property
    def hidden_layers(self) -> int:
        return len(self.widths) - 2

    @property
    def one_hidden_layer(self) -> bool:
        return self.hidden_layers == 1


def targets() -> dict[str, Target]:
    """All targets by name."""
    return {
        name: Target(name, description, functools.partial(_load, name), widths)
        for name, description, widths in _TARGETS
    }


def load_target(name: str) -> ReLUNetwork:
    """The trained network of that name, in float64.

    Raises:
        ValueError: there is no such target; names those that there are.
    """
    known = targets()
    if name not in known:
        raise ValueError(f"no target named {name!r}; there are {', '.join(sorted(known))}")
    return known[name].loader()


def _load(name: str) -> ReLUNetwork:
    with resources.as_file(resources.files("jaxtract.targets") / "data" / f"{name}.npz") as path:
        return load_npz(path)


_DIGITS = "handwritten digits, 8x8 pixels in [0, 1] to 10 logits (scikit-learn load_digits)"

_TARGETS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("digits", f"{_DIGITS}; held-out accuracy 0.973", (64, 32, 10)),
    ("digits-deep", f"{_DIGITS}, two hidden layers; held-out accuracy 0.971", (64, 32, 16, 10)),
    (
        "digits-conv",
        f"{_DIGITS}, convolutions 3x3 (1 to 4 channels, stride 2, padding 1) and 2x2 (4 to 8, stride 2) as matrices, "
        "then a dense layer; held-out accuracy 0.960",
        (64, 64, 32, 10),
    ),
    ("digits-eight", f"{_DIGITS}, eight hidden layers; held-out accuracy 0.958", (64, *(16,) * 8, 10)),
    (
        "diabetes",
        "disease progression from 10 standardised inputs (scikit-learn load_diabetes); held-out R^2 0.422",
        (10, 20, 1),
    ),
    (
        "breast-cancer",
        "malignant or benign from 30 standardised inputs, one logit (scikit-learn load_breast_cancer); "
        "held-out accuracy 0.958",
        (30, 16, 1),
    ),
)
