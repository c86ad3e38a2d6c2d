"""Published figures of soft-tissue sarcoma beside a run's own: on whom, and what their protocols let in."""

from __future__ import annotations

from mil.report.blocks import Paragraph, Section, table
from mil.runs.run_store import FinishedRun

SARCOMAS = frozenset({"DDLPS", "LMS", "MFS", "SS", "UPS"})
LEAST = 2  # of them in a run, to be one of sarcomas
OF_SUBTYPE = (
    (
        "Foersch et al. 2021, Ann Oncol 32:1178", "macro AUROC 0.97 (SD 0.01), accuracy 79.9 %",
        "240 patients of TCGA and 51 others, five subtypes", "network fine-tuned on tiles, folds by patient; sites not kept whole",
    ),
)  # fmt: skip
OF_SURVIVAL = (
    (
        "Le et al. 2023, CaPTion", "C-index of OS 0.690 inside, 0.629 outside", "220 soft-tissue sarcomas; 48 external",
        "slides alone; inside, folds that may also have chosen the epoch",
    ),
    (
        "SarcNet 2025", "AUC of metastasis at 5 years 0.797 (0.762 to 0.833)", "221 and 390; validated on 93 and 124",
        "beside Sarculator 0.778 and FNCLCC grade 0.706",
    ),
    ("MSKCC nomogram in SEER", "C-index 0.74", "9,237, no image", "what a clinician has without slides"),
    ("PERSARC, external", "C-index 0.697", "no image", "the same"),
    ("Fu et al. 2023, GIST, relapse", "C-index 0.83 inside, 0.72 outside", "1,233; 286 external", "what the inside flatters by"),
    (
        "age, sex, subtype and margin on TCGA-SARC (docs/tcga_sarc.md)", "C-index of OS 0.665 by patient, 0.581 across sites",
        "250, no image", "penalised Cox regression, out of fold",
    ),
)  # fmt: skip
WORDS = (
    "Figures of other patients cannot be compared with these to the second place: cohorts, end points and folds differ. Figures "
    "fall when a model meets a new hospital; one above all of these on few patients should first be searched for leaks."
)


def published_sections(run: FinishedRun) -> list[Section]:
    """Return what others reported, for runs on soft-tissue sarcomas alone."""
    found = set(run.classes)
    if "subtype" in run.patients:
        found |= set(run.patients["subtype"].dropna().astype(str))
    rows = OF_SURVIVAL if "log_hazard" in run.predictions else OF_SUBTYPE if run.task == "subtype" else ()
    if len(found & SARCOMAS) < LEAST or not rows:
        return []
    body = (table(["who", "figure", "patients", "what to know"], [list(row) for row in rows]), Paragraph(words=WORDS))
    return [Section(key="published", title="What others reported", items="24", body=body)]
