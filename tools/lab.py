"""Open the book in JupyterLab, with its Markdown pages as notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jupytext_config.labconfig import LabConfig


def run_lab(root: Path) -> None:
    """Run JupyterLab in the book's folder until it is stopped."""
    # In the environment rather than in the reader's own settings, which are none of our business.
    settings = Path(sys.prefix) / "etc" / "jupyter" / "labconfig" / "default_setting_overrides.json"
    LabConfig(settings).read().set_default_viewers(["markdown", "myst"]).write()
    # Kernels of this environment go before those that the reader has installed elsewhere under the same name.
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": str(root / "lib")}
    print("JupyterLab opens in the browser; a double click on a page in chapters/ opens it as a notebook.", flush=True)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    with subprocess.Popen(command, cwd=root, env=environment) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            # JupyterLab got the same signal; wait for its own farewell.
            process.wait()
