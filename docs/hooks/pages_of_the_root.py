"""Pages of the site that lie in the repository's root, and links that leave the site.

On GitHub `README.md` is the first page, and links reach every file of the repository. The site takes README.md as its
home page, and CONTRIBUTING.md and CHANGELOG.md as pages. A link to a file that is not in the site becomes its text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contribute.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files, config):
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites the links of a page: as seen from the root, then as seen from the page in the site."""
    here = {site: source for source, site in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewrite(link: re.Match) -> str:
        image, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        file = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        site = PAGES.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
        if site is None or files.get_file_from_path(site) is None:
            return link[0] if file.startswith("docs/") else ("" if image else text)
        return f"{image}[{text}]({posixpath.relpath(site, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)
