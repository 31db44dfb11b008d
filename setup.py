"""What setup.cfg cannot say: on PyPI, where README.md stands alone, its links lead to the repository."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

root = Path(__file__).parent
config = ConfigParser()
config.read(root / "setup.cfg", encoding="utf-8")
urls = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in config["metadata"]["project_urls"].split("\n") if line)
readme = (root / "README.md").read_text(encoding="utf-8")
relative = r"\((?!\w+:|#)"  # of a link's target
readme = re.sub(rf"(!\[[^\]]*\]){relative}", rf"\1({urls['Source']}/raw/main/", readme)
readme = re.sub(rf"\]{relative}", f"]({urls['Source']}/blob/main/", readme)
setup(long_description=readme, long_description_content_type="text/markdown")
