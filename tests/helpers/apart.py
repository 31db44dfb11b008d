"""A command of `distilwhisper` whose processes start in different folders, as on machines that share no disk.

Arguments: the folder that holds a folder for each process, named by its number, and the command.
"""

import os
import sys
from pathlib import Path

import distilwhisper_cli

folder, *command = sys.argv[1:]
os.chdir(Path(folder, os.environ["RANK"]))
sys.exit(distilwhisper_cli.main(command))
