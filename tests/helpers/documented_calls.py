"""The calls that the documents show, as they stand there."""

import re
import shlex

from common.calling.calls import WORDS
from sarcoma_mil.steps import STEPS

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/guide.md",
    "docs/architecture.md",
    "docs/extending.md",
    "docs/formats.md",
    "docs/python.md",
    "docs/tcga_sarc.md",
    "docs/faq.md",
    "docs/cluster/README.md",
)
NO_STEP = ("COMMAND", "--help", "--version", "help", "completion")  # words after sarcoma-mil that start no step


def spans(text):
    """Yield what is shown as code: lines of blocks, less their comments, and spans in a line."""
    is_fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith("    "):
            yield re.split(r"\s+#\s|\s{2,}", line.strip())[0]
        else:
            yield from re.findall(r"`([^`]+)`", line)


def calls(text):
    """Yield each call of a step: its words, the step, and its flags."""
    by_script = {script: STEPS[word] for word, script in WORDS.items()}
    for span in spans(text):
        for part in re.split(r"&&|;", span):
            words = shlex.split(part) if part.count('"') % 2 == part.count("'") % 2 == 0 else part.split()
            if words[:1] and words[0].rpartition("/")[2] in ("python", "python3"):
                words = words[1:]
            if words[:1] == ["sarcoma-mil"] and len(words) > 1 and words[1] not in NO_STEP:
                yield part, words[1], STEPS.get(words[1]), words[2:]
            elif words and words[0] in by_script:
                yield part, words[0], by_script[words[0]], words[1:]
