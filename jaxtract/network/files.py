"""Float64 networks in files: ``.npz`` (W0, b0, W1, b1, ...) and ``.onnx``. Pickle is never read."""

from __future__ import annotations

import os
import re
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxtract.network.relu_network import ReLUNetwork

_NAME = re.compile(r"([Wb])(0|[1-9][0-9]*)")
_SKIP = re.compile(r"S(0|[1-9][0-9]{0,3})_([1-9][0-9]{0,3})")
_CONVENTION = "expected arrays W0, b0, W1, b1, ... with s(x @ W0 + b0) the first layer"

# What NumPy and zipfile raise on damaged, encrypted, oversized or pickled members. A damaged .npy header is
# Python source to NumPy, which reports what its tokenizer or parser says.
_UNREADABLE = (
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_network(path: str | os.PathLike[str]) -> ReLUNetwork:
    """The network in a ``.npz`` or ``.onnx`` file; the format is told from the name.

    Raises:
        ValueError: another extension, or a file that does not hold a chain of dense layers with ReLU
            between them; says what was found and what to do.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return load_npz(path)
    if suffix == ".onnx":
        return _onnx().load_onnx(path)
    raise ValueError(_wrong_extension(path))


def save_network(network: ReLUNetwork, path: str | os.PathLike[str]) -> None:
    """Writes a ``.npz`` or ``.onnx`` file; reading it gives the same weights bit for bit.

    Raises:
        ValueError: another extension.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        save_npz(network, path)
    elif suffix == ".onnx":
        _onnx().save_onnx(network, path)
    else:
        raise ValueError(_wrong_extension(path))


def load_npz(path: str | os.PathLike[str]) -> ReLUNetwork:
    """A network from an ``.npz`` with W_l of shape (width_{l-1}, width_l), meaning x @ W_l + b_l.

    Skip connections are arrays Sk_t of shape (width of layer k, width of layer t): the activations of layer k, times
    Sk_t, are added before the ReLU of layer t, where layer 0 is the input and layer 1 is s(x @ W0 + b0).

    Raises:
        ValueError: not a zip, unreadable or pickled arrays, names or shapes that do not chain, numbers
            that are not real and finite.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError(f"{path} is empty; {_CONVENTION}")
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is not a .npz (a zip of arrays); save it with numpy.savez")
        file.seek(0)
        arrays = _arrays(path, file)
    skips = {
        (int(found[1]), int(found[2])): arrays.pop(name)
        for name in list(arrays)
        if (found := _SKIP.fullmatch(name)) is not None
    }
    layers = _layer_count(path, arrays)
    weights, biases = [], []
    for index in range(layers):
        weight, bias = arrays[f"W{index}"], arrays[f"b{index}"]
        _check_layer(path, index, weight, bias, weights[-1].shape[0] if weights else None)
        weights.append(weight.T)
        biases.append(bias)
    for (source, target), matrix in skips.items():
        _check_numbers(path, f"S{source}_{target}", matrix, 2)
    try:
        return ReLUNetwork(weights, biases, {place: matrix.T for place, matrix in skips.items()})
    except ValueError as error:  # 64-bit integers that no float64 holds are left for it to find
        raise ValueError(f"{path}: {error}") from error


def save_npz(network: ReLUNetwork, path: str | os.PathLike[str]) -> None:
    """Writes W_l of shape (width_{l-1}, width_l), b_l and skips Sk_t, in float64.

    Raises:
        ValueError: the name does not end in ``.npz`` (NumPy would add it without a word).
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"{path} does not end in .npz; give a name that does")
    arrays: dict[str, np.ndarray] = {}
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"W{index}"] = np.ascontiguousarray(np.asarray(weight).T)
        arrays[f"b{index}"] = np.asarray(bias)
    for (source, target), matrix in network.skips.items():
        arrays[f"S{source}_{target}"] = np.ascontiguousarray(np.asarray(matrix).T)
    with path.open("wb") as file:
        # The stub of savez takes allow_pickle among its keywords; these names never collide with it.
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def _arrays(path: Path, file: object) -> dict[str, np.ndarray]:
    name = ""
    try:
        with np.load(file, allow_pickle=False) as archive:  # pyright: ignore[reportArgumentType]
            arrays = {}
            for name in archive.files:
                arrays[name] = archive[name]
    except _UNREADABLE as error:
        where = f"array {name}" if name else "the archive"
        raise ValueError(
            f"{path}: {where} cannot be read ({error}); object arrays and pickle are refused, "
            f"save plain float64 arrays with numpy.savez"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: {name} is not an array in .npy format; {_CONVENTION}")
    return arrays


def _layer_count(path: Path, arrays: dict[str, np.ndarray]) -> int:
    unknown = sorted(name for name in arrays if not _NAME.fullmatch(name))
    if unknown or not arrays:
        found = f"found array {unknown[0]!r}" if unknown else "found no arrays"
        raise ValueError(f"{path}: {found}; {_CONVENTION}")
    layers = 1 + max(int(name[1:]) for name in arrays)
    # Not a loop over layers: a name like b999999999 must not cost that many steps.
    if len(arrays) != 2 * layers:
        missing = next(n for i in range(layers) for n in (f"W{i}", f"b{i}") if n not in arrays)
        raise ValueError(f"{path}: {missing} is missing (found {', '.join(sorted(arrays)[:12])}); {_CONVENTION}")
    return layers


def _check_layer(path: Path, index: int, weight: np.ndarray, bias: np.ndarray, fan_in: int | None) -> None:
    for name, array, dimensions in ((f"W{index}", weight, 2), (f"b{index}", bias, 1)):
        _check_numbers(path, name, array, dimensions)
    if fan_in is not None and weight.shape[0] != fan_in:
        raise ValueError(
            f"{path}: W{index} has shape {weight.shape} but layer {index - 1} gives {fan_in} numbers; "
            f"x @ W{index} needs {fan_in} rows (transpose it if rows are neurons)"
        )
    if bias.shape[0] != weight.shape[1]:
        raise ValueError(
            f"{path}: b{index} has shape {bias.shape} but W{index} of shape {weight.shape} gives "
            f"{weight.shape[1]} numbers; expected shape ({weight.shape[1]},)"
        )


def _check_numbers(path: Path, name: str, array: np.ndarray, dimensions: int) -> None:
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise ValueError(f"{path}: {name} has dtype {array.dtype}; save real numbers (float64, float32)")
    if array.ndim != dimensions:
        raise ValueError(f"{path}: {name} has shape {array.shape}; expected {dimensions} dimension(s), {_CONVENTION}")
    if not np.all(np.isfinite(array)):
        count = int(np.sum(~np.isfinite(array)))
        raise ValueError(f"{path}: {name} holds {count} NaN or infinite entries; a weight is a finite number")


def _wrong_extension(path: Path) -> str:
    hint = "; read exact.json with read_exact" if path.suffix.lower() == ".json" else ""
    return f"{path} ends in {path.suffix!r}; networks are read and written as .npz or .onnx{hint}"


def _onnx():
    # Importing onnx takes half a second, which .npz users need not wait for.
    from jaxtract.network import files_onnx

    return files_onnx
