"""From the finished intervals of a line search to kinks and slopes, with a check that nothing is missing.

Every piece between two neighbouring kinks is fitted again through the two farthest samples known to lie on it, and
the kinks are the intersections of these long pieces. The other samples of a piece must lie on it: if one does not,
structure was missed between the two kinks, and the gap is handed back to be searched again.
"""

import enum

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxtract.search.float64_intervals import CLUSTER, Intervals


class SearchResult(enum.Enum):
    """How a line search ended. The value is the message for the user."""

    successful = "Every interval was resolved into kinks and affine pieces."
    unresolved_clusters = (
        "Some intervals are shorter than the resolution, or explained by no single kink within the noise. They are "
        "listed in `clusters`. Try a smaller `resolution`, less noise, or measure them in the exact context."
    )
    query_limit_reached = (
        "The search stopped at `max_queries`; open intervals are listed in `clusters`. Raise `max_queries`; if the "
        "function is not piecewise linear at the noise level given, raise `noise`."
    )


class LineStructure(eqx.Module):
    """The affine pieces of one line."""

    kinks: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]
    slopes: Float[np.ndarray, "n_plus_1 m"]
    clusters: Float[np.ndarray, "c 2"]
    queries: int


class LineKinks(eqx.Module):
    """Kinks and slopes of many lines; line i owns `kinks[offsets[i]:offsets[i + 1]]`.

    Approximate (float64): a kink is placed to `errors`, two kinks nearer than that may be one, and a bump that begins
    and ends between two samples can be missed (see `cell_width`).

    **Fields:**

    - `offsets`: where each line begins in `kinks`. Line i has one more piece than kinks, so it begins at
        `offsets[i] + i` in `slopes`.
    - `kinks`: sorted line parameters t.
    - `errors`: bound on the error of each kink from the noise model, in units of t.
    - `slopes`: d/dt f(p + t v) of every piece, for every output.
    - `queries`: queries asked on each line.
    - `cluster_line`, `clusters`: intervals [a, b] that were not resolved, and their lines.
    - `cell_width`: every line was sampled at least this finely before anything was taken as affine.
    - `resolution`: intervals shorter than this were not searched, per line.
    - `noise`: relative noise of one answer that the tolerances were made from.
    - `noise_queries`: queries spent on estimating the noise (not in `queries`).
    - `result`: a `SearchResult`.
    """

    offsets: Int[np.ndarray, " lines_plus_1"]
    kinks: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]
    slopes: Float[np.ndarray, "pieces m"]
    queries: Int[np.ndarray, " lines"]
    cluster_line: Int[np.ndarray, " c"]
    clusters: Float[np.ndarray, "c 2"]
    cell_width: Float[np.ndarray, " lines"]
    resolution: Float[np.ndarray, " lines"]
    noise: float
    noise_queries: int
    result: SearchResult

    @property
    def counts(self) -> Int[np.ndarray, " lines"]:
        """Kinks per line."""
        return np.diff(self.offsets)

    @property
    def total_queries(self) -> int:
        return int(self.queries.sum()) + self.noise_queries

    def line(self, index: int) -> LineStructure:
        """The structure of one line."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return LineStructure(
            kinks=self.kinks[start:stop],
            errors=self.errors[start:stop],
            slopes=self.slopes[start + index : stop + index + 1],
            clusters=self.clusters[self.cluster_line == index],
            queries=int(self.queries[index]),
        )

    def padded(self) -> tuple[Float[np.ndarray, "lines k"], Float[np.ndarray, "lines k_plus_1 m"]]:
        """Kinks and slopes as rectangular arrays, NaN after each line's last kink and slope."""
        counts, lines = self.counts, len(self.counts)
        most = int(counts.max(initial=0))
        kinks = np.full((lines, most), np.nan)
        slopes = np.full((lines, most + 1, self.slopes.shape[1]), np.nan)
        kinks[np.arange(most) < counts[:, None]] = self.kinks
        slopes[np.arange(most + 1) <= counts[:, None]] = self.slopes
        return kinks, slopes


