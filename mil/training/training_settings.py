"""The settings of train.py, in a module that imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.cluster.cluster_settings import EngineConfig
from common.settings import option

# what does not change a result, and so does not make finished folds invalid
WITHOUT_EFFECT = (
    "study", "name", "features", "splits", "where", "audit", "covariates", "learning_curve", "bootstrap", "memory_gb", "heads",
    "save_seconds", "tensorboard", "scheduler", "slurm", "workers",
    "search", "search_space", "search_folds", "search_sampler",  # so does what is searched
    "target", "kind", "order",  # targets stand in the fingerprint by themselves
    "competing",
)  # fmt: skip

# where a run is made, and by how many: two that differ in it leave the same bytes
OF_MACHINE = ("study", "scheduler", "slurm", "workers")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(EngineConfig):
    """The settings of train.py."""

    task: str = option("subtype", help="what to predict: subtype, survival, or a task of study.yaml", group="study")
    target: str | None = option(
        None,
        help="instead: a column of the clinical table, or several with commas; runs lie under its name, or that of --task",
        group="study",
    )
    kind: str | None = option(
        None, help="what the target is, where the finding is not right: classes, ordered or number", group="study"
    )
    order: str | None = option(None, help="ordered classes of the target, the lowest first, with commas", group="study")
    study: Path = option(Path("study"), help="study folder", group="study")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="study")
    encoder: str = option("efficientnet_lite0", help="whose features: features/ENCODER/", group="study")
    features: Path | None = option(
        None, help="instead: a folder of features made by CLAM, TRIDENT, STAMP or slideflow", group="study"
    )
    splits: str = option("default", help="name of the splits: splits/NAME.csv", group="study")
    where: str | None = option(
        None,
        help="only rows for which this holds, such as \"subtype == 'LMS'\"; of a missing value nothing holds",
        group="study",
    )
    audit: bool = option(False, help="print what could leak between the parts, and stop before training", group="study")
    seed: int = option(0, help="seed of weights, order and dropout", group="training")
    epochs: int = option(
        0,
        group="training",
        help="epochs; all are run, and the last weights are kept; 0: 30, and for subtypes more in a small cohort, up to 450 steps",
    )
    learning_rate: float = option(
        3e-3,
        help="AdamW's highest rate, after the warm-up (survival by Cox takes a third); falls to 0 by a cosine",
        group="training",
    )
    label_smoothing: float = option(
        0.1, help="share of each label that is spread over all classes, 0 to 0.9 (subtype)", group="training"
    )
    cross_fit: int = option(
        3,
        group="training",
        help="inner folds of the training patients for predictions out of fold: temperatures, prediction sets and risk cut-offs "
        "come from them; 0: none",
    )
    patience: int = option(
        0,
        group="training",
        help="let the inner validation part of the splits choose: stop after so many epochs without a better one, never before "
        "half of --epochs; 0: it is trained on like the rest",
    )
    weight_decay: float = option(1e-2, help="AdamW's weight decay", group="training")
    head: str = option("gated_attention", help="name of the head", group="head")
    heads: str | None = option(
        None,
        help="train these heads too, such as mean_mlp,max_pool, each as a run of its own on the same folds, and compare them with "
        "--head",
        group="head",
    )
    dropout: float = option(0.25, help="share of hidden units left out in training, 0 to 0.9", group="head")
    evenness: float = option(
        0.3,
        help="how strongly attention is held near the mean of a bag's tiles at first, a tenth as strongly from the middle of the "
        "training on; 0: not at all",
        group="head",
    )
    hidden: int = option(0, help="hidden width of the head; 0: 128, and 64 for survival by Cox", group="head")
    attention: int = option(0, help="width of the attention branches; 0: half of the hidden width", group="head")
    max_tiles: int = option(
        512, help="tiles drawn from a bag, anew each epoch, in training; evaluation takes all", group="training"
    )
    batch_patients: int = option(
        8,
        help="patients a step (subtype, and survival by logistic hazard), or a block of the exact gradient (survival by Cox)",
        group="training",
    )
    risk_set_patients: int = option(
        32,
        group="training",
        help="most patients a step (survival by Cox; a quarter of them where these are fewer), events spread evenly; 0: one step "
        "an epoch by the exact gradient of all",
    )
    search: int = option(
        0, help="trials a fold of a search for settings, judged by inner folds of the training patients alone; 0: none",
        group="search",
    )  # fmt: skip
    search_space: Path | None = option(
        None, help="YAML of what is searched; left out: search in study.yaml, else a default space", group="search"
    )
    search_folds: int = option(3, help="inner folds by which a trial is judged, from 2", group="search")
    search_sampler: Literal["tpe", "random"] = option(
        "tpe", help="how trials are drawn: a tree-structured Parzen estimator, or at random", group="search"
    )
    loss: Literal["cox", "logistic_hazard"] = option(
        "cox",
        group="survival",
        help="what the head learns: one log-hazard by Cox's partial likelihood, or a chance of the event for each interval of time "
        "(discrete-time logistic hazard), whose hazards need not be proportional and whose survival needs no baseline",
    )
    intervals: int = option(
        10,
        group="survival",
        help="most intervals of --loss logistic_hazard, parted at quantiles of the times of the training patients' events; one for "
        "every 5 events at most",
    )
    endpoint: str = option(
        "",
        group="survival",
        help="end point: OS takes the columns OS_time and OS_event, OS.time and OS, or OS_MONTHS and OS_STATUS; TIME/EVENT names "
        "two columns; left out: time and event",
    )
    horizon: float = option(
        0.0, group="survival", help="censor follow-up beyond this time, in the unit of the times; 0: nowhere"
    )
    ties: Literal["efron", "breslow"] = option(
        "efron", group="survival", help="how events at one time are handled in Cox's likelihood"
    )
    strata: str = option(
        "",
        group="survival",
        help="a column: only patients with the same value are compared, in training and in the baselines",
    )
    entry: str = option(
        "",
        group="survival",
        help="a column: when a patient came under observation (left truncation); before it nobody is at risk",
    )
    case_weights: str = option("", group="survival", help="a column: how much a patient counts in Cox's likelihood")
    competing: str = option(
        "",
        group="survival",
        help="a column of any event (OS for the end point DSS): who has it and not the end point's had a competing one, which "
        "the report counts",
    )
    risk_groups: str = option(
        "median",
        group="survival",
        help="risk groups parted at the median, the tertiles or the quartiles of the training patients' log-hazards, or at given "
        "scores with commas (0.5 or -0.5,0.5: in SD of the training patients)",
    )
    ridge: float | None = option(
        None,
        group="survival",
        help="penalty on the weights of --head linear, which is fitted exactly; left out: the number of inputs; 0: Cox regression",
    )
    covariates: str | None = option(
        None,
        help="columns of the clinical baseline, with commas, or none; left out: every column that is no id or target",
        group="evaluation",
    )
    learning_curve: str | None = option(
        None, help="also train on these shares of the training patients, such as 0.25,0.5,0.75", group="evaluation"
    )
    bootstrap: int = option(2000, help="patient bootstraps of the intervals", group="evaluation")
    save_seconds: float = option(
        60.0, help="seconds of training after which its state is kept, so that a killed one goes on from there; 0: after each "
        "epoch, -1: never", group="work",
    )  # fmt: skip
    tensorboard: bool = option(
        False,
        help="also leave the losses of every epoch as TensorBoard events, in tensorboard/ of the run",
        group="work",
    )
    workers: int | None = option(
        None,
        help="worker processes, each a fold at a time; unset: as many as processors, memory and folds allow, none for a training "
        "of a minute; 0: none, one fold after the other in this process",
        group="work",
    )
    threads: int = option(
        1, help="processor threads of a fold; part of the settings, since sums depend on it", group="work"
    )
    memory_gb: float = option(
        4.0, help="memory for bags, GB, of each process; what does not fit is read again", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check_cluster()
        for name, least in (("hidden", 0), ("attention", 0), ("max_tiles", 1), ("batch_patients", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is a number from {least}, got {getattr(self, name)}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"--workers is a number from 0, got {self.workers}")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 0.9:
                raise ValueError(f"--{name} is a fraction from 0 to 0.9, got {getattr(self, name)}")
        for name, is_wrong, wanted in self._rules():
            if is_wrong:
                raise ValueError(f"--{name} is {wanted}, got {getattr(self, name)}")
        from mil.survival.risk_groups import n_groups  # here: the help of a script imports no numbers

        n_groups(self.risk_groups)
        self._check_loss()
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("--learning_rate is above 0 and --weight_decay not below 0")

    def _check_loss(self) -> None:
        """Refuse what only Cox's likelihood knows beside another one."""
        if self.loss == "cox":
            return
        if self.strata:
            raise ValueError(
                f"--strata {self.strata} compares patients inside a stratum, which Cox's likelihood does; --loss {self.loss} "
                "compares nobody, each patient has a likelihood of the own: leave --strata out, or give --loss cox"
            )
        if self.ridge is not None:
            raise ValueError(
                f"--ridge {self.ridge:g} is the penalty of Cox regression, by which --loss cox fits --head linear; --loss "
                f"{self.loss} learns that head in steps, held by --weight_decay: leave --ridge out, or give --loss cox"
            )

    def with_widths(self, hidden: int) -> TrainConfig:
        """Return the settings with the widths of the head that the user left to the task, whose hidden width is given."""
        own = self.hidden or hidden
        return replace(self, hidden=own, attention=self.attention or max(1, own // 2))

    def _rules(self) -> tuple[tuple[str, bool, str], ...]:
        """Return settings, whether each is out of its range, and what it should be."""
        ridge = self.ridge or 0.0
        return (
            ("epochs", self.epochs < 0, "a number from 1, or 0 for the default"),
            ("patience", self.patience < 0, "a number of epochs, or 0 for none"),
            ("cross_fit", self.cross_fit < 0 or self.cross_fit == 1, "a number of inner folds from 2, or 0 for none"),
            ("search", self.search < 0, "a number of trials, or 0 for none"),
            ("search_folds", self.search_folds < 2, "a number of inner folds from 2"),
            (
                "risk_set_patients",
                self.risk_set_patients < 0 or self.risk_set_patients == 1,
                "a number from 2, or 0 for all",
            ),
            ("evenness", not 0 <= self.evenness <= 10, "a number from 0 to 10"),
            ("intervals", self.intervals < 1, "a number from 1"),
            ("horizon", not 0 <= self.horizon < float("inf"), "a time above 0, or 0 for none"),
            ("ridge", not 0 <= ridge < float("inf"), "a number from 0"),
            ("bootstrap", self.bootstrap < 100, "a number from 100"),
            ("seed", self.seed < 0, "a number from 0"),
        )
