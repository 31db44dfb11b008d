"""The models that label: loaded when there is something to label."""

import argparse
from functools import cached_property

from transformers import GenerationConfig

from ...languages_distilwhisper import known_languages, language_of_token
from ...runs.any_whisper import adapted_base, load_model, load_processor
from ...transcription.detection import DetectionChoice, detection_choice
from ...transcription.pseudo_labels import PseudoLabeller, Second
from .speech import OF_FOLDERS


class Models:
    """The labeller of a command, loaded when it is first needed: a run that only filters needs none.

    Args:
        arguments: of the command.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments

    @property
    def known(self) -> set[str]:
        """The codes of the languages that the model knows."""
        location = self.arguments.model
        try:
            tokens = getattr(GenerationConfig.from_pretrained(adapted_base(location) or location), "lang_to_id", None)
        except OSError:  # it has no such file
            tokens = None
        return {language_of_token(token) for token in tokens} if tokens else set(known_languages(self.labeller.model))

    def choice(self) -> DetectionChoice:
        """How languages are detected.

        Raises:
            ValueError: the model cannot detect a candidate, or has no trained rows.
        """
        given = self.arguments
        return detection_choice(self._model, given.candidate_languages, given.detection, given.model)

    @cached_property
    def _model(self):
        return load_model(self.arguments.model, self.arguments.precision, self.arguments.device)

    @cached_property
    def labeller(self) -> PseudoLabeller:
        """
        Raises:
            ValueError: the second model does not know a language, or what `choice` raises.
        """
        given = self.arguments
        choice = self.choice()
        model, processor = self._model, load_processor(given.model)
        return PseudoLabeller(
            model,
            processor,
            second=self._second(model, processor),
            candidate_languages=choice.candidates,
            detection=choice.detection,
            batch_size=given.batch_size,
            num_beams=given.num_beams,
        )

    def _second(self, model, processor) -> Second | None:
        given = self.arguments
        settings = {"num_beams": given.second_num_beams or 1}
        if given.second_temperature is not None:
            settings |= {"do_sample": True, "temperature": given.second_temperature}
        if given.second_model:
            model, processor = load_model(given.second_model, given.precision, given.device), None
            if unknown := {*given.language} - {*OF_FOLDERS} - set(known_languages(model)):
                raise ValueError(f"{given.second_model} does not know {', '.join(sorted(unknown))}. Choose another.")
            return Second(model, load_processor(given.second_model), settings)
        has_second = given.second_num_beams is not None or given.second_temperature is not None
        return Second(model, processor, settings) if has_second else None
