"""The model of a replica: batches of windows, of any languages, to their texts."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import set_seed

from ..languages_distilwhisper import known_languages
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.any_whisper import expert_languages, load_model, load_processor
from ..runs.detection import WHISPER
from ..runs.precision import QUANTISED, precision_settings
from ..transcription.window_batch import transcribe_windows, window_features
from .detection import LanguageDetector
from .experts import ExpertStore
from .items import DETECT, Description, Item, Outcome, Settings


class Engine:
    """A model, and the experts that are loaded as they are needed.

    Args:
        model: folder or Hub id of a multilingual Whisper, plain or with experts.
        experts: folders and Hub ids of more experts, on the same backbone.
        expert_memory: bytes that loaded experts may take.
        precision: as for `load_model`.
        device: where the model runs.
        candidate_languages: among which languages are detected, as for `detection_choice`; `None`: all.
        detection: "whisper" or "trained".

    Raises:
        ValueError: two places have experts of one language, a candidate cannot be detected, or what `load_model`
            raises.
    """

    def __init__(
        self,
        model: str,
        experts: Sequence[str],
        expert_memory: int,
        precision: str,
        device: str,
        candidate_languages: Sequence[str] | None = None,
        detection: str = WHISPER,
    ):
        self.processor = load_processor(model)
        own = [model] if expert_languages(model) else []
        if experts and not own:
            loading = precision_settings(precision, device)
            bare = DistilWhisperForConditionalGeneration.from_whisper(model, languages=[], **loading)
            self.model = bare if precision in QUANTISED else bare.to(device)
        else:
            self.model = load_model(model, precision, device, languages=[])
        self.experts = ExpertStore(self.model, [*own, *experts], expert_memory)
        self.detect = LanguageDetector(self.model, self.experts, candidate_languages, detection)
        self._turn = threading.Lock()

    def describe(self) -> Description:
        """What a server has to know of the model."""
        window = self.processor.feature_extractor.n_samples
        experts = tuple(sorted(self.experts.sources))
        return Description(tuple(dict.fromkeys([*known_languages(self.model), *experts])), experts, window)

    def fetch(self, language: str | None) -> None:
        """Downloads the experts of a language if they are on the Hub: before its batch, which would have to wait."""
        if language in self.experts.sources:
            try:
                self.experts.fetch(language)
            except (OSError, ValueError):  # `run` tries again, and says it
                return

    @torch.inference_mode()
    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """Transcribes a batch of windows. No outcome depends on the other windows.

        A window that fails has an error as its outcome, and the others have their transcripts.
        """
        with self._turn:
            outcomes: dict[int, Outcome] = {}
            rows: list[int] = []
            waiting = list(range(len(items)))
            missing = {item.language: None for item in items if item.language in self.experts.sources}
            while waiting:
                loaded, failed = self.experts.load([language for language in missing if language is not None])
                for index in [index for index in waiting if items[index].language in failed]:
                    outcomes[index] = _failure(items[index], failed[str(items[index].language)], "experts")
                for language in [*loaded, *failed]:
                    del missing[language]
                ready = [index for index in waiting if index not in outcomes and items[index].language not in missing]
                for group in _groups(items, ready):
                    outcomes |= dict(zip(group, self._run_group([items[index] for index in group]), strict=True))
                    rows.append(len(group))
                waiting = [index for index in waiting if index not in outcomes]
            outcomes[0] = replace(outcomes[0], batches=tuple(rows), loaded=self.experts.loaded)
        return [outcomes[index] for index in range(len(items))]

    def _run_group(self, items: list[Item]) -> list[Outcome]:
        """The outcomes of windows that share their settings. If they fail together, each is tried alone."""
        settings = items[0].settings
        try:
            features = window_features(self.processor, [item.samples for item in items])
            if settings.task == DETECT:
                inputs = features.input_features.to(self.model.device, self.model.dtype)
                return [Outcome(name) for name in self.detect(inputs)]
            languages = [str(item.language) for item in items]
            generation = self._generation(settings)
            logprobs = any(item.settings.logprobs for item in items)
            texts = transcribe_windows(self.model, self.processor, features, languages, logprobs=logprobs, **generation)
            return [Outcome(language, text) for language, text in zip(languages, texts, strict=True)]
        except Exception as error:
            if len(items) == 1:
                return [_failure(items[0], error, "window")]
        return [outcome for item in items for outcome in self._run_group([item])]

    def _generation(self, settings: Settings) -> dict[str, Any]:
        """The arguments of `generate`."""
        generation: dict[str, Any] = {"task": settings.task}
        if settings.prompt:
            generation["prompt_ids"] = self._prompt(settings.prompt)
        if settings.temperature:
            set_seed(0)  # the same request has the same answer
            generation |= {"temperature": settings.temperature, "do_sample": True}
        return generation

    def _prompt(self, text: str) -> torch.Tensor:
        """The tokens of a prompt. Whisper takes the last ones: half of the tokens are left for the transcript."""
        tokens = self.processor.get_prompt_ids(text, return_tensors="pt")
        most = self.model.config.max_target_positions // 2 - 1
        return torch.cat([tokens[:1], tokens[1:][-most + 1 :]]).to(self.model.device)


def _groups(items: Sequence[Item], indices: list[int]) -> list[list[int]]:
    """Indices of windows that `generate` can take together. Sampling draws one number after the other: each alone."""
    groups: dict[object, list[int]] = {}
    for index in indices:
        settings = items[index].settings
        groups.setdefault((settings, index) if settings.temperature else settings, []).append(index)
    return list(groups.values())


def _failure(item: Item, error: Exception, what: str) -> Outcome:
    reason = f"{type(error).__name__}: {error}"
    if what == "experts":
        return Outcome(item.language, error=f"The experts of {item.language!r} cannot be loaded.", detail=reason)
    return Outcome(item.language, error="The model failed on this recording.", detail=reason)
