"""What this installation has and lacks: Python, packages, OpenSlide, OpenVINO, PyTorch and its GPUs, the encoder's weights, space.

Each fault comes with how to repair it. Exit code 0: all well; 1: something is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.calling.calls import as_called
from common.failures import EXIT_DONE, EXIT_SOME_FAILED, command, wrapped_lines
from common.settings import parse_config
from sarcoma_mil.beginning.doctor_settings import DoctorConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Look, and say what was found."""
    config = parse_config(DoctorConfig, argv, section="doctor", description=__doc__)
    from preprocessing.checks.installation import check_installation

    n_faults = 0
    for what, found, remedy in check_installation(config.study, weights=config.weights):
        print("\n".join(wrapped_lines(f"{what}: {found}")))
        if remedy:
            n_faults += 1
            print("\n".join(wrapped_lines(f"  -> {as_called(remedy)}")))
    print(f"{n_faults} finding(s)" if n_faults else "all well")
    return EXIT_SOME_FAILED if n_faults else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
