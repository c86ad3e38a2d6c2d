"""The settings of the demonstration, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option
from preprocessing.synthetic.demo_settings import DemoConfig


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig(DemoConfig):
    """The settings of demo: those of painting, in a folder of its own."""

    study: Path = option(Path("demo"), help="study folder to make; never one with slides of your own", group="study")
