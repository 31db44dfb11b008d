"""Fails unless each requirement of setup.cfg is installed in the lowest version that it allows."""

from configparser import ConfigParser
from importlib.metadata import version

from packaging.version import Version

config = ConfigParser()
config.read("setup.cfg", encoding="utf-8")
floors = dict(line.split(">=") for line in config["options"]["install_requires"].split())
higher = {name: version(name) for name, floor in floors.items() if Version(version(name)).public != floor}
if higher:
    raise SystemExit(f"Not the lowest that setup.cfg allows: {higher}")
print(f"{len(floors)} requirements in their lowest versions")