class Ends(eqx.Module):
    """The two ends of each line with a second sample near each, and what the search needs to know of the line."""

    left: Float[np.ndarray, " lines"]
    left_far: Float[np.ndarray, " lines"]
    right: Float[np.ndarray, " lines"]
    right_far: Float[np.ndarray, " lines"]
    left_value: Float[np.ndarray, "lines m"]
    left_far_value: Float[np.ndarray, "lines m"]
    right_value: Float[np.ndarray, "lines m"]
    right_far_value: Float[np.ndarray, "lines m"]
    scale: Float[np.ndarray, " lines"]
    resolution: Float[np.ndarray, " lines"]


class Assembly(eqx.Module):
    """Fitted kinks of all lines, and the gaps between them that do not fit."""

    offsets: Int[np.ndarray, " lines_plus_1"]
    kinks: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]
    slopes: Float[np.ndarray, "pieces m"]
    gaps: Intervals  # gaps with a sample off the fitted piece, as intervals to search again
    cluster_line: Int[np.ndarray, " c"]
    clusters: Float[np.ndarray, "c 2"]


def _sorted_by_position(records: Float[np.ndarray, "columns n"], ends: Ends) -> Float[np.ndarray, "columns n"]:
    """Sort packed intervals by line, then by their left end."""
    line, left = records[0], records[3]
    index = line.astype(np.int64)
    relative = (left - ends.left[index]) / (ends.right - ends.left)[index]
    # One float key sorts several times faster than two; where it cannot tell neighbours apart, sort by both.
    order = np.argsort(line + np.clip(relative, 0, 1) * (1 - 1e-12))
    by_line, by_left = line[order], left[order]
    if np.any((by_line[:-1] > by_line[1:]) | ((by_line[:-1] == by_line[1:]) & (by_left[:-1] > by_left[1:]))):
        order = np.lexsort((left, line))
    return np.take(records, order, axis=1)


def assemble(records: Float[np.ndarray, "columns n"], ends: Ends, noise: float) -> Assembly:
    """Fit the pieces of all lines. `records` are finished intervals in any order, packed by column; values and noise
    are in the normalised units of the search."""
    lines = len(ends.left)
    is_cluster = records[1] == CLUSTER
    clusters = records[:, is_cluster]
    ordered = _sorted_by_position(records[:, ~is_cluster] if is_cluster.any() else records, ends)
    leaf = Intervals.unpack(ordered.T)
    line = ordered[0].astype(np.int64)
    n = len(line)
    offsets = np.searchsorted(ordered[0], np.arange(lines + 1))

    # Piece k of line i has number offsets[i] + i + k: it starts after kink k - 1 (or the left end), ends at kink k.
    after = np.arange(n) + line + 1
    before = after - 1
    first = offsets[:-1] + np.arange(lines)
    last = offsets[1:] + np.arange(lines)

    def spread(of_leaf, of_end, leaf_at, end_at):
        out = np.empty((n + lines, *of_end.shape[1:]))
        out[leaf_at], out[end_at] = of_leaf, of_end
        return out

    a = spread(leaf.right, ends.left, after, first)
    a_value = spread(leaf.right_value, ends.left_value, after, first)
    a_far = spread(leaf.right_far, ends.left_far, after, first)
    a_far_value = spread(leaf.right_far_value, ends.left_far_value, after, first)
    b = spread(leaf.left, ends.right, before, last)
    b_value = spread(leaf.left_value, ends.right_value, before, last)
    b_far = spread(leaf.left_far, ends.right_far, before, last)
    b_far_value = spread(leaf.left_far_value, ends.right_far_value, before, last)
    piece_line = np.empty(n + lines, np.int64)
    piece_line[after], piece_line[first] = line, np.arange(lines)
    scale = ends.scale[piece_line]
    np.maximum.at(scale, before, leaf.scale)
    np.maximum.at(scale, after, leaf.scale)

    length = np.where(b > a, b - a, 1)
    slopes = (b_value - a_value) / length[:, None]
    unit = noise * scale

    def miss(sample, value, piece):
        return np.abs(value - a_value[piece] - slopes[piece] * (sample - a[piece])[:, None]).max(axis=1)

    every = np.arange(n + lines)
    bad: Bool[np.ndarray, " pieces"] = b <= a
    for t, value in ((a_far, a_far_value), (b_far, b_far_value)):
        inside = (t >= a) & (t <= b)
        bad |= inside & (miss(t, value, every) > 4 * unit)
        # The few samples beyond the next kink are held against the piece that they lie on.
        for k in np.flatnonzero(~inside):
            of_line = piece_line[k]
            start, stop = first[of_line], last[of_line] + 1
            owner = start + min(np.searchsorted(b[start:stop], t[k]), stop - start - 1)
            if a[owner] <= t[k]:
                bad[owner] |= (miss(t[k : k + 1], value[k : k + 1], np.array([owner])) > 4 * unit[owner])[0]

    jump = slopes[after] - slopes[before]
    gap = leaf.right_value - slopes[after] * (leaf.right - leaf.left)[:, None] - leaf.left_value
    square = np.maximum((jump**2).sum(axis=1), np.finfo(np.float64).tiny)
    kinks = leaf.left - (jump * gap).sum(axis=1) / square
    reach = np.maximum(leaf.right - leaf.left, 0)
    steep = np.sqrt(square)
    errors = 2 * unit[before] * (2 + reach / length[before] + reach / length[after]) / steep
    errors += 8 * np.finfo(np.float64).eps * np.maximum(np.abs(leaf.left), np.abs(leaf.right))
    kinks = np.clip(kinks, leaf.left, leaf.right)

    where = np.flatnonzero(bad)
    picked = {"left": a, "left_far": a_far, "right": b, "right_far": b_far, "scale": scale}
    picked |= {"left_value": a_value, "left_far_value": a_far_value}
    picked |= {"right_value": b_value, "right_far_value": b_far_value, "pending_value": np.zeros_like(a_value)}
    picked |= {"line": piece_line.astype(np.float64), "resolution": ends.resolution[piece_line]}
    picked |= {name: np.zeros(n + lines) for name in ("kind", "query", "pending")}
    gaps = Intervals(**{name: array[where] for name, array in picked.items()})
    return Assembly(
        offsets=offsets,
        kinks=kinks,
        errors=errors,
        slopes=slopes,
        gaps=gaps,
        cluster_line=clusters[0].astype(np.int64),
        clusters=clusters[[3, 5]].T,
    )


