"""The sets of the 2021 notebook's tables, in a clinical table: training_set (TRAIN, VALID, TEST) and is_valid (True, False)."""

from __future__ import annotations

from collections.abc import Sequence

from common.tables.cohort_columns import SET_WORDS, Numbered

OF_NOTEBOOK = ("training_set", "is_valid")
TRUTHS = {"true": "val", "1": "val", "false": "train", "0": "train"}  # of is_valid


def with_given_sets(names: Sequence[str], rows: Sequence[Numbered]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill `set` from training_set, or else is_valid, in place, where the table has no column of this name.

    Without a TEST patient, VALID patients are the test set, as in a tile table. The notebook's columns go: they say of a patient
    what is to be done with it, and are no covariates.

    Returns:
        The names of the columns, and notes for the table's reader.
    """
    found = {name.lower(): name for name in names if name.lower() in OF_NOTEBOOK}
    if not found:
        return tuple(names), ()
    kept = tuple(name for name in names if name not in found.values())
    if "set" in names:
        return _without(kept, rows, [*found.values()]), (
            f"{', '.join(found.values())} not used: the table has a column set",
        )
    source = next(found[name] for name in OF_NOTEBOOK if name in found)
    words = TRUTHS if source.lower() == "is_valid" else SET_WORDS
    texts = [None if row[source] is None else row[source].lower() for _, row in rows]
    sets = [None if text is None else words.get(text, text) for text in texts]
    is_tested = "test" not in sets
    for (_, row), own in zip(rows, sets, strict=True):
        row["set"] = "test" if own == "val" and is_tested else own
    meaning = "; its VALID patients are the test set" if is_tested and "val" in sets else ""
    return (*_without(kept, rows, [*found.values()]), "set"), (f"the given sets are those of {source}{meaning}",)


def _without(names: tuple[str, ...], rows: Sequence[Numbered], gone: Sequence[str]) -> tuple[str, ...]:
    for _, row in rows:
        for name in gone:
            row.pop(name, None)
    return names
