"""OpenVINO without its reports: its converter tells a web service of every conversion, and keeps a client id in the home folder.

It does so through the package openvino_telemetry, and where that cannot be imported through a stub that does nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

REPORTER, CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


def import_openvino() -> ModuleType:
    """Return the module openvino, whose converter reports nothing."""
    for name in [name for name in sys.modules if name.partition(".")[0] == REPORTER]:
        del sys.modules[name]
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's way to say that a package cannot be imported
    import openvino
    from openvino.tools.ovc import telemetry_stub

    for name, module in list(sys.modules.items()):  # where somebody else imported it with its reporter before
        if name.startswith(CONVERTER) and getattr(module, "tm", telemetry_stub) is not telemetry_stub:
            module.tm = telemetry_stub  # type: ignore[attr-defined]
    return openvino
