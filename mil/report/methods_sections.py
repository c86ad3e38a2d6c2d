"""The report's cohort and methods: flow with every exclusion, folds, audit, settings, encoder, versions, commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import (
    Block,
    Code,
    Flow,
    Folded,
    Heading,
    Paragraph,
    Section,
    counted,
    illustration,
    note,
    number,
    table,
)
from mil.report.task import Pictures
from mil.runs.audit_record import Audit
from mil.runs.facts import RunFacts

ELSEWHERE = (
    ("1, 2, 3, 4", "title, abstract, background, objectives"),
    (
        "5, 6a, 6c, 8, 9",
        "where and when patients were seen, how they were treated, how outcome and predictors were measured",
    ),
    ("10", "why the study has this size"),
    ("17, 18, 19", "ethics, funding, protocol, registration, sharing, public involvement"),
    ("24, 27", "updating and use of the model: it is for research only"),
)
CHOSEN = {
    "covariates": "named by the user; left out: every column that is no id or target",
    "where": "named by the user before training",
    "splits": "made before training",
    "task": "named by the user",
}
ENCODER_ROWS = (
    "encoder", "encoder_source", "licence", "weights_sha256", "transform", "stain", "stain_reference", "tile_um", "tile_px",
    "runtime", "precision", "layout",
)  # fmt: skip


def cohort_section(
    facts: RunFacts, metrics: RunMetrics | NotEvaluated, outcomes: Sequence[Sequence[object]]
) -> Section:
    """Return the flow from the table to the analysis, and who left where and why.

    Args:
        facts: of the run.
        metrics: of the run.
        outcomes: a row an outcome beside the classes: its name and how many patients have it.
    """
    body: list[Block] = [_flow(facts, metrics)]
    bags = _bags(facts)
    if facts.excluded:
        body.append(
            table([f"{facts.unit} left out", "reason"], [[own.patient_id, own.reason] for own in facts.excluded])
        )
    if facts.slide_losses:
        rows = [[own.slide_id, own.step, own.reason] for own in facts.slide_losses]
        body += [Heading(words=f"{bags.capitalize()}s without features"), table([bags, "lost in", "reason"], rows)]
    noun = "subtype " if facts.task == "subtype" else ""
    counts = [[f"{noun}{name}", count] for name, count in facts.class_counts.items()]
    images: list[list[object]] = [["images", facts.n_images]] if facts.n_images else []
    counts += [*map(list, outcomes), [f"{bags}s", facts.n_slides], *images, [f"{_tiles(facts)}s", facts.n_tiles]]
    body += [Heading(words="In the analysis"), table(["what", "number"], counts)]
    return Section(key="cohort", title="Cohort", items="6b, 11, 20a, 20b, 21", body=tuple(body))


def _flow(facts: RunFacts, metrics: RunMetrics | NotEvaluated) -> Flow:
    flow, bags, unit = facts.flow, _bags(facts), facts.unit
    steps = [("", f"clinical table: {counted(flow.table_patients, 'patient')}, {counted(flow.table_slides, bags)}")]
    if flow.kept_slides != flow.table_slides:
        n_lost, n_slides = flow.table_patients - flow.kept_patients, flow.table_slides - flow.kept_slides
        steps.append(
            ("lost", f"{counted(n_lost, 'patient')}, {counted(n_slides, bags)} not chosen: {facts.chosen_rows}")
        )
    steps += [("lost", f"{counted(count, bags)} lost in {step}") for step, count in flow.slides_lost.items()]
    steps += [("lost", f"{counted(count, unit)} left out: {reason}") for reason, count in flow.patients_lost.items()]
    steps.append(("", _analysed(facts)))
    if not isinstance(metrics, NotEvaluated):
        n_lost = facts.n_patients - metrics.n_patients
        if n_lost:
            steps.append(("lost", f"in no test set: {counted(n_lost, unit)}"))
        steps.append(("", f"predicted out of fold and evaluated: {counted(metrics.n_patients, unit)}"))
    return Flow(steps=tuple(steps))


def _analysed(facts: RunFacts) -> str:
    n_patients = len(set(facts.patient_of.values())) or facts.n_patients
    parts = [counted(n_patients, "patient"), counted(facts.n_slides, _bags(facts))]
    parts += [counted(facts.n_images, "image")] if facts.n_images else []
    return f"in the analysis: {', '.join([*parts, counted(facts.n_tiles, _tiles(facts))])}"


def _bags(facts: RunFacts) -> str:
    """Return what a file of features is of."""
    return "bag" if facts.n_images else "slide"


def _tiles(facts: RunFacts) -> str:
    """Return what an embedding is of."""
    return "field" if facts.n_images else "tile"


def folds_section(facts: RunFacts, pictures: Pictures) -> Section:
    """Return how patients were folded and how each fold was trained."""
    head = [
        "repeat", "fold", "train", "validation", "test", "stopped by", "epoch kept", "epochs run", "loss untrained", "trained",
        "model",
    ]  # fmt: skip
    rows = [
        [
            fold.repeat, fold.fold, fold.n_train, fold.n_val, fold.n_test, fold.stopped_by, fold.best_epoch, fold.n_epochs,
            number(fold.untrained_loss), number(fold.trained_loss), fold.model_file,
        ]
        for fold in facts.folds
    ]  # fmt: skip
    split = facts.split
    words = (
        f"Splits “{split.name}”: {counted(split.n_repeats, 'repeat')} of {counted(split.n_folds, 'fold')}, by patient. "
        f"{'Numbers below are of slides. ' if facts.patient_of else ''}"
        f"{_stopping(facts)} {_held_out(facts)} No test patient chose an epoch, a setting, a cut-off, a temperature or a scale."
    )
    parts = "loss on the training part (pale)"
    if any(fold.n_val for fold in facts.folds):
        parts += ", on the inner validation part (dashed)"
    caption = f"Training of each fold: {parts}, epoch kept (dot)."
    body: tuple[Block, ...] = (Paragraph(words=words), table(head, rows), *illustration("training", caption, pictures))
    return Section(key="folds", title="Folds", items="12a, 12c, 21", body=body)


def _stopping(facts: RunFacts) -> str:
    """Say how the epoch of each fold was kept."""
    n_folds, n_judged = len(facts.folds), sum(fold.n_val > 0 for fold in facts.folds)
    if n_judged == 0:
        lengths = sorted({fold.n_epochs for fold in facts.folds})
        epochs = f" for {' or '.join(map(str, lengths))} epochs" if lengths else ""
        return (
            f"Every head was trained{epochs}, a length fixed beforehand, on all training patients, and its last weights are kept; "
            "there was no inner validation part."
        )
    kept = (
        "The epoch kept was chosen on the inner validation part, which is taken from the training patients, among those of the "
        "later half of the schedule"
    )
    return f"{kept}." if n_judged == n_folds else f"{kept}, in {n_judged} folds; the others ran to the last epoch."


def _held_out(facts: RunFacts) -> str:
    """Say where temperatures, prediction sets, cut-offs and scales come from."""
    wanted = "What needs patients whom a model never saw (temperatures, prediction sets, cut-offs and scale of risks)"
    n_inner = sorted({fold.n_inner_folds for fold in facts.folds} - {0})
    n_without = sum(not fold.n_inner_folds for fold in facts.folds)
    if n_inner:
        others = f" {n_without} folds have too few training patients for it: there it is left out." if n_without else ""
        return (
            f"{wanted} comes from {' or '.join(map(str, n_inner))} inner models a fold, each trained like the fold's own on the "
            f"other inner folds of its training patients (cross-fitting).{others}"
        )
    if any(fold.n_val for fold in facts.folds):
        return f"{wanted} comes from the inner validation part; cut-offs and scale of risks from the training patients."
    why = "--cross_fit 0" if facts.settings.get("cross_fit") == 0 else "too few training patients for inner folds"
    return (
        f"{wanted} is left out ({why}); cut-offs and scale of risks are those of the training patients' own, which a "
        "model spreads too far."
    )


def _chosen_epochs(facts: RunFacts) -> dict[str, str]:
    if not any(fold.n_val for fold in facts.folds):
        return {
            "epochs": "fixed beforehand: all were run",
            "patience": "fixed beforehand: no inner part chose an epoch",
        }
    return {
        "epochs": "most epochs; the epoch kept was chosen on the inner validation part",
        "patience": "fixed beforehand; acts on the inner validation part",
    }


def audit_section(audit: Audit | None) -> Section:
    """Return what was checked for leaks."""
    words = "No audit.json lies in the run folder: what could have leaked was not checked for this run."
    body: list[Block] = [Paragraph(words=words)]
    if audit is not None:
        checks = audit.checks
        rows = [[check.verdict, check.name, check.text] for check in checks]
        body = [table(["verdict", "check", "finding"], rows, verdict_column=0)]
        body += [
            Folded(title=check.name, table=table(check.table.columns, check.table.rows))
            for check in checks
            if check.table
        ]
    return Section(key="audit", title="Leak audit", items="12a", body=tuple(body))


def methods_section(facts: RunFacts, searched: Collection[str] = ()) -> Section:
    """Return encoder and licence, settings and where each was chosen (`searched`: by inner folds), covariates of the baseline."""
    rows = [[name, facts.encoder[name]] for name in ENCODER_ROWS if name in facts.encoder]
    if facts.n_images:  # 0 µm: the scale of a table's images is not known
        names = {"tile_um": "scale", "tile_px": "field_px"}
        rows = [[names.get(name, name), "not known" if name == "tile_um" else value] for name, value in rows]
    left_out = "; ".join(f"{name} ({reason})" for name, reason in facts.covariates.left_out.items())
    body: tuple[Block, ...] = (
        Paragraph(
            words="The licence of the encoder binds the models trained on its features: "
            f"{facts.encoder_licence}. Features are frozen; only the head is trained."
        ),
        table([f"encoder and {_tiles(facts)}s", "value"], rows),
        Paragraph(
            words=f"Clinical baseline from: {', '.join(facts.covariates.used) or 'none'}."
            f"{f' Left out: {left_out}.' if left_out else ''} Means, levels and missing values "
            "are those of training patients; a missing value has an indicator of its own."
        ),
        note(
            "Nothing was chosen on test patients by this software. How values set by the user were found it cannot know: if by "
            "comparing reports of this cohort, the numbers above are too good."
        ),
        Folded(
            title="Settings of the training",
            table=table(["setting", "value", "chosen"], _settings(facts, searched)),
            is_open=True,
        ),
    )
    return Section(key="methods", title="How it was made", items="7, 9a, 11, 12b, 12c, 13, 15, 22", body=body)


def _settings(facts: RunFacts, searched: Collection[str]) -> list[list[object]]:
    """Return each setting, its value, and who chose it."""
    chosen = CHOSEN | _chosen_epochs(facts) | dict.fromkeys(searched, "searched in each fold: where the search began")
    return [
        [
            name,
            value,
            chosen.get(name)
            or ("default, fixed beforehand" if facts.defaults.get(name, value) == value else "set by the user"),
        ]
        for name, value in facts.settings.items()
    ]


def repeat_section(facts: RunFacts) -> Section:
    """Return the commands that repeat the run, and versions."""
    of_images = facts.n_images > 0
    commands = [
        *([] if of_images else ["python preprocessing/tile_slides.py"]),
        f"python features/extract_features.py{' --tiles key.csv' if of_images else ''} --encoder {facts.encoder_name}",
        f"python splits/make_splits.py --name {facts.split.name}", facts.command,
        f"python mil/evaluate.py --task {facts.task} --name {facts.run}",
    ]  # fmt: skip
    body: tuple[Block, ...] = (
        Code(text="\n".join(commands)),
        note(
            f"Settings of the first {'two' if of_images else 'three'} stand in the {'' if of_images else 'tile, '}feature and "
            "split files. The numbers of this page stand in metrics.json, run.json and audit.json beside it, every patient's "
            "prediction in predictions.csv, those of training patients held out in validation_predictions.csv, and the data "
            "of each figure in figures/."
        ),
        Folded(title="Versions", table=table(["package", "version"], list(facts.versions.items()))),
    )
    return Section(key="repeat", title="To repeat it", items="12g, 18f, 22", body=body)


def limits_section(facts: RunFacts) -> Section:
    """Return what the numbers do not say, and what of TRIPOD+AI authors add themselves."""
    smallest = min(facts.class_counts.values(), default=facts.n_events)
    noun = "subtype" if facts.task == "subtype" else "class"
    size = (
        f"{counted(smallest, facts.unit)} of the smallest {noun}" if facts.class_counts else counted(smallest, "event")
    )
    size = f", {size}" if facts.class_counts or facts.n_events else ""
    body: tuple[Block, ...] = (
        Paragraph(
            words=f"Cross-validation inside one cohort ({counted(facts.n_patients, facts.unit)}{size}) says nothing of other "
            f"hospitals, {'ways to choose images' if facts.n_images else 'scanners'} and stains; an external cohort does. "
            "Folds share training patients, so intervals over patients do not hold the variation of training anew. Small "
            "subgroups prove little."
        ),
        Paragraph(
            words="The numbers beside the headings are the items of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) to which "
            "a section contributes. Authors add:"
        ),
        table(["items", "subject"], ELSEWHERE),
    )
    return Section(key="limits", title="Limits", items="16, 25, 26", body=body)
