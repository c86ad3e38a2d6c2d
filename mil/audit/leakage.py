"""What could have leaked between the parts of a fold: patients, copied slides, slides that are nearly copies.

Pure: ids, checksums and numbers in, findings out. A finding is certain (the same patient, the same bytes, many identical
tiles) or only likely (two bags closer than two samples of one tissue could be); the caller says so.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num, UInt64

from common.tables.cohort_columns import without_zeros

HASHED_DIMS = 32  # numbers of an embedding that identify it: two tiles agree in all of them only if they are one
SKETCH_SIZE = 512  # the smallest hashes of a slide; a slide with fewer tiles is kept whole
MAX_SLIDES_A_TILE = 20  # an embedding in more slides than this is of an empty tile
MIN_SHARED_TILES, MIN_SHARED = 5, 0.1  # number and share of identical tiles that make two slides one
NEAR_COSINE = 0.9999
NEAR_DISTANCE = 0.05  # of the squared distance expected between two samples of one tissue
BLOCK = 1024
TCGA_PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])")


@dataclass(frozen=True, kw_only=True)
class SlideSummary:
    """What the audit keeps of a slide's tiles."""

    n_tiles: int
    mean: Float64[np.ndarray, " dim"]
    variance: Float64[np.ndarray, " dim"]
    sketch: UInt64[np.ndarray, " tile"]  # sorted hashes of different tiles, the smallest SKETCH_SIZE


def summarise(tiles: Num[np.ndarray, "tile dim"]) -> SlideSummary:
    """Summarise the embeddings of one slide, at least one tile."""
    numbers = tiles.astype(np.float32)
    return SlideSummary(
        n_tiles=len(tiles),
        mean=numbers.mean(axis=0, dtype=np.float64),
        variance=numbers.var(axis=0, dtype=np.float64),
        sketch=np.unique(tile_hashes(tiles))[:SKETCH_SIZE],
    )


def tile_hashes(tiles: Num[np.ndarray, "tile dim"]) -> UInt64[np.ndarray, " tile"]:
    """Hash each tile's embedding: equal rows have equal hashes, and other rows practically never."""
    columns = np.unique(np.linspace(0, tiles.shape[1] - 1, HASHED_DIMS).astype(np.int64))
    words = np.ascontiguousarray(tiles[:, columns], dtype=np.float32).view(np.uint32).astype(np.uint64)
    rng = np.random.default_rng(20211)  # fixed: hashes of different slides are compared
    hashes = np.zeros(len(tiles), dtype=np.uint64)
    for word, factor in zip(words.T, rng.integers(1, 2**63, len(columns), dtype=np.uint64) | np.uint64(1), strict=True):
        hashes = (hashes ^ word) * factor
        hashes ^= hashes >> np.uint64(29)
    return hashes


