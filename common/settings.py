"""A frozen dataclass is a command line: each field an option with its type, default, help and group.

The same names stand in `study.yaml`, under the name of the script; a flag overrides the file:

    tile_slides:
      tile_um: 128
"""

import argparse
import dataclasses
import datetime
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from common import __version__
from common.calling.calls import as_called, step_name
from common.failures import EXIT_WRONG_USE, StudyError
from common.guards.names import nearest
from common.guards.safe_yaml import plain_value, yaml_value
from common.option_faults import ALONE, flags_fault, option_fault
from common.running.log_file import start_log

Config = TypeVar("Config")
SETTINGS_FILE = "study.yaml"
LOG = "log"  # the option that is none of the work's settings
SECTIONS = frozenset(  # the scripts that read it, and the names of columns of the clinical table
    {
        "make_demo_study", "check_study", "tile_slides", "make_contact_sheet", "make_stain_reference", "export_tiles",
        "extract_features", "encoders", "convert_features", "make_splits", "train", "evaluate", "predict", "explain",
        "serve", "show_results", "clinical", "init", "run", "demo", "doctor", "columns",
    }
)  # fmt: skip
# keys of the study as a whole: common/tables/study_notes.py, mil/tasks/targets.py, mil/training/search/space.py
OF_STUDY = ("unit", "source", "date", "patients", "tasks", "search")


def option(default: Any, *, help: str, group: str = "settings") -> Any:
    """Declare a field of a settings dataclass; the unit and the meaning of the value stand in `help`."""
    return dataclasses.field(default=default, metadata={"help": help, "group": group})


