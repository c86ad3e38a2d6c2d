"""Loaded by every Python process whose PYTHONPATH names this folder: connections fail, and stand in the file SOCKET_LOG."""

import os
import socket
import traceback


def _refusing(name, original):
    def refused(*arguments, **options):
        if getattr(arguments[0], "family", None) == getattr(socket, "AF_UNIX", -1):
            return original(*arguments, **options)  # between processes of one machine
        with open(os.environ["SOCKET_LOG"], "a", encoding="utf-8") as file:  # noqa: PTH123  nothing is loaded yet
            file.write(f"{name}\n{''.join(traceback.format_stack(limit=8))}")
        raise OSError("connections are forbidden here")

    return refused


for _name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, _name, _refusing(_name, getattr(socket.socket, _name)))
socket.getaddrinfo = _refusing("getaddrinfo", socket.getaddrinfo)
