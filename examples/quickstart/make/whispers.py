"""A small untrained Whisper: a few hundred sub-words, Whisper's special tokens, a window of 3 s."""

import json
from collections.abc import Iterable

from tokenizers import ByteLevelBPETokenizer
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

WINDOW_SECONDS = 3
SUBWORDS = 700
MEL_BINS = 80
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def make_processor(texts: Iterable[str]) -> WhisperProcessor:
    """Sub-words learned from the texts, and the special tokens in Whisper's order: languages, tasks, timestamps."""
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator((f" {text}" for text in texts), vocab_size=SUBWORDS, show_progress=False)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    vocabulary = learned.get_vocab()
    tokenizer = WhisperTokenizer(
        vocab=vocabulary | {"<|endoftext|>": len(vocabulary)}, merges=merges, pad_token="<|endoftext|>"
    )
    names = ["startoftranscript", *LANGUAGES, *TASKS]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    tokenizer.add_tokens([f"<|{0.02 * step:.2f}|>" for step in range(50 * WINDOW_SECONDS + 1)])
    return WhisperProcessor(WhisperFeatureExtractor(MEL_BINS, chunk_length=WINDOW_SECONDS), tokenizer)


def make_whisper(processor: WhisperProcessor, width: int, encoder_layers: int, decoder_layers: int):
    """Whisper of `width` dimensions, with four times as many in the feed-forward layers, and four heads."""
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("startoftranscript", *LANGUAGES, *TASKS)}
    end = tokenizer.eos_token_id
    shared = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    shared["decoder_start_token_id"] = ids["startoftranscript"]
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=MEL_BINS,
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_source_positions=50 * WINDOW_SECONDS,
        max_target_positions=64,
        init_std=0.08,
        begin_suppress_tokens=[end],
        **shared,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **shared,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": ids[language] for language in LANGUAGES},
        task_to_id={task: ids[task] for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids["notimestamps"],
        prev_sot_token_id=ids["startofprev"],
        begin_suppress_tokens=[end],
        max_initial_timestamp_index=50,
        max_length=64,
    )
    return model
