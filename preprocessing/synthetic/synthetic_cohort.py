"""The patients of the synthetic study: subtype, site, morphology, hazard, follow-up, and a recipe for each slide.

Subtypes are as unequal as in TCGA-SARC (LMS 105, DDLPS 59, UPS 51, MFS 25, SS 10). The hazard follows morphology that is
planted in the slides (mitotic density, necrosis share), and to a lesser degree age and grade. Patient i is drawn from
(seed, i) alone, so neither the number of patients nor of workers changes what a patient looks like.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from preprocessing.synthetic.layout import SlideRecipe
from preprocessing.synthetic.looks import LOOK_ALIKES, SUBTYPES
from preprocessing.synthetic.scanner import PEN_COLOURS

TCGA_SARC_COUNTS = {"DDLPS": 59, "LMS": 105, "MFS": 25, "SS": 10, "UPS": 51}
MEDIAN_MONTHS = 30.0  # of a patient with average hazard
TUMOUR_SHARE = (0.05, 0.17)  # of the tissue
LOOK_ALIKES_SHARE, N_LOOK_ALIKES = (0.55, 0.80), 2  # together, of the tissue
SECOND_LOOKS = 0.5  # of the slides: dedifferentiated or mixed
SECOND_LOOK = {"DDLPS": "UPS", "LMS": "UPS", "MFS": "UPS", "SS": "LMS", "UPS": "MFS"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A hospital: its stains (unit optical density vectors), their amounts, its scanner's mpp and glass."""

    name: str
    mpp: float
    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    intensities: tuple[float, float]
    glass: tuple[float, float, float]


