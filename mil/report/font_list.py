"""matplotlib's list of fonts, which it would leave in the home folder: kept in a folder of its own that goes with the process."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def keep_home_clean() -> None:
    """Give matplotlib a folder that goes when the process ends, unless it has one; call it before matplotlib is imported."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "matplotlib"
    if "MPLCONFIGDIR" in os.environ or any(cache.glob("fontlist-*.json")):
        return  # a list that is there already saves looking through all fonts
    folder = tempfile.mkdtemp(prefix="fonts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["MPLCONFIGDIR"] = folder
