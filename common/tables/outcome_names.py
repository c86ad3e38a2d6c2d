"""Names of columns that are known only after the outcome, as TCGA, cBioPortal and others give them."""

from __future__ import annotations

import re

END_POINT = "os|dss|dfs|dfi|pfs|pfi|rfs|efs|mfs|dmfs|lrfs|css|ttp"
OUTCOME = re.compile(  # on the name's words in lower case
    r"vital|surviv|death|decease|follow ?up|relaps|recurrence|exitus|censor|outcome|rezidiv|verstorben|"
    r"\b(dead|alive|died|recurred|progression|progressed|event)\b|^status$|"
    rf"\b({END_POINT})(event|status|months|days|years|time)?\b|"
    r"\bto (last|progress|recur|event|new)|\blast (communication|contact|alive|known|visit|seen|news|status)\b|"
    r"\b(disease|progress|event|failure|metastas[ie]s) free\b|\bnew (tumou?r|neoplasm) event|"
    r"\b(tumou?r|neoplasm|cancer|disease) status\b"
)
WORD_END = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def is_named_like_an_outcome(name: str) -> bool:
    """Return whether a column's name says that its values are known only after the outcome: OSEvent, tumor_status."""
    return OUTCOME.search(WORD_END.sub(" ", name).strip().lower()) is not None
