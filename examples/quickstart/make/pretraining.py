"""Trains a small Whisper from nothing on synthetic speech. A CTC head on the encoder, which is not saved, learns the
alignment. Cross-entropy alone would need many more steps (Kim, Hori and Watanabe, ICASSP 2017). Its targets are
phonemes, which the languages share."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import ctc_loss
from tqdm.auto import tqdm
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor
from transformers import get_linear_schedule_with_warmup as linear_schedule
from transformers.models.whisper.modeling_whisper import shift_tokens_right
from voices import FORMANT, KLATT, OTHER_FORMANT, TEST_FORMANT, as_stored, in_noise, phonemes, speak

from modeling_distilwhisper.data.audio import SAMPLING_RATE, read_audio
from modeling_distilwhisper.data.labels import IGNORED, label_ids
from modeling_distilwhisper.training.losses import cross_entropy


@dataclass
class Corpus:
    """Clips of one language.

    Attributes:
        features: log-mel, `(clips, mel bins, frames)`, in half precision.
        texts: the transcript of each clip.
        phonemes: its phonemes.
        language: its code.
    """

    features: torch.Tensor
    texts: list[str]
    phonemes: list[str]
    language: str

    def first(self, count: int) -> "Corpus":
        return Corpus(self.features[:count], self.texts[:count], self.phonemes[:count], self.language)


def make_corpus(language: str, texts: Sequence[str], extractor: WhisperFeatureExtractor, seed: int) -> Corpus:
    """Speaks each text with one voice of any family: half of them with noise, a third through the codec."""
    jobs = [(language, text, extractor, seed + number) for number, text in enumerate(texts)]
    with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        spoken = list(tqdm(pool.map(_features, jobs, chunksize=64), total=len(jobs), desc=f"Speaking {language}"))
    clips = [(*clip, text) for clip, text in zip(spoken, texts, strict=True) if clip is not None]  # `None`: too long
    features, phoneme_strings, kept_texts = zip(*clips, strict=True)
    return Corpus(torch.stack(features), list(kept_texts), list(phoneme_strings), language)


def _features(job) -> tuple[torch.Tensor, str] | None:
    language, text, extractor, seed = job
    generator = np.random.default_rng(seed)
    family = FORMANT + TEST_FORMANT + OTHER_FORMANT if generator.random() < 0.65 else KLATT
    rate, pitch = int(generator.integers(150, 221)), int(generator.integers(30, 71))
    samples = speak(text, language, str(generator.choice(family)), rate, pitch)
    if len(samples) > extractor.n_samples:
        return None
    delay = int(generator.integers(0, extractor.n_samples - len(samples) + 1) * generator.random())
    samples = np.pad(samples, (delay, 0))
    if generator.random() < 0.5:
        samples = in_noise(samples, generator.uniform(3, 25), generator)
    if generator.random() < 0.33:
        samples = read_audio(as_stored(samples))
    features = extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features[0]
    return features.half(), phonemes(text, language)


def pretrain(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    corpora: Sequence[Corpus],
    *,
    steps: int,
    batch_size: int = 16,
    learning_rate: float = 2e-3,
    ctc_weight: float = 1.0,
) -> None:
    """Trains with cross-entropy and CTC on random batches of all clips."""
    config = model.config
    symbols = sorted(set("".join(string for corpus in corpora for string in corpus.phonemes)))
    numbers = {symbol: index for index, symbol in enumerate(symbols, 1)}  # 0 is the blank
    head = nn.Linear(config.d_model, 1 + len(symbols))
    for convolution in (model.model.encoder.conv1, model.model.encoder.conv2):
        convolution.reset_parameters()
    model.model.encoder.embed_positions.weight.data *= 0.2  # the audio would have too little weight otherwise
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = linear_schedule(optimizer, steps // 12, steps)
    encode = cache(partial(label_ids, processor.tokenizer))
    clips = [(corpus, index) for corpus in corpora for index in range(len(corpus.texts))]
    model.train()
    bar, order = tqdm(range(steps), desc="Pretraining", unit="step"), iter(())
    for _ in bar:
        batch = []
        while len(batch) < batch_size:
            index = next(order, None)
            if index is None:
                order = iter(torch.randperm(len(clips)).tolist())
            else:
                batch.append(clips[index])
        features = torch.stack([corpus.features[index] for corpus, index in batch]).float()
        rows = [torch.tensor(encode(corpus.texts[index], corpus.language)) for corpus, index in batch]
        labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        decoder_inputs = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        outputs = model(input_features=features, decoder_input_ids=decoder_inputs, use_cache=False)
        text_loss = cross_entropy(outputs.logits, labels, label_smoothing=0.1)

        targets = [torch.tensor([numbers[symbol] for symbol in corpus.phonemes[index]]) for corpus, index in batch]
        scores = head(outputs.encoder_last_hidden_state).log_softmax(-1).transpose(0, 1)
        alignment_loss = ctc_loss(
            scores,
            torch.cat(targets),
            torch.full((batch_size,), len(scores)),
            torch.tensor([len(target) for target in targets]),
            zero_infinity=True,
        )
        (text_loss + ctc_weight * alignment_loss).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        bar.set_postfix(ce=f"{text_loss.item():.2f}", ctc=f"{alignment_loss.item():.2f}")
    model.eval()
