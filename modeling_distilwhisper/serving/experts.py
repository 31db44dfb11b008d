"""Experts that are loaded when a language is first asked for, within a bound on their memory."""

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import cached_file

from ..expert_file_distilwhisper import SCALE, expert_file_name, opened_expert_file
from ..repository_distilwhisper import languages_in


class ExpertStore:
    """The experts of a model: those of the languages that were used last are in memory.

    Args:
        model: a `DistilWhisperForConditionalGeneration` without experts.
        locations: folders and Hub ids with expert files.
        memory: bytes that all loaded experts together may take.

    Raises:
        ValueError: two locations have experts of one language.
    """

    def __init__(self, model, locations: Sequence[str], memory: int):
        self.model, self.memory = model, memory
        self.sources: dict[str, str] = {}
        for location in dict.fromkeys(locations):
            for language in languages_in(location):
                other = self.sources.setdefault(language, location)
                if other != location:
                    raise ValueError(
                        f"{other} and {location} both have experts of {language!r}. Expected one place for a language: "
                        "leave one of them out."
                    )
        self._files: dict[str, Path] = {}
        self._fetching = {language: threading.Lock() for language in self.sources}
        self._loaded: OrderedDict[str, int] = OrderedDict()  # language -> bytes, the last used one last

    @property
    def loaded(self) -> int:
        """Bytes of the experts in memory."""
        return sum(self._loaded.values())

    def fetch(self, language: str) -> Path:
        """The file of a language's experts, which is downloaded if it is on the Hub. Any thread may call it.

        Raises:
            OSError: it is not there, or not reachable.
        """
        with self._fetching[language]:
            if language not in self._files:
                self._files[language] = Path(cached_file(self.sources[language], expert_file_name(language)))
        return self._files[language]

    def load(self, languages: Sequence[str]) -> tuple[list[str], dict[str, Exception]]:
        """Loads as many of these languages as fit in the memory together. Others leave, the least recently used first.

        Returns:
            The languages that are loaded now, those that were in memory first; and, for each that cannot be loaded,
            the reason. Call it again with the rest.
        """
        chosen: dict[str, int] = {}
        failed: dict[str, Exception] = {}
        for language in sorted(languages, key=lambda language: language not in self._loaded):
            try:
                size = self._loaded.get(language) or self._size(language)
                if size > self.memory:
                    raise ValueError(
                        f"The experts of {language!r} take {size / 1e6:.0f} MB, and all experts may take "
                        f"{self.memory / 1e6:.0f}. Start the server with a larger --expert_memory."
                    )
                if sum(chosen.values()) + size > self.memory:
                    continue
                self._make_room(size, {*chosen, language})
                if language not in self._loaded:
                    self.model.load_experts(self.fetch(language).parent, language)
            except Exception as error:  # whatever a damaged file may cause: it must not stop the others
                failed[language] = error.with_traceback(None)
                continue
            chosen[language] = self._loaded[language] = size
            self._loaded.move_to_end(language)
        return list(chosen), failed

    def _make_room(self, size: int, kept: set[str]) -> None:
        needed = size * (not kept <= self._loaded.keys())
        for language in [language for language in self._loaded if language not in kept]:
            if self.loaded + needed <= self.memory:
                return
            self.model.remove_language(language)
            del self._loaded[language]

    def _size(self, language: str) -> int:
        """Bytes that the experts of a language will take: their file may have other numbers than the model."""
        with opened_expert_file(str(self.fetch(language)), language, self.model) as file:
            weights = sum(math.prod(shape) for name, shape in file.shapes.items() if not name.endswith(SCALE))
        return weights * self.model.dtype.itemsize