def splice(full: Assembly, part: Assembly, part_lines: Int[np.ndarray, " part"]) -> Assembly:
    """Replace some lines of an assembly by those of another; line i of `part` is line `part_lines[i]`."""
    lines = len(full.offsets) - 1
    old_line = np.repeat(np.arange(lines), np.diff(full.offsets))
    old_piece = np.repeat(np.arange(lines), np.diff(full.offsets) + 1)
    new_line = np.repeat(part_lines, np.diff(part.offsets))
    new_piece = np.repeat(part_lines, np.diff(part.offsets) + 1)
    replaced = np.zeros(lines, bool)
    replaced[part_lines] = True
    keep, keep_piece, keep_cluster = ~replaced[old_line], ~replaced[old_piece], ~replaced[full.cluster_line]
    order = np.argsort(np.concatenate([old_line[keep], new_line]), kind="stable")
    piece_order = np.argsort(np.concatenate([old_piece[keep_piece], new_piece]), kind="stable")
    counts = np.diff(full.offsets)
    counts[part_lines] = np.diff(part.offsets)
    gaps = eqx.tree_at(lambda g: g.line, part.gaps, part_lines[part.gaps.line.astype(np.int64)].astype(np.float64))
    return Assembly(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        kinks=np.concatenate([full.kinks[keep], part.kinks])[order],
        errors=np.concatenate([full.errors[keep], part.errors])[order],
        slopes=np.concatenate([full.slopes[keep_piece], part.slopes])[piece_order],
        gaps=gaps,
        cluster_line=np.concatenate([full.cluster_line[keep_cluster], part_lines[part.cluster_line]]),
        clusters=np.concatenate([full.clusters[keep_cluster], part.clusters]),
    )


def assemble_some(full: Assembly, records: list[Float[np.ndarray, "n columns"]], ends: Ends, noise: float) -> Assembly:
    """Assemble the lines of the gaps of `full` again, now that more records are there."""
    chosen = np.unique(full.gaps.line.astype(np.int64))
    number = np.full(len(ends.left), -1)
    number[chosen] = np.arange(len(chosen))
    found = []
    for block in records:
        of_line = number[block[0].astype(np.int64)]
        mine = block[:, of_line >= 0]
        mine[0] = of_line[of_line >= 0]
        found.append(mine)
    part = Ends(*(getattr(ends, name)[chosen] for name in Ends.__dataclass_fields__))
    return splice(full, assemble(np.concatenate(found, axis=1), part, noise), chosen)
