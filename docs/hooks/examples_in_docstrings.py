"""Shows a docstring's section "Example:" as Griffe shows "Examples:": code with its output."""

import re

import griffe


class ExamplesInDocstrings(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