SITES = (
    Site(
        name="A", mpp=0.5, haematoxylin=(0.563, 0.720, 0.406), eosin=(0.216, 0.801, 0.558), intensities=(0.66, 0.52),
        glass=(243, 241, 244),
    ),
    Site(
        name="B", mpp=0.5, haematoxylin=(0.640, 0.705, 0.305), eosin=(0.105, 0.900, 0.420), intensities=(0.56, 0.44),
        glass=(238, 238, 236),
    ),
    Site(
        name="C", mpp=0.25, haematoxylin=(0.500, 0.750, 0.430), eosin=(0.270, 0.830, 0.490), intensities=(0.76, 0.60),
        glass=(246, 244, 240),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SyntheticPatient:
    """A patient with all that the clinical table and the truth say of them."""

    patient_id: str
    subtype: str
    site: str
    age: int
    grade: int
    sex: str
    time: int  # months
    event: int
    necrosis_share: float
    mitotic_density: float
    log_hazard: float
    slides: tuple[SlideRecipe, ...]


def subtype_counts(n_patients: int) -> dict[str, int]:
    """Share patients out like TCGA-SARC, with at least 5 a subtype from 40 patients on, 2 from 10, 1 from 5."""
    least = 5 if n_patients >= 40 else 2 if n_patients >= 10 else 1 if n_patients >= 5 else 0
    rest = n_patients - least * len(SUBTYPES)
    total = sum(TCGA_SARC_COUNTS.values())
    exact = {name: rest * count / total for name, count in TCGA_SARC_COUNTS.items()}
    counts = {name: least + int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder[: n_patients - sum(counts.values())]:
        counts[name] += 1
    return counts


def make_cohort(n_patients: int, seed: int) -> tuple[SyntheticPatient, ...]:
    """Draw the patients of a study."""
    subtypes = [name for name, count in subtype_counts(n_patients).items() for _ in range(count)]
    order = np.random.default_rng([seed, 0]).permutation(n_patients)
    return tuple(_patient(index, subtypes[order[index]], seed) for index in range(n_patients))


def _patient(index: int, subtype: str, seed: int) -> SyntheticPatient:
    rng = np.random.default_rng([seed, 1, index])
    # sites lean towards some subtypes, as hospitals do, without giving them away
    lean = np.array([1.0, 1.0, 1.0]) + 0.6 * np.eye(3)[SUBTYPES.index(subtype) % 3]
    site = SITES[rng.choice(3, p=lean / lean.sum())]
    mitotic_density = float(rng.beta(0.8, 1.0))
    necrosis_share = float(0.34 * rng.beta(0.8, 1.4))
    age = int(np.clip(rng.normal(61, 13), 20, 90))
    severity = 2.0 * (mitotic_density - 0.45) / 0.3 + (necrosis_share - 0.12) / 0.09
    grade = int(1 + (severity + rng.normal(0, 1.5) > -1.5) + (severity + rng.normal(0, 1.5) > 1.0))
    log_hazard = (
        1.25 * (mitotic_density - 0.45) / 0.3
        + 0.85 * (necrosis_share - 0.12) / 0.09
        + 0.25 * (grade - 2)
        + 0.20 * (age - 61) / 13
    )
    time, event = _follow_up(log_hazard, rng)
    patient_id = f"SYN-{index:03d}"
    n_slides = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    slides = tuple(
        _with_further_kinds(
            _among_look_alikes(
                _slide(
                    f"{patient_id}-{number + 1}",
                    subtype,
                    site,
                    mitotic_density,
                    necrosis_share,
                    (seed, 2, index, number),
                )
            )
        )
        for number in range(n_slides)
    )
    return SyntheticPatient(
        patient_id=patient_id, subtype=subtype, site=site.name, age=age, grade=grade, sex=str(rng.choice(["F", "M"])),
        time=time, event=event, necrosis_share=necrosis_share, mitotic_density=mitotic_density, log_hazard=log_hazard,
        slides=slides,
    )  # fmt: skip


def _follow_up(log_hazard: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw whole months (so that times tie) to the event or to the end of follow-up."""
    to_event = rng.exponential(MEDIAN_MONTHS / np.log(2) * np.exp(-log_hazard))
    to_end = rng.uniform(6, 72)
    return max(1, int(np.ceil(min(to_event, to_end, 120)))), int(to_event <= to_end)


def _slide(
    slide_id: str, subtype: str, site: Site, mitotic_density: float, necrosis_share: float, seed: tuple[int, ...]
) -> SlideRecipe:
    rng = np.random.default_rng(seed)

    def shifted(vector: tuple[float, float, float]) -> tuple[float, float, float]:
        moved = np.clip(np.array(vector) + rng.normal(0, 0.018, 3), 0.02, None)
        red, green, blue = (float(value) for value in moved / np.linalg.norm(moved))
        return red, green, blue

    is_pale = bool(rng.random() < 0.08)
    strength = (0.55 if is_pale else 1.0) * rng.uniform(0.88, 1.12, 2)
    return SlideRecipe(
        slide_id=slide_id, subtype=subtype, seed=(*seed, 1), mpp=site.mpp, width_mm=round(float(rng.uniform(2.3, 2.9)), 2),
        height_mm=round(float(rng.uniform(1.8, 2.3)), 2), n_pieces=int(rng.choice([1, 2, 3], p=[0.75, 0.17, 0.08])),
        tumour_share=float(rng.uniform(0.32, 0.60)),
        necrosis_share=float(np.clip(necrosis_share * rng.uniform(0.8, 1.2), 0, 0.36)),
        fat_share=float(rng.uniform(0.1, 0.35)),
        mitotic_density=float(np.clip(mitotic_density + rng.normal(0, 0.04), 0, 1)),
        haematoxylin=shifted(site.haematoxylin), eosin=shifted(site.eosin),
        intensities=(float(site.intensities[0] * strength[0]), float(site.intensities[1] * strength[1])),
        glass=site.glass, pen=str(rng.choice(sorted(PEN_COLOURS))) if rng.random() < 0.10 else "",
        is_blurred=bool(rng.random() < 0.10), is_pale=is_pale, has_fold=bool(rng.random() < 0.08),
        is_single_level=bool(rng.random() < 0.03),
    )  # fmt: skip


def _among_look_alikes(slide: SlideRecipe) -> SlideRecipe:
    """Make the tumour a small part of the tissue, sometimes with a second look, and give the rest the looks of tumours.

    Which look-alikes a slide has says nothing of its subtype, so the mean of its tiles says little: a pathologist looks for
    the tumour. Necrosis stays the same share of it.
    """
    rng = np.random.default_rng([*slide.seed, 4])
    share = float(rng.uniform(*TUMOUR_SHARE))
    kinds = rng.choice(sorted(LOOK_ALIKES), N_LOOK_ALIKES, replace=False)
    shares = rng.uniform(*LOOK_ALIKES_SHARE) * rng.dirichlet(np.ones(N_LOOK_ALIKES))
    alike: dict[str, Any] = {f"{kind}_share": float(own) for kind, own in zip(kinds, shares, strict=True)}
    second = rng.random() < SECOND_LOOKS
    second_share = float(rng.uniform(0.2, 0.5))
    return replace(
        slide, tumour_share=share, necrosis_share=slide.necrosis_share * share / slide.tumour_share, **alike,
        second_subtype=SECOND_LOOK[slide.subtype] if second else "", second_tumour_share=second_share if second else 0.0,
    )  # fmt: skip


def _with_further_kinds(slide: SlideRecipe) -> SlideRecipe:
    """Give two slides in five something real slides hold beside tumour: red cells, hyaline ground, open fat or a lumen.

    Drawn apart from all else, and alike for all subtypes: they say nothing of a patient.
    """
    rng = np.random.default_rng([*slide.seed, 3])
    kind = int(rng.integers(10))
    first, second = (float(value) for value in rng.uniform(0, 1, 2))
    if kind == 0:
        return replace(slide, clot_share=0.02 + 0.06 * first, red_cells_share=0.01 + 0.04 * second)
    if kind == 1:
        return replace(slide, hyaline_share=0.08 + 0.12 * first)
    if kind == 2:
        return replace(slide, open_fat_share=0.08 + 0.12 * first)
    return replace(slide, lumen_share=0.06 + 0.06 * first) if kind == 3 else slide


def cohort_rows(patients: tuple[SyntheticPatient, ...]) -> list[dict[str, object]]:
    """Return the rows of the clinical table, one a slide: only what a hospital would know."""
    names = ("patient_id", "subtype", "time", "event", "site", "age", "grade", "sex")
    return [
        {
            "patient_id": patient.patient_id,
            "slide_id": slide.slide_id,
            **{name: getattr(patient, name) for name in names[1:]},
        }
        for patient in patients
        for slide in patient.slides
    ]


def truth_rows(patients: tuple[SyntheticPatient, ...]) -> list[dict[str, object]]:
    """Return one row a patient with what only the painter knows."""
    return [{name: value for name, value in asdict(patient).items() if name != "slides"} for patient in patients]
