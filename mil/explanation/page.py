"""The pages of an explanation: whether the maps can be believed, and the maps of each patient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.failures import SlideStatus
from common.guards.own_files import own_folder, remove_own_files
from mil.explanation.explained import ExplainedPatient
from mil.explanation.faithfulness import Faithfulness
from mil.explanation.flipping import TOP
from mil.explanation.patients import ToExplain
from mil.models.ensemble import Ensemble
from mil.pages.page import Block, Drawing, Link, Listing, Page, Part, Picture, Words, cells, shown, write_page

OWN_PAGE = re.compile(r"\d{4,}\.html")
COLOURS = {"contributions": "#be4b00", "attention": "#00549f", "random": "#66717f"}
Made = Mapping[str, Mapping[str, Path]]


def write_pages(
    what: ToExplain, patients: Sequence[ExplainedPatient], found: Faithfulness | None, made: Made,
    sheets: Mapping[str, Path], lost: Sequence[SlideStatus],
) -> Path:  # fmt: skip
    """Write index.html and a page a patient, and return the first.

    Args:
        what: was explained.
        patients: in their order.
        found: whether maps can be believed; None: not measured.
        made: exports by slide and kind.
        sheets: by output.
        lost: slides without maps.
    """
    folder = own_folder(what.out / "patients", below=what.out)
    names = {own.patient_id: f"{number:04d}.html" for number, own in enumerate(patients, start=1)}
    warnings = _warnings(found)
    for own in patients:
        write_page(folder / names[own.patient_id], _patient(what, own, made, warnings))
    remove_own_files(folder, OWN_PAGE, kept=set(names.values()))
    path = what.out / "index.html"
    write_page(path, _index(what, patients, found, names, sheets, lost, warnings))
    return path


def _warnings(found: Faithfulness | None) -> tuple[str, ...]:
    if found is None:
        return ("Whether these maps can be believed was not measured (--faithfulness true measures it).",)
    return tuple(f"THESE MAPS ARE NOT FAITHFUL: {fault}." for fault in found.faults)


def _index(
    what: ToExplain, patients: Sequence[ExplainedPatient], found: Faithfulness | None, names: Mapping[str, str],
    sheets: Mapping[str, Path], lost: Sequence[SlideStatus], warnings: tuple[str, ...],
) -> Page:  # fmt: skip
    record = what.model.record
    rows = tuple(
        cells([
            Link(words=own.patient_id, place=("patients", names[own.patient_id])), own.told,
            float(own.values[own.told_at]), float(own.base[own.told_at]), _main_slide(own),
            sum(own.n_tiles), ", ".join(own.methods), ", ".join(own.heads), "yes" if own.is_trained_on else "no",
        ])
        for own in patients
    )  # fmt: skip
    head = (
        record.unit,
        "told",
        "its value",
        "of average tiles",
        "main slide",
        "tiles",
        "contributions",
        "heads",
        "in their training",
    )
    parts = [Part(title="Can the maps be believed?", blocks=_of_faithfulness(found))] if found is not None else []
    parts.append(Part(title="Patients", blocks=(Listing(caption=f"{len(rows)} explained", head=head, rows=rows),)))
    if sheets:
        pictures = tuple(
            Picture(
                place=("sheets", path.name), says=f"tiles that speak most for and against {output}",
                caption=f"{output}: tiles that speak most for (above) and against it (below), a few of each slide. The frame "
                "has the colour of the contribution.",
            )
            for output, path in sheets.items()
        )  # fmt: skip
        parts.append(Part(title="Tiles", blocks=pictures))
    if lost:
        listing = Listing(
            caption="Slides without maps", head=("slide", "reason", "what to do"),
            rows=tuple(cells([own.slide_id, own.reason, own.remedy]) for own in lost),
        )  # fmt: skip
        parts.append(Part(title="Not drawn", blocks=(listing,)))
    lead = (
        f"What each tile contributed to {_of_what(what.model)}, of {len(patients)} "
        f"{record.unit}s. Contributions of all tiles and the value of a bag of average training tiles make the model's output."
    )
    return Page(
        title=f"Explanation: {record.task}", lead=lead, parts=tuple(parts), warnings=warnings,
        is_synthetic=_is_painted(what), is_by_synthetic_model=record.cohort.is_synthetic,
    )  # fmt: skip


def _of_what(model: Ensemble) -> str:
    if model.record.classes:
        return "the logit of each class"
    if model.has_intervals:
        return "the log-odds ratio of the event to the training cohort's, averaged over intervals of time"
    return "the log-hazard"


def _is_painted(what: ToExplain) -> bool:
    """Return whether the slides themselves are painted: those of the run are, where it is of a synthetic study."""
    return what.model.record.cohort.is_synthetic and not what.is_by_other_model


def _main_slide(own: ExplainedPatient) -> str:
    return own.slide_ids[int(own.of_slides[:, own.told_at].argmax())]


def _patient(what: ToExplain, own: ExplainedPatient, made: Made, warnings: tuple[str, ...]) -> Page:
    record, names = what.model.record, what.model.output_names
    if own.is_trained_on:
        warnings = (
            *warnings,
            f"Every head was trained on this {record.unit}: the map shows what was learnt by heart, too.",
        )
    head = ("slide", "tiles", *(f"contribution to {name}" for name in names), "files")
    rows, pictures = [], []
    for place, slide in enumerate(own.slide_ids):
        files = made.get(slide, {})
        rows.append(
            cells([slide, own.n_tiles[place], *(float(value) for value in own.of_slides[place]),
                   ", ".join(path.name for path in files.values()) or "none"])
        )  # fmt: skip
        if "png" in files:
            pictures.append(
                Picture(
                    place=("..", "maps", files["png"].name), says=f"map of slide {slide}",
                    caption=f"{slide}: contribution to {own.told}; orange speaks for it, blue against.",
                )
            )  # fmt: skip
    taken_apart = (own.base, own.of_slides.sum(axis=0), own.residual, own.values)
    sums = tuple(
        cells([name, *(float(part[at]) for part in taken_apart)])
        for at, name in enumerate(names)
    )  # fmt: skip
    listings: tuple[Block, ...] = (
        Listing(caption="By slide", head=head, rows=tuple(rows)),
        Listing(
            caption="They add up",
            head=("output", "average tiles", "tiles", "in no tile", "the model's output"),
            rows=sums,
        ),
        Words(words=f"Heads: {', '.join(own.heads)}. Contributions: {', '.join(own.methods)}.", kind="note"),
    )
    parts = [Part(title="Contributions", blocks=listings)]
    if pictures:
        parts.append(Part(title="Maps", blocks=tuple(pictures)))
    return Page(
        title=f"{record.unit.capitalize()} {own.patient_id}", lead=f"Told: {own.told}.", parts=tuple(parts), warnings=warnings,
        is_synthetic=_is_painted(what),
        is_by_synthetic_model=record.cohort.is_synthetic, back=Link(words="all patients", place=("..", "index.html")),
    )  # fmt: skip


def _of_faithfulness(found: Faithfulness) -> tuple[Block, ...]:
    rows = [cells(["contributions", found.gain, "", ""])]
    rows += [cells([name, own.gain, own.difference, _p(own.p)]) for name, own in found.against.items()]
    gains = Listing(
        caption="Area between taking the least and the most relevant tiles away first (the larger, the better the order)",
        head=("order", "area", "contributions gain over it", "p (Wilcoxon, one-sided, over patients)"), rows=tuple(rows),
    )  # fmt: skip
    checks = Listing(
        caption=f"Means over {found.n_patients} patients", head=("check", "value"),
        rows=(
            cells(["output of all tiles", found.whole]),
            cells([f"output of the top {TOP:.0%} alone (enough by themselves?)", found.top_alone]),
            cells([f"output without the top {TOP:.0%} (needed?)", found.without_top]),
            cells(["top tiles alone tell the same (share, or rank correlation of hazards)", found.same_told]),
            cells(["rank correlation with maps of heads with random weights (near 0 is right)", found.untrained_likeness]),
            cells(["largest part of an output in no tile, of the outputs' spread", found.most_residual]),
        ),
    )  # fmt: skip
    verdict = (
        "The maps are faithful by these checks."
        if found.is_faithful
        else "The maps are not faithful: see the warnings above."
    )
    note = (
        "The told output (likeliest class's logit, or that of the hazard), as tiles are taken away. An order that knows which "
        "tiles count falls early when the most relevant go first (full lines) and late when the least relevant do (broken lines)."
    )
    return Words(words=verdict), Drawing(svg=_curves(found), caption=note), gains, checks


def _p(value: float | None) -> str:
    return "not defined" if value is None else "< 0.001" if value < 0.001 else shown(value)


def _curves(found: Faithfulness) -> str:
    """Return the curves as SVG."""
    width, height, left, top, low = 560, 300, 52, 14, 40
    every = [value for lines in (found.most_first, found.least_first) for line in lines.values() for value in line]
    floor, ceiling = min(every), max(every)
    span = (ceiling - floor) or 1.0

    def point(share: float, value: float) -> str:
        return f"{left + (width - left - 130) * share:.1f},{top + (height - top - low) * (ceiling - value) / span:.1f}"

    parts = [
        f"<text x='{left - 6}' y='{top + 4 + (height - top - low) * (ceiling - value) / span:.1f}' text-anchor='end'>"
        f"{value:.3g}</text>"
        for value in (floor, ceiling)
    ]
    parts += [
        f"<text x='{left + (width - left - 130) * share:.1f}' y='{height - 22}' text-anchor='middle'>{share:.0%}</text>"
        for share in (0.0, 0.5, 1.0)
    ]
    parts.append(
        f"<text x='{left + (width - left - 130) / 2:.0f}' y='{height - 4}' text-anchor='middle'>tiles taken away</text>"
    )
    for number, (name, colour) in enumerate(COLOURS.items()):
        for lines, dash in ((found.most_first, ""), (found.least_first, " stroke-dasharray='5 4'")):
            line = " ".join(point(share, value) for share, value in zip(found.shares, lines[name], strict=True))
            parts.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'{dash}/>")
        y = top + 16 + 20 * number
        parts.append(
            f"<line x1='{width - 118}' x2='{width - 98}' y1='{y - 4}' y2='{y - 4}' stroke='{colour}' stroke-width='3'/>"
        )
        parts.append(f"<text x='{width - 92}' y='{y}'>{name}</text>")
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"aria-label='outputs as tiles are taken away' font-size='12' font-family='system-ui, sans-serif' fill='#46505e'>"
        f"{''.join(parts)}</svg>"
    )
