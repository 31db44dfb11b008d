"""Runs Transformers' common model tests on a plain Whisper and on ours, and writes what became of each test as JSON.

    python -m helpers.common_model_tests results.json

The import path must hold the package `transformers_tests`, which `tests/model/test_common_of_transformers.py` makes of
the source distribution of Transformers.
"""

import json
import sys
import unittest

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES, MODEL_MAPPING_NAMES
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration, DistilWhisperModel

# As if they were Transformers' own: some tests know by these tables which models have a loss.
MODEL_MAPPING_NAMES["distilwhisper"] = DistilWhisperModel.__name__
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES["distilwhisper"] = DistilWhisperForConditionalGeneration.__name__

START, GL, CA, TRANSLATE = 85, 90, 91, 95
EXPERTS = {"languages": ["gl", "ca"], "language_token_ids": {"gl": GL, "ca": CA}, "translate_token_id": TRANSLATE}


class Tester:
    """Makes a tiny config and inputs, with prompts in two languages."""

    batch_size, seq_length, is_training = 5, 60, True
    hidden_size, num_hidden_layers, num_attention_heads = 16, 2, 4
    encoder_seq_length = key_length = 30
    decoder_seq_length = decoder_key_length = 7

    def __init__(self, config_class, **settings):
        self.config_class, self.settings = config_class, settings
        self.names_input_ids = False

    def get_config(self):
        sides = {"layers": 2, "attention_heads": 4}
        return self.config_class(
            **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
            vocab_size=200,
            d_model=16,
            encoder_ffn_dim=20,
            decoder_ffn_dim=24,
            num_mel_bins=8,
            max_source_positions=30,
            max_target_positions=40,
            pad_token_id=0,
            bos_token_id=98,
            eos_token_id=98,
            decoder_start_token_id=START,
            **self.settings,
        )

    def prepare_config_and_inputs_for_common(self):
        tokens = ids_tensor([self.batch_size, self.decoder_seq_length], 70).clamp(3)
        tokens[:, 0] = START
        tokens[:, 1] = torch.tensor([GL, CA, CA, GL, CA])
        inputs = {
            "input_features": floats_tensor([self.batch_size, 8, self.seq_length], 1.0),
            "decoder_input_ids": tokens,
            "decoder_attention_mask": torch.ones_like(tokens),
        }
        return self.get_config(), inputs | ({"input_ids": tokens} if self.names_input_ids else {})


class Common(ModelTesterMixin):
    is_encoder_decoder = True
    config_class, settings = WhisperConfig, {}

    def setUp(self):
        settings = dict(self.settings)
        if settings and self._testMethodName == "test_torch_save_load":
            # It subtracts tensors, and infinity minus infinity is no number: thresholds are 0 in soft training.
            settings["gate_training"] = "soft"
        self.model_tester = Tester(self.config_class, **settings)
        # These tests change token ids under this name, which Whisper's models do not take.
        self.model_tester.names_input_ids = "resize" in self._testMethodName

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        inputs.pop("input_ids", None)
        if return_labels and model_class.can_generate():
            inputs["labels"] = inputs.pop("decoder_input_ids")[:, 1:].clone()
            inputs.pop("decoder_attention_mask")
        return inputs


class Ours(Common):
    config_class, settings = DistilWhisperConfig, EXPERTS


class StockBase(Common, unittest.TestCase):
    all_model_classes = (WhisperModel,)


class StockHead(Common, unittest.TestCase):
    all_model_classes = (WhisperForConditionalGeneration,)


class OurBase(Ours, unittest.TestCase):
    all_model_classes = (DistilWhisperModel,)


class OurHead(Ours, unittest.TestCase):
    all_model_classes = (DistilWhisperForConditionalGeneration,)


def run(case: type[unittest.TestCase]) -> dict[str, list[str]]:
    """By name of the test: what became of it, and why."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    tests = {test.id(): test.id().rsplit(".", 1)[-1] for test in suite}
    result = unittest.TestResult()
    suite.run(result)
    outcomes = {name: ["passed", ""] for name in tests.values()}
    for test, reason in result.skipped:
        outcomes[method_of(test)] = ["skipped", reason]
    for test, traceback in [*result.failures, *result.errors]:
        outcomes[method_of(test)] = ["failed", traceback[-600:]]
    return outcomes


def method_of(test) -> str:
    """The name of the test's method, also of a subtest."""
    return getattr(test, "test_case", test).id().rsplit(".", 1)[-1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = (StockBase, StockHead, OurBase, OurHead)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({case.__name__: run(case) for case in cases}, file)
