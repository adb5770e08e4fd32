"""Training the targets that come with the package.

Question
    Extraction is easy to show on random weights. Which trained networks can everybody use as targets,
    without a download, and do they really do what they were trained for?

Set-up
    scikit-learn's MLPClassifier and MLPRegressor (ReLU, float64, Adam) on data sets that scikit-learn ships
    itself: load_digits (1,797 images of 8 x 8 pixels, scaled from 0..16 to [0, 1]), load_diabetes (442 rows,
    inputs and target standardised) and load_breast_cancer (569 rows, inputs standardised). digits-conv is
    trained by JAX (convolutions, Adam, cross-entropy) and stored as matrices. One quarter is
    held out (stratified for the classifiers) and scored below. Classifiers are stored up to their logits:
    no softmax, no sigmoid. Standardisation uses the training rows only and is not part of the network.

Seed
    Fixed per target in ``RECIPES``: it draws the split, the initial weights and the mini-batches. The files
    in ``jaxtract/targets/data`` hold the weights bit for bit; another release of NumPy or scikit-learn may
    train to other last bits, so the stored files are the targets, not this script's next run.

Result (scikit-learn 1.9.1, NumPy 2.4.6, JAX 0.10.2; 15 s on one core)
    target          widths                             parameters   held-out score
    digits          64-32-10                                 2410   accuracy 0.973
    digits-deep     64-32-16-10                              2778   accuracy 0.971
    digits-conv     64-64-32-10, two convolutions            6570   accuracy 0.960
    digits-eight    64-16-16-16-16-16-16-16-16-10            3114   accuracy 0.958
    diabetes        10-20-1                                   241   R^2 0.422
    breast-cancer   30-16-1                                   513   accuracy 0.958

Conclusion
    All six learn. The digits networks, the one with eight hidden layers too, are far above the 0.1 of
    guessing; breast-cancer is above the 0.63 of the larger class; diabetes, where a linear regression has
    R^2 0.444 on the same split, is as good as these data allow, and no better for its kinks.

    Two things to know about them. The seed of digits-eight is the best of three (0.924, 0.931, 0.958), so
    its score is a little flattered. And the digits networks are trained without the L2 term: with it, the
    weights of the pixels that are always black, and of neurons that are never on, decay to 1e-168 and, at
    eight layers, 1e-266, which makes a strange target. Without it the smallest |weight| is about 1e-5. A few
    of their neurons are off on all training images (5 of 32 in digits); other inputs switch them on.

Run with ``python -m experiments.train_targets [--small] [--out FOLDER]``. ``--small`` trains for three epochs
and checks the path from data to file; its scores mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from jaxtract.network.files import load_npz, save_npz
from jaxtract.network.relu_network import ReLUNetwork

HELD_OUT = 0.25
SMALL_EPOCHS = 3
BATCH = 32
"""Training rows per step."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A convolution with square kernels; ``padding`` is above and to the left, and as much as fits below."""

    channels: int
    size: int
    stride: int
    padding: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one target is trained; ``hidden`` are the hidden widths, ``penalty`` is the L2 term alpha.

    With ``kernels`` the hidden layers are these convolutions over a square image, and JAX trains them.
    """

    data: Callable[..., tuple[np.ndarray, np.ndarray]]
    classes: bool
    hidden: tuple[int, ...]
    epochs: int
    seed: int
    penalty: float = 0.0
    rate: float = 1e-3
    divisor: float | None = None
    kernels: tuple[Kernel, ...] = ()


RECIPES = {
    "digits": Recipe(load_digits, True, (32,), 100, 1, divisor=16.0),
    "digits-deep": Recipe(load_digits, True, (32, 16), 100, 1, divisor=16.0),
    "digits-conv": Recipe(
        load_digits, True, (64, 32), 60, 1, rate=3e-3, divisor=16.0, kernels=(Kernel(4, 3, 2, 1), Kernel(8, 2, 2, 0))
    ),
    "digits-eight": Recipe(load_digits, True, (16,) * 8, 200, 3, divisor=16.0),
    "diabetes": Recipe(load_diabetes, False, (20,), 60, 1, penalty=1.0),
    "breast-cancer": Recipe(load_breast_cancer, True, (16,), 100, 1, penalty=1e-1),
}


def train(recipe: Recipe, *, small: bool = False) -> tuple[ReLUNetwork, float]:
    """The trained network and its score on the held-out rows (accuracy, or R^2 for a regression)."""
    train_x, test_x, train_y, test_y = held_out(recipe)
    if recipe.kernels:
        network = train_convolution(recipe, train_x, train_y, epochs=SMALL_EPOCHS if small else recipe.epochs)
        return network, score(network, test_x, test_y, classes=recipe.classes)
    kind = MLPClassifier if recipe.classes else MLPRegressor
    model = kind(
        hidden_layer_sizes=recipe.hidden,
        activation="relu",
        alpha=recipe.penalty,
        learning_rate_init=recipe.rate,
        batch_size=BATCH,
        max_iter=SMALL_EPOCHS if small else recipe.epochs,
        random_state=recipe.seed,
        tol=0.0,
        n_iter_no_change=recipe.epochs,
    )
    with warnings.catch_warnings():
        # A fixed number of epochs is the recipe; that the loss might fall further is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x, train_y)
    network = ReLUNetwork([weight.T for weight in model.coefs_], model.intercepts_)
    return network, score(network, test_x, test_y, classes=recipe.classes)


def train_convolution(recipe: Recipe, x: np.ndarray, y: np.ndarray, *, epochs: int) -> ReLUNetwork:
    """Convolutions, then a dense layer, trained by Adam on the cross-entropy; returned as matrices."""
    rng = np.random.default_rng(recipe.seed)
    side = int(np.sqrt(x.shape[1]))
    shapes = image_shapes(recipe, side)
    fans = [before[0] * kernel.size**2 for before, kernel in zip(shapes[:-1], recipe.kernels, strict=True)]
    parameters = [
        (rng.standard_normal((k.channels, before[0], k.size, k.size)) * np.sqrt(2 / fan), np.zeros(k.channels))
        for k, before, fan in zip(recipe.kernels, shapes[:-1], fans, strict=True)
    ]
    features, classes = int(np.prod(shapes[-1])), len(np.unique(y))
    parameters.append((rng.standard_normal((classes, features)) / np.sqrt(features), np.zeros(classes)))

    def loss(given, points, labels):
        states = points.reshape(-1, *shapes[0])
        for kernel, shape, (weight, bias) in zip(recipe.kernels, shapes[1:], given[:-1], strict=True):
            room = [(kernel.padding, kernel.size)] * 2
            states = jax.lax.conv_general_dilated(states, weight, (kernel.stride,) * 2, room)
            states = jax.nn.relu(states[:, :, : shape[1], : shape[2]] + bias[:, None, None])
        weight, bias = given[-1]
        chances = jax.nn.log_softmax(states.reshape(len(points), -1) @ weight.T + bias)
        return -jnp.mean(chances[jnp.arange(len(labels)), labels])

    def step(state, batch):
        given, mean, square, count = state
        gradient = jax.grad(loss)(given, x[batch], y[batch])
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)
        rates = recipe.rate / (1 - 0.9**count), 1 - 0.999**count
        given = jax.tree.map(lambda p, m, v: p - rates[0] * m / (jnp.sqrt(v / rates[1]) + 1e-8), given, mean, square)
        return (given, mean, square, count + 1), None

    size = len(x) // BATCH * BATCH
    batches = np.concatenate([rng.permutation(len(x))[:size].reshape(-1, BATCH) for _ in range(epochs)])
    zeros = jax.tree.map(np.zeros_like, parameters)
    x, y = jnp.asarray(x), jnp.asarray(y)
    (trained, *_), _ = jax.lax.scan(step, (parameters, zeros, zeros, 1.0), jnp.asarray(batches))
    layers = [
        as_matrix(np.asarray(weight), np.asarray(bias), kernel, before, after)
        for kernel, (weight, bias), before, after in zip(
            recipe.kernels, trained[:-1], shapes[:-1], shapes[1:], strict=True
        )
    ]
    layers.append((np.asarray(trained[-1][0]), np.asarray(trained[-1][1])))
    return ReLUNetwork([weight for weight, _ in layers], [bias for _, bias in layers])


def image_shapes(recipe: Recipe, side: int) -> list[tuple[int, int, int]]:
    """(channels, height, width) before and behind every convolution; as many places as ``hidden`` says."""
    shapes = [(1, side, side)]
    for kernel, width in zip(recipe.kernels, recipe.hidden, strict=True):
        side = int(np.sqrt(width // kernel.channels))
        shapes.append((kernel.channels, side, side))
    return shapes


def as_matrix(
    weight: np.ndarray, bias: np.ndarray, kernel: Kernel, before: tuple[int, int, int], after: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, bias) of a convolution between flattened images."""
    matrix = np.zeros((*after, *before))
    for i, j, u, v in np.ndindex(*after[1:], kernel.size, kernel.size):
        row, column = i * kernel.stride + u - kernel.padding, j * kernel.stride + v - kernel.padding
        if 0 <= row < before[1] and 0 <= column < before[2]:
            matrix[:, i, j, :, row, column] = weight[:, :, u, v]
    return matrix.reshape(int(np.prod(after)), -1), np.repeat(bias, after[1] * after[2])