def sharers(values: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of names that share a value, sorted; values alone are not returned."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(values):
        groups[values[name]].append(name)
    return sorted(group for group in groups.values() if len(group) > 1)


def patients_in_two_parts(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the patients that stand in more than one part of a fold, sorted."""
    counts = Counter(patient for patients in parts.values() for patient in set(patients))
    return sorted(patient for patient, count in counts.items() if count > 1)


def one_patient_under_two_ids(slides_of: Mapping[str, Sequence[str]]) -> list[tuple[str, str, str]]:
    """Return pairs of patient ids that are one person, and why: one TCGA barcode in both, or ids alike but for case."""
    pairs = {}
    by_text: defaultdict[str, set[str]] = defaultdict(set)
    by_number: defaultdict[str, set[str]] = defaultdict(set)
    by_barcode: defaultdict[str, set[str]] = defaultdict(set)
    for patient, slides in slides_of.items():
        text = re.sub(r"[\s_.-]+", "-", patient.strip()).casefold()
        by_text[text].add(patient)
        by_number[without_zeros(text)].add(patient)
        for name in (patient, *slides):
            for barcode in TCGA_PATIENT.findall(name.upper()):
                by_barcode[barcode].add(patient)
    for groups, reason in (
        (by_number, "ids that differ in leading zeros only"),
        (by_text, "ids that differ in case or separators only"),
        (by_barcode, "one TCGA barcode"),
    ):
        for text, patients in groups.items():
            ordered = sorted(patients)
            for position, one in enumerate(ordered):
                for other in ordered[position + 1 :]:
                    pairs[one, other] = f"{reason} ({text})" if groups is by_barcode else reason
    return sorted((one, other, reason) for (one, other), reason in pairs.items())


def shared_tiles(sketches: Mapping[str, UInt64[np.ndarray, " _"]]) -> list[tuple[str, str, float]]:
    """Return pairs of slides with many identical tiles, and the share of the smaller slide's tiles that are.

    The sketches hold the smallest hashes of each slide, so of two slides with common tiles they hold common ones: the cost
    is that of one sort, whatever the number of slides.
    """
    names = sorted(sketches)
    if not names:
        return []
    hashes = np.concatenate([sketches[name] for name in names])
    slide = np.repeat(np.arange(len(names)), [len(sketches[name]) for name in names])
    order = np.lexsort((slide, hashes))
    hashes, slide = hashes[order], slide[order]
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(hashes)]]))
    together: Counter[tuple[int, int]] = Counter()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        if size <= MAX_SLIDES_A_TILE:
            members = slide[start : start + size].tolist()
            together.update((one, other) for at, one in enumerate(members) for other in members[at + 1 :])
    pairs = []
    for (one, other), count in sorted(together.items()):
        smaller = min(len(sketches[names[one]]), len(sketches[names[other]]))
        if count >= max(min(MIN_SHARED_TILES, smaller), MIN_SHARED * smaller):
            pairs.append((names[one], names[other], count / smaller))
    return pairs


def near_duplicates(summaries: Mapping[str, SlideSummary]) -> list[tuple[str, str, float, float]]:
    """Return pairs of slides whose mean embeddings are too alike for two slides: names, cosine, relative distance.

    Too alike is a cosine above 0.9999 between slides of equally many tiles, or a squared distance below 5 % of what two
    independent samples of one tissue would have (the sum over dimensions of variance (1 / n_a + 1 / n_b), with the mean
    variance within slides), whatever their size: even two slides of one block are further apart.
    """
    names = sorted(summaries)
    if len(names) < 2:
        return []
    means = np.stack([summaries[name].mean for name in names])
    sizes = np.array([summaries[name].n_tiles for name in names])
    variance = np.mean([summaries[name].variance for name in names], axis=0)
    is_varied = variance > 1e-12
    scaled = means[:, is_varied] / np.sqrt(variance[is_varied])
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    pairs = []
    for start in range(0, len(names), BLOCK):
        cosine = unit[start : start + BLOCK] @ unit.T
        distance = _relative_distance(scaled, sizes, start)
        is_same_size = sizes[start : start + BLOCK, None] == sizes[None]
        is_near = ((cosine > NEAR_COSINE) & is_same_size) | (distance < NEAR_DISTANCE)
        for row, other in zip(*np.nonzero(is_near), strict=True):
            if start + row < other:
                names_of_pair = names[start + row], names[other]
                pairs.append((*names_of_pair, float(cosine[row, other]), float(distance[row, other])))
    return pairs


def _relative_distance(
    scaled: Float64[np.ndarray, "slide dim"], sizes: Int64[np.ndarray, " slide"], start: int
) -> Float64[np.ndarray, "block slide"]:
    block, own = scaled[start : start + BLOCK], sizes[start : start + BLOCK]
    if not scaled.shape[1]:  # nothing varies within slides: no scale to measure by
        return np.full((len(block), len(scaled)), np.inf)
    squares = (scaled**2).sum(axis=1)
    squared = squares[start : start + BLOCK, None] + squares[None] - 2 * block @ scaled.T
    return np.maximum(squared, 0) / (scaled.shape[1] * (1 / own[:, None] + 1 / sizes[None]))
