"""Configuration of DistilWhisper: Whisper's settings, and those of language experts and gates."""

import math

import transformers

OLDEST = (5, 4)  # of Transformers. This file comes first where a checkpoint brings its code, so it says so.
if tuple(map(int, transformers.__version__.split(".")[:2])) < OLDEST:
    raise ImportError(
        f"DistilWhisper needs transformers {'.'.join(map(str, OLDEST))} or newer, found {transformers.__version__}. "
        'Install it: pip install -U "transformers"'
    )

from huggingface_hub.dataclasses import strict  # noqa: E402
from transformers import WhisperConfig  # noqa: E402

from .language_names_distilwhisper import language_name, language_names  # noqa: E402

MAX_OWN_TOKENS = 1000  # of languages, behind the vocabulary: a tokenizer gets all tokens up to the last one
MAX_GATE_DIM = 65_536  # far above any use: a config from elsewhere must not ask for terabytes


@strict
class DistilWhisperConfig(WhisperConfig):
    r"""
    Configuration of a Whisper with gated language experts (Multilingual DistilWhisper, sections 4.1 to 4.3).

    Args:
        languages (`list[str]`, *optional*, defaults to `[]`):
            Names of the languages that have an expert, e.g. `["ca", "gl", "de-CH"]`: Whisper's codes, and BCP 47 tags
            of those that Whisper has no token for. In a call of `from_pretrained`, the experts to load; the other
            languages' files are neither fetched nor opened.
        gate_budget (`float`, *optional*, defaults to 0.5):
            Budget *b*: the share of tokens, in [0, 1], that should take the expert (eq. 4.6).
        gate_budgets (`dict[str, float]`, *optional*, defaults to `{}`):
            Budgets of single languages that differ from `gate_budget`.
        skip_gate_prob (`float`, *optional*, defaults to 0):
            Probability *s*, in [0, 1), that training closes one layer's gate for one utterance (section 4.3.1, with
            0.2; 0 made fewer errors here).
        gate_dim (`int`, *optional*, defaults to 64):
            Width of the gate's bottleneck (eq. 4.3).
        gate_training (`str`, *optional*, defaults to `"hard"`):
            How gates decide in training. `"hard"`: as at inference, with a straight-through gradient and a threshold
            per layer that follows the budget. `"soft"`: the report's sigmoid with rising noise (eq. 4.2).
        gate_noise_max (`float`, *optional*, defaults to 5.0):
            The scale that the noise of `"soft"` training rises to, linearly (alpha of eq. 4.2). `"hard"` training draws
            no noise.
        gate_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the gate's input. With it, gates differ between training and inference, and error rates rise.
        expert_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the expert's output. Whisper was trained without dropout, and error rates rise with it.
        expert_rank (`int`, *optional*, defaults to 0):
            With 0, an expert is a full copy of the feed-forward. Else it is the shared feed-forward plus an update of
            this rank to each of its two matrices.
        language_token_ids (`dict[str, int]`, *optional*, defaults to `{}`):
            Language name -> id of its token, for every one of `languages`. From `vocab_size` on, a token stands in
            prompts alone: the experts' file has its embedding, and the output layer has no score for it.
        language_relatives (`dict[str, str]`, *optional*, defaults to `{}`):
            Name of a language without a token of Whisper's -> the language that it was started from, by whose token a
            teacher is asked.
        detection_languages (`list[str]`, *optional*, defaults to `[]`):
            Those of `languages` whose experts' file has a trained detection row.
        translate_token_id (`int`, *optional*):
            Id of `<|translate|>`.
        expert_task (`str`, *optional*, defaults to `"transcribe"`):
            What the experts learn: `"transcribe"` or `"translate"`. Rows with the other task take the shared path in
            the decoder.
        encoder_experts (`bool`, *optional*, defaults to `True`):
            Whether the encoder has experts. Without them it is Whisper's, and only the decoder has experts.
        decoder_experts (`bool`, *optional*, defaults to `True`):
            Whether the decoder has experts.
        base_model_name_or_path (`str`, *optional*):
            Folder or Hub id of the backbone, for a checkpoint that holds experts alone.
        base_model_revision (`str`, *optional*):
            Branch, tag or commit of the backbone's Hub repository; by default its main branch.
        base_model_subfolder (`str`, *optional*):
            Folder of the backbone in its Hub repository.

    Raises:
        ValueError: a setting is out of its range; the message names the setting, the range and the value.

    Example:
        >>> from modeling_distilwhisper import DistilWhisperConfig
        >>> config = DistilWhisperConfig(languages=["ca", "gl"], gate_budgets={"gl": 0.7})
        >>> config.budget_of("ca"), config.budget_of("gl")
        (0.5, 0.7)
        >>> DistilWhisperConfig(gate_budget=1.5)
        Traceback (most recent call last):
        ValueError: `gate_budget` must be from 0 to 1, got 1.5.
    """

    model_type = "distilwhisper"

    languages: list[str] | tuple[str, ...] | str | None = ()
    language_token_ids: dict[str, int] | None = None
    language_relatives: dict[str, str] | None = None
    detection_languages: list[str] | tuple[str, ...] | None = None
    translate_token_id: int | None = None
    expert_task: str = "transcribe"
    encoder_experts: bool = True
    decoder_experts: bool = True
    gate_budget: float | int = 0.5
    gate_budgets: dict[str, float] | None = None
    skip_gate_prob: float | int = 0.0
    gate_dim: int = 64
    gate_training: str = "hard"
    gate_noise_max: float | int = 5.0
    gate_dropout: float | int = 0.0
    expert_dropout: float | int = 0.0
    expert_rank: int = 0
    base_model_name_or_path: str | None = None
    base_model_revision: str | None = None
    base_model_subfolder: str | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.language_token_ids = dict(self.language_token_ids or {})
        self.language_relatives = dict(self.language_relatives or {})
        self.detection_languages = list(self.detection_languages or [])
        self.gate_budgets = dict(self.gate_budgets or {})
        self._check()

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        result = super().from_dict(config_dict, **kwargs)
        # Settings given on loading replace those of the file after these were checked.
        (result[0] if isinstance(result, tuple) else result)._check()
        return result

    def _check(self) -> None:
        if hasattr(self, "clsr_gate_dim"):  # the authors' name: the weights of their experts would be dropped silently
            raise ValueError(
                "This is a checkpoint of the method's authors, expected a converted one. Convert it first: "
                "`distilwhisper convert-authors`, or `modeling_distilwhisper.convert_checkpoint`."
            )
        # `AutoConfig` with `languages=None` puts None here. `from_pretrained` of the model then reads the saved list.
        languages = language_names(self.languages or [])
        if len(set(languages)) != len(languages):
            raise ValueError(f"`languages` names a language twice: {languages}. List each code once.")
        if self.languages is not None:
            self.languages = languages
        for name in ("language_token_ids", "language_relatives", "gate_budgets"):
            setattr(self, name, {language_name(code): value for code, value in (getattr(self, name) or {}).items()})
        self.detection_languages = language_names(self.detection_languages or [])
        self.language_relatives = {
            name: language_name(relative) for name, relative in (self.language_relatives or {}).items()
        }
        for language, index in (self.language_token_ids or {}).items():
            end = self.vocab_size + MAX_OWN_TOKENS
            _check_range(f"language_token_ids[{language!r}]", index, 0 <= index < end, f"from 0 to {end - 1}")
        by_token: dict[int, str] = {}
        for language in languages:
            token = (self.language_token_ids or {}).get(language)
            if token is not None and by_token.setdefault(token, language) != language:
                raise ValueError(
                    f"`language_token_ids` gives {by_token[token]!r} and {language!r} the same token, {token}. "
                    "Expected one token for each language."
                )
        _check_range("gate_budget", self.gate_budget, 0 <= self.gate_budget <= 1, "from 0 to 1")
        for language, budget in (self.gate_budgets or {}).items():
            _check_range(f"gate_budgets[{language!r}]", budget, 0 <= budget <= 1, "from 0 to 1")
        for name in ("skip_gate_prob", "gate_dropout", "expert_dropout"):
            value = getattr(self, name)
            _check_range(name, value, 0 <= value < 1, "from 0 to below 1")
        _check_range("gate_noise_max", self.gate_noise_max, 0 <= self.gate_noise_max < math.inf, "finite, 0 or more")
        _check_range("gate_dim", self.gate_dim, 1 <= self.gate_dim <= MAX_GATE_DIM, f"from 1 to {MAX_GATE_DIM}")
        largest = min(self.d_model, self.encoder_ffn_dim, self.decoder_ffn_dim)
        _check_range(
            "expert_rank", self.expert_rank, 0 <= self.expert_rank < largest, f"from 0 (full) to {largest - 1}"
        )
        for name in ("encoder_layerdrop", "decoder_layerdrop"):
            _check_range(name, getattr(self, name), getattr(self, name) == 0, "0: every layer's gates are counted")
        if not (self.encoder_experts or self.decoder_experts):
            raise ValueError("Either `encoder_experts` or `decoder_experts` must be true: a language needs experts.")
        tasks = ("transcribe", "translate")
        _check_range("expert_task", self.expert_task, self.expert_task in tasks, "'transcribe' or 'translate'")
        _check_range("gate_training", self.gate_training, self.gate_training in ("hard", "soft"), "'hard' or 'soft'")

    def budget_of(self, language: str) -> float:
        """The share of a language's tokens that should take the expert."""
        return (self.gate_budgets or {}).get(language, self.gate_budget)

    @property
    def own_tokens(self) -> dict[int, str]:
        """Token id -> name, of those of `languages` whose token is not in Whisper's vocabulary."""
        return {token: name for token, name in self.experts_by_token.items() if token >= self.vocab_size}

    @property
    def experts_by_token(self) -> dict[int, str]:
        """Language token id -> language code, of every language that has an expert."""
        languages = list(self.languages or [])  # first: a language that another thread adds gets its token before
        token_ids = self.language_token_ids or {}
        try:
            return {token_ids[language]: language for language in languages}
        except KeyError as unknown:
            raise ValueError(
                f"`language_token_ids` has no token for {unknown}, only {token_ids}. `from_whisper`, "
                "`add_language` and `load_experts` set it."
            ) from None


def _check_range(name: str, value, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}.")


__all__ = ["DistilWhisperConfig"]
