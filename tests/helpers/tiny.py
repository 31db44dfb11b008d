"""A random Whisper of a few thousand weights, with a window of 2 s, a byte vocabulary and Whisper's special tokens."""

import copy

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

LANGUAGES = ("en", "fr", "gl", "ca", "ru")
WINDOW_SECONDS = 2


def make_processor(languages: tuple[str, ...] = LANGUAGES, mel_bins: int = 8) -> WhisperProcessor:
    letters = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=letters | {"<|endoftext|>": len(letters)}, merges=[], pad_token="<|endoftext|>")
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    names = ["startoftranscript", *languages, *tasks]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    tokenizer.add_tokens([f"<|{0.02 * step:.2f}|>" for step in range(1501)])
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=WINDOW_SECONDS), tokenizer)


def make_whisper(processor: WhisperProcessor, seed: int = 0, **settings) -> WhisperForConditionalGeneration:
    """Random, with varied transcripts: its weights are larger than Whisper\'s initial ones."""
    tokenizer = processor.tokenizer
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("endoftext", "startoftranscript", *LANGUAGES)
    }
    end = ids["endoftext"]
    config = WhisperConfig(
        **{
            "vocab_size": len(tokenizer),
            "num_mel_bins": 8,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 64,
            "max_source_positions": 50 * WINDOW_SECONDS,
            "max_target_positions": 64,
            "init_std": 0.4,
            "pad_token_id": end,
            "bos_token_id": end,
            "eos_token_id": end,
            "decoder_start_token_id": ids["startoftranscript"],
            **settings,
        }
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # most of the vocabulary is timestamps: without this, it would generate hardly a letter
        model.model.decoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids("<|0.00|>") :] *= 0.5
    model.generation_config = GenerationConfig(
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ids["startoftranscript"],
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": ids[language] for language in LANGUAGES},
        task_to_id={task: tokenizer.convert_tokens_to_ids(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        alignment_heads=[[0, 0], [1, 1]],
        max_initial_timestamp_index=50,
        max_length=64,
        suppress_tokens=unspeakable(tokenizer),
        begin_suppress_tokens=[end],
    )
    return model


def unspeakable(tokenizer) -> list[int]:
    """Bytes that are no printable letter, and times beyond the window: a random model would say little else."""
    vocabulary = tokenizer.get_vocab()
    times = {token: float(token[2:-2]) for token in vocabulary if token[2:3].isdigit() and len(token) > 1}
    letters = [index for token, index in vocabulary.items() if len(token) == 1 and token > "~"]
    return letters + [vocabulary[token] for token, time in times.items() if time > WINDOW_SECONDS]


def unsettle(model, seed: int = 1) -> None:
    """Moves every expert far from the shared path and sets its gates about half open, as if it had been trained."""
    for offset, language in enumerate(model.config.languages):
        unsettle_language(model, language, seed + offset)


def unsettle_language(model, language: str, seed: int = 9) -> None:
    generator = torch.Generator().manual_seed(seed)
    for layer in model.routed_layers().values():
        expert = layer.experts[language]
        for name, parameter in expert.named_parameters():
            scale = 1.0 if name.startswith("gate") else 0.3
            noise = torch.randn(parameter.shape, generator=generator, device="cpu")
            parameter.data += scale * noise.to(parameter)
        expert.gate.threshold.fill_(0.0)


@torch.no_grad()
def train_detection(model, languages: list[str], features: torch.Tensor) -> None:
    """Gives languages with experts a detection row, as if it had been trained: the first hears its language in the
    first row of features, the second in the second, and so on. Whisper's own languages are heard in the others."""
    states = model.detection_states(features)
    whisper = [token for token in model.language_tokens().values() if token < model.config.vocab_size]
    highest = model.get_output_embeddings()(states)[:, whisper].max()
    middle = states.mean(dim=0)
    for row, language in enumerate(languages):
        away = states[row] - middle
        weight = 10 * away / (away @ away)
        model.set_detection_row(language, weight, float(highest + 1 - weight @ states[row]))


def make_audio(processor: WhisperProcessor, seconds: list[float], seed: int = 0) -> dict[str, torch.Tensor]:
    """Noise of these lengths as features, padded to one window, or to the longest where that is over a window."""
    generator = torch.Generator().manual_seed(seed)
    audio = [torch.randn(int(16_000 * length), generator=generator, device="cpu").numpy() for length in seconds]
    settings = {} if max(seconds) <= WINDOW_SECONDS else {"truncation": False, "padding": "longest"}
    with torch.device("cpu"):  # the features are NumPy's work
        batch = processor(audio, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt", **settings)
    return {name: tensor.to(torch.get_default_device()) for name, tensor in batch.items()}


def row(batch: dict[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    return {name: tensor[index : index + 1] for name, tensor in batch.items()}


def state_of(model) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def logits_of(model, processor, languages=("gl", "ca", "fr")):
    batch = make_audio(processor, [1.0] * len(languages))
    tokens = processor.tokenizer.convert_tokens_to_ids([f"<|{language}|>" for language in languages])
    labels = torch.cat([torch.tensor(tokens)[:, None], torch.arange(5, 12).repeat(len(tokens), 1)], dim=1)
    with torch.no_grad():
        return model.eval()(**batch, labels=labels).logits
