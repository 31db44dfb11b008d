"""A process that has Transformers but cannot import this package, as on the machine of someone who only loads."""

import os
import subprocess
import sys
from pathlib import Path

WITHOUT_THE_PACKAGE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "modeling_distilwhisper":
            raise ImportError("the package is not there")

sys.meta_path.insert(0, Blocker())
try:
    import modeling_distilwhisper
    sys.exit("the package can be imported: this would test nothing")
except ImportError:
    pass"""


def run_without_the_package(script: str, scratch: Path, *arguments: Path, **environment: str) -> list[str]:
    """Runs `script` in an empty folder with new module caches, and returns the lines that it printed."""
    caches = {"HF_MODULES_CACHE": str(scratch / "modules"), "HOME": str(scratch)}
    environment = {"HF_HUB_OFFLINE": "1"} | caches | environment
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE + script, *arguments],
        cwd=scratch,
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()