def parse_config(
    config_class: type[Config], argv: Sequence[str] | None, *, section: str, description: str | None
) -> Config:
    """Read settings from `<study>/study.yaml` (its part `section`) and the command line, which wins; begin the log of --log.

    Args:
        config_class: a dataclass whose fields were made with `option`; one named `study` is the study folder.
        argv: the arguments after the program's name; None takes them from the process.
        section: the script's name without ending.
        description: the script's docstring.

    Raises:
        StudyError: the settings file is no mapping, names an unknown script or option, a value breaks a rule, or the log
            cannot be written.
        SystemExit: a flag is unknown or has no such value (code 2), or help or the version was asked for (code 0).
    """
    parser = _parser(config_class, section, description)
    flags = [_underscored(flag, parser.options) for flag in (sys.argv[1:] if argv is None else argv)]
    study = _study_folder(flags, config_class)
    if any(flag in ALONE for flag in flags):
        study = None  # help is given whatever stands in a file
    from_file = [] if study is None else _file_flags(parser, study / SETTINGS_FILE, section)
    namespace = _parsed(parser, from_file, flags)
    if namespace[LOG] is not None:
        start_log(namespace[LOG], f"$ {step_name(section)} {shlex.join(flags)}")
    values = {field.name: namespace[field.name] for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    try:
        return config_class(**values)
    except ValueError as error:
        raise StudyError(str(error)) from error


def settings_of(config: Any, *, without: Sequence[str] = ()) -> dict[str, object]:
    """Return a config as plain values for YAML and JSON, without fields that do not change a result."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name not in without
    }


def read_settings(path: Path) -> Any:
    """Return what stands in a settings file, by rights a mapping; an empty one where there is no file.

    Raises:
        StudyError: it is not YAML.
    """
    if not path.is_file():
        return {}
    try:
        return yaml_value(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:  # UnicodeDecodeError is one
        raise StudyError(f"{path}: not readable as YAML ({error})") from error


def _parsed(parser: Any, from_file: Sequence[str], flags: Sequence[str]) -> Any:
    """Return the values of a settings file and a command line; the later wins.

    Raises:
        SystemExit: a flag is not understood; the message says what it wants.
    """
    try:
        return parser.parse_args([*from_file, *flags])
    except _NotUnderstoodError as error:
        fault = flags_fault(flags, parser.options, parser.is_value) or str(error)
    print(f"error: {as_called(fault)}", file=sys.stderr)
    raise SystemExit(EXIT_WRONG_USE)


class _NotUnderstoodError(Exception):
    """The parser's own message, in Python's words."""


def options_of(config_class: type) -> dict[str, tuple[Any, object]]:
    """Return name to annotation and default: the settings, and what every script takes."""
    kinds = get_type_hints(config_class)
    own = {field.name: (kinds[field.name], field.default) for field in dataclasses.fields(config_class)}
    return own | {LOG: (Path | None, None)}


def _parser(config_class: type, section: str, description: str | None) -> Any:
    import jsonargparse

    class Parser(jsonargparse.ArgumentParser):
        """Leaves it to its caller to say what is wrong."""

        options: dict[str, tuple[Any, object]]

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise _NotUnderstoodError(message) from ex

        def is_value(self, name: str, text: str) -> bool:
            """Return whether a text is a value of an option."""
            try:
                self.parse_args([f"--{name}={text}"])
            except _NotUnderstoodError:
                return False
            return True

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Shows what an option means and its default; Python's names of types help nobody."""

        def _get_help_string(self, action: argparse.Action) -> str:
            is_plain = action.default is None or action.default is argparse.SUPPRESS
            words = as_called(str(action.help))
            return words if is_plain else f"{words} (default: %(default)s)"

    # all options are plain values; a flag is not read as a list or a mapping, which may stand for a billion
    jsonargparse.set_loader("yaml", plain_value, exceptions=(ValueError,))
    parser = Parser(
        prog=step_name(section),
        usage=f"{step_name(section)} [--option VALUE ...]",
        description=None if description is None else as_called(description),
        formatter_class=Formatter,
        default_env=False,
        allow_abbrev=False,  # --stud would name another study than the one whose study.yaml is read
    )
    parser.options = options_of(config_class)
    groups: dict[str, Any] = {}
    own = vars(config_class).get("__annotations__", {})
    # a class's own settings first, then those it takes over from another
    for field in sorted(dataclasses.fields(config_class), key=lambda field: field.name not in own):
        title = field.metadata["group"]
        group = groups.setdefault(title, None) or parser.add_argument_group(title)
        groups[title] = group
        # a switch can stand alone, and then says yes: --audit is --audit true
        kind, default = parser.options[field.name]
        switch = {"nargs": "?", "const": True} if kind is bool else {}
        group.add_argument(f"--{field.name}", type=kind, default=default, help=field.metadata["help"], **switch)
    every = parser.add_argument_group("every script")
    every.add_argument(
        f"--{LOG}", type=Path | None, default=None, help="file to which all that is printed is added, with times"
    )
    every.add_argument(
        "--version", action="version", version=f"sarcoma-mil {__version__}", help="show the version and end"
    )
    return parser


def _underscored(flag: str, options: Mapping[str, object]) -> str:
    """Return --dry-run as --dry_run, where that is an option: other programs write the one."""
    name, equals, value = flag.removeprefix("--").partition("=")
    spelt = name.replace("-", "_")
    return f"--{spelt}{equals}{value}" if flag.startswith("--") and name not in options and spelt in options else flag


def _study_folder(flags: Sequence[str], config_class: type) -> Path | None:
    names = {field.name: field.default for field in dataclasses.fields(config_class)}
    if "study" not in names:
        return None
    study = names["study"]
    for position, flag in enumerate(flags):
        if flag == "--study" and position + 1 < len(flags):
            study = flags[position + 1]
        elif flag.startswith("--study="):
            study = flag.removeprefix("--study=")
    return Path(str(study))


def _file_flags(parser: Any, path: Path, section: str) -> list[str]:
    content = read_settings(path)
    if isinstance(content, dict) and (foreign := sorted(set(map(str, content)) - SECTIONS - {section, *OF_STUDY})):
        near = nearest(foreign[0], sorted(SECTIONS))
        raise StudyError(
            f"{path}: {', '.join(map(repr, foreign))} is no script{near}; options stand under the script's name, one of "
            f"{', '.join(sorted(SECTIONS - {'columns'}))}, names of columns under 'columns', and {', '.join(OF_STUDY)} alone"
        )
    part = content.get(section) or {} if isinstance(content, dict) else None
    if not isinstance(part, dict):
        found = "a list" if isinstance(part, list) else repr(part)[:80]
        raise StudyError(f"{path}: wanted a mapping of option to value under '{section}:', found {found}")
    options = parser.options
    unknown = sorted(map(str, set(part) - set(options)))
    if unknown:
        raise StudyError(
            f"{path}: '{section}' has no option {', '.join(map(repr, unknown))}{nearest(unknown[0], list(options))}; it has "
            f"{', '.join(options)}"
        )
    for name, value in part.items():
        if not parser.is_value(name, _as_flag(value)):
            kind, default = options[name]
            raise StudyError(f"{path}: {section}: {name} {option_fault(name, kind, default, value)}")
    return [f"--{name}={_as_flag(value)}" for name, value in part.items()]


def _as_flag(value: object) -> str:
    return str(value) if isinstance(value, str | datetime.date) else json.dumps(value)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return value.as_posix()
    return list(value) if isinstance(value, tuple) else value
