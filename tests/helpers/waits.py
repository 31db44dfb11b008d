"""Counts what an accelerator is waited for in each pass of a tiny model, for each layer and besides; prints JSON."""

import json
from collections import Counter

import torch
from helpers import accelerator, tiny
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.cache_distilwhisper import CACHE
from modeling_distilwhisper.evaluation.gates import GateReport
from modeling_distilwhisper.training.gate_budget import BudgetThresholds, budget_loss
from modeling_distilwhisper.training.losses import cross_entropy

SYSTEMS = {"plain": [], "one language": ["gl"] * 3, "mixed": ["gl", "ca", "fr"]}
DEPTHS = (1, 3)


def passes(languages: list[str], layers: int):
    processor = tiny.make_processor()
    plain = tiny.make_whisper(processor, encoder_layers=layers, decoder_layers=layers)
    config = DistilWhisperForConditionalGeneration.config_class(**plain.config.to_dict())
    model = DistilWhisperForConditionalGeneration(config)
    model.load_state_dict(plain.state_dict())
    model.generation_config = plain.generation_config
    for language in dict.fromkeys(["gl", "ca"] if len(set(languages)) > 1 else languages[:1]):
        model.add_language(language)
    tiny.unsettle(model)
    model.eval().to(accelerator.NAME)
    tokens = processor.tokenizer.convert_tokens_to_ids
    codes = languages or ["gl"] * 3
    start = [tokens("<|startoftranscript|>")]
    prompts = torch.tensor(
        [[*start, tokens(f"<|{code}|>"), *tokens(["<|transcribe|>", "<|notimestamps|>"])] for code in codes]
    )
    ids = (
        dict(zip(("language_ids", "decoder_language_ids"), model.read_prompt(prompts), strict=True))
        if languages
        else {}
    )
    prompts = prompts.to(accelerator.NAME)
    features = tiny.make_audio(processor, [1.0] * 3)["input_features"].to(accelerator.NAME)
    states = BaseModelOutput(model.model.encoder(features, **ids).last_hidden_state)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    model(encoder_outputs=states, decoder_input_ids=prompts, **{CACHE: cache}, **ids)
    labels = torch.cat([prompts[:, 1:], torch.full((3, 4), 5).to(accelerator.NAME)], dim=1)

    def train():
        model.train()
        outputs = model(features, labels=labels, output_gates=True, use_cache=False)
        report = GateReport.of(outputs, None, labels)
        thresholds = BudgetThresholds(model, 0.1)
        thresholds.note(report)
        loss = cross_entropy(outputs.logits, labels) + budget_loss(report, model.config)
        loss.backward()
        thresholds.end_step()

    yield "encoder", lambda: model.model.encoder(features, **ids)
    yield "prefill", lambda: model(encoder_outputs=states, decoder_input_ids=prompts, **ids)
    yield (
        "decode",
        lambda: model(encoder_outputs=states, decoder_input_ids=prompts[:, -1:], **{CACHE: cache}, **ids),
    )
    if languages == ["gl"] * 3:
        yield "training", train


def count(languages: list[str], layers: int) -> dict[str, Counter]:
    counts = {}
    for name, run in passes(languages, layers):
        with accelerator.Device(), torch.set_grad_enabled(name == "training"):
            accelerator.READS.clear()
            run()
            counts[name] = Counter(accelerator.READS)
    return counts


def main() -> None:
    accelerator.register()
    found = {}
    with torch.no_grad():
        for system, languages in SYSTEMS.items():
            shallow, deep = (count(languages, layers) for layers in DEPTHS)
            for name in shallow:
                few, many = shallow[name].total(), deep[name].total()
                each = (many - few) / (DEPTHS[1] - DEPTHS[0])
                found[f"{system}, {name}"] = {"layer": each, "besides": few - DEPTHS[0] * each, "kinds": deep[name]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
