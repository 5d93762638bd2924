"""Extension of griffe, which mkdocstrings uses: show the section "Example" of a docstring as code."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Renames the section to "Examples", the only name that griffe reads as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in the docstring of a loaded object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example\b.*:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
