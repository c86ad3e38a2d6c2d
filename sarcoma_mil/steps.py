"""The words of the command: what each does, and which module and settings it is. Imports none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from common.calling.calls import WORDS


@dataclass(frozen=True)
class Step:
    """A word of the command.

    Attributes:
        word: as it is typed.
        what: what it does, in a line.
        settings: module and class of its settings, `module:class`.
        module: the module with its `main(argv) -> int`.
        section: its part of study.yaml.
    """

    word: str
    what: str
    settings: str
    module: str
    section: str

    def main(self) -> Callable[..., int]:
        """Import the step and return its main function."""
        own: Callable[..., int] = import_module(self.module).main
        return own

    def config_class(self) -> type[Any]:
        """Import the step's settings, which imports nothing heavy, and return their class."""
        module, _, name = self.settings.partition(":")
        own: type[Any] = getattr(import_module(module), name)
        return own


def _script(word: str, what: str, settings: str) -> Step:
    module = WORDS[word].removesuffix(".py").replace("/", ".")
    return Step(word, what, settings, module, module.rpartition(".")[2])


def _own(word: str, what: str, settings: str, module: str) -> Step:
    return Step(word, what, settings, module, word)


GROUPS: dict[str, tuple[Step, ...]] = {
    "begin": (
        _own("init", "a folder for your slides, with a commented study.yaml and a table to fill in",
             "sarcoma_mil.beginning.new_study:InitConfig", "sarcoma_mil.init"),
        _own("run", "every step that is missing, in order, to the report (--dry_run: what it would take)",
             "sarcoma_mil.whole.run_settings:RunConfig", "sarcoma_mil.run"),
        _own("demo", "the same on a synthetic study, which it paints",
             "sarcoma_mil.beginning.demo_settings:DemonstrationConfig", "sarcoma_mil.demo"),
        _own("doctor", "what this installation has and lacks",
             "sarcoma_mil.beginning.doctor_settings:DoctorConfig", "sarcoma_mil.doctor"),
        _script("check", "looks over a study before hours of compute",
                "preprocessing.checks.check_settings:CheckConfig"),
    ),
    "step by step": (
        _script("tile", "slides to tiles: tissue, quality, grid, colours",
                "preprocessing.tiling.tiling_settings:TilingConfig"),
        _script("features", "tiles to embeddings", "features.embedding.extraction_settings:ExtractionConfig"),
        _script("splits", "patients to folds", "splits.split_settings:SplitConfig"),
        _script("clinical", "what the clinical table alone tells, before any slide", "mil.clinical_run:ClinicalConfig"),
        _script("train", "cross-validated training, with its report", "mil.training.training_settings:TrainConfig"),
        _script("explain", "what each tile contributed, as maps", "mil.explanation.settings:ExplainConfig"),
    ),
    "look at it": (
        _script("results", "the figures of all runs", "mil.show_results:ShowConfig"),
        _script("serve", "slides, maps and predictions in a browser", "mil.viewer.settings:ServeConfig"),
        _script("contact-sheet", "the previews of all slides on one page",
                "preprocessing.make_contact_sheet:ContactSheetConfig"),
        _script("evaluate", "a finished run evaluated again, or compared with another",
                "mil.evaluation_run:EvaluateConfig"),
    ),
    "new slides": (
        _script("predict", "new slides through a trained model", "mil.prediction.settings:PredictConfig"),
    ),
    "more": (
        _script("encoders", "lists the encoders", "features.encoder.listing:ListConfig"),
        _script("stain-reference", "one colour reference of chosen slides",
                "preprocessing.tiling.tiling_settings:StainReferenceConfig"),
        _script("export-tiles", "tiles as images", "preprocessing.tiling.tiling_settings:ExportConfig"),
        _script("convert-features", "features of CLAM, TRIDENT, STAMP or slideflow, both ways",
                "features.exchange.conversion:ConversionConfig"),
        _script("paint", "a synthetic study's slides and table alone",
                "preprocessing.synthetic.demo_settings:DemoConfig"),
    ),
}  # fmt: skip
STEPS = {step.word: step for steps in GROUPS.values() for step in steps}