def held_out(recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y = recipe.data(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=HELD_OUT, random_state=recipe.seed, stratify=y if recipe.classes else None
    )
    if recipe.divisor is not None:
        return train_x / recipe.divisor, test_x / recipe.divisor, train_y, test_y
    train_x, test_x = _standardised(train_x, test_x)
    if not recipe.classes:
        train_y, test_y = _standardised(train_y, test_y)
    return train_x, test_x, train_y, test_y


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / deviation, (test - mean) / deviation


def score(network: ReLUNetwork, x: np.ndarray, y: np.ndarray, *, classes: bool) -> float:
    """Scored through the network that is stored, not through scikit-learn's own forward pass."""
    outputs = np.asarray(network(x))
    if not classes:
        return float(1 - np.sum((outputs[:, 0] - y) ** 2) / np.sum((y - y.mean()) ** 2))
    predicted = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
    return float(np.mean(predicted == y))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the targets of jaxtract/targets and print their scores.")
    parser.add_argument("--small", action="store_true", help="three epochs each, to check the path only")
    parser.add_argument("--out", type=Path, help="folder for the .npz files (default: a temporary one)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'target':<15}{'widths':<35}{'parameters':>10}  {'score':<10}  bytes")
        for name, recipe in RECIPES.items():
            network, achieved = train(recipe, small=options.small)
            path = folder / f"{name}.npz"
            save_npz(network, path)
            assert load_npz(path).exact() == network.exact()
            widths = "-".join(str(width) for width in network.widths)
            measure = "accuracy" if recipe.classes else "R^2"
            print(f"{name:<15}{widths:<35}{network.parameters:>10}  {measure} {achieved:.3f}  {path.stat().st_size}")


if __name__ == "__main__":
    main()
