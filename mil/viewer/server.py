"""Serves the viewer on this computer until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable

from common.failures import StudyError
from mil.viewer.app import viewer_app
from mil.viewer.catalogue import make_catalogue
from mil.viewer.guard import LOOPBACK
from mil.viewer.settings import ServeConfig


def serve(config: ServeConfig, *, say: Callable[[str], None] = print) -> None:
    """Do what the script does; returns when it is stopped.

    Raises:
        StudyError: there is nothing to show, or no port.
    """
    import uvicorn

    from common.study import open_study

    catalogue = make_catalogue(
        open_study(config.study),
        task=config.task,
        name=config.name,
        slides=config.slides,
        maps=config.maps,
        cache=config,
    )
    app = viewer_app(catalogue, most_open=config.open_files, memory_bytes=config.memory_mb << 20)
    with free_socket(config.port) as bound:
        for note in catalogue.notes:
            say(f"note: {note}")
        say(
            f"{len(catalogue.patients)} patients, {len(catalogue.slides)} slides: http://{LOOPBACK}:{bound.getsockname()[1]}/  "
            "(only on this computer; Ctrl-C stops)"
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
        server.run(sockets=[bound])


def free_socket(port: int) -> socket.socket:
    """Return a socket of this computer alone, listening at the port, or at a free one where it is taken.

    Raises:
        StudyError: no port can be had.
    """
    for wanted in dict.fromkeys((port, 0)):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((LOOPBACK, wanted))
            bound.listen()  # before the address is said: who opens it at once waits a moment and is not refused
        except OSError:
            bound.close()
            continue
        return bound
    raise StudyError("no port on this computer can be listened at; is a firewall in the way?")
