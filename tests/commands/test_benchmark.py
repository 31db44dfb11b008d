"""What the benchmark compares is alike but for what it is to measure, and each system has its turns."""

import time
from argparse import Namespace

import pytest
import torch

from modeling_distilwhisper.commands.benchmarks import inference
from modeling_distilwhisper.commands.benchmarks.turns import take_turns


class Sleeper:
    def __init__(self, name, args):
        self.name, self.tasks = name, ["short", "long"] if name == "both" else ["long"]
        self.turns = []

    def run(self, task):
        self.turns.append(task)
        time.sleep({"short": 0.01, "long": 0.1}[task])

    def facts(self):
        return {"turns": self.turns}


@pytest.mark.slow
def test_every_task_has_its_rounds_and_a_turn_that_does_not_count_before_each():
    held = bytearray(b"x") * 1_500_000_000  # of this process: no part of what the others use
    found = take_turns(Sleeper, ["both", "one"], Namespace(rounds=2, device="cpu"))
    del held
    assert {name: {task: len(own) for task, own in one["seconds"].items()} for name, one in found.items()} == {
        "both": {"short": 2, "long": 2},
        "one": {"long": 2},
    }
    assert found["both"]["turns"] == ["short", "short", "long", "long"] * 3
    assert max(found["both"]["seconds"]["short"]) < 0.1 <= min(found["one"]["seconds"]["long"])
    assert all(1e7 < one["memory_before"] <= one["memory"] < 1.2e9 for one in found.values())


@pytest.mark.slow
def test_without_a_warm_up_every_turn_counts():
    found = take_turns(Sleeper, ["one"], Namespace(rounds=2, device="cpu"), warm_up=False)
    assert found["one"]["turns"] == ["long"] * 2 == ["long"] * len(found["one"]["seconds"]["long"])


@pytest.fixture
def systems():
    args = Namespace(size="least", precision="float32", batch_sizes=[8], tokens=20, device="cpu")
    return {name: inference.Transcriber(name, args) for name in inference.SYSTEMS}


@pytest.mark.slow
def test_all_systems_write_the_same_and_half_of_the_tokens_take_an_expert(systems):
    heard, written = {}, {}
    for name, system in systems.items():
        _, features, prompts, heard[name], text = system.inputs["decode, batch 8"]
        assert system.tasks == [f"{part}, batch 8" for part in inference.PARTS]
        written[name] = system.run("decode, batch 8")
        assert len({tuple(row) for row in text.tolist()}) == 8 and torch.equal(written[name][:, -20:], text)
        if name == inference.PLAIN:
            continue
        with torch.no_grad():
            everything = torch.cat([prompts, text], dim=1)
            outputs = system.model(features, decoder_input_ids=everything, output_gates=True)
        encoder, decoder = torch.stack(outputs.encoder_gates), torch.stack(outputs.decoder_gates)[..., 4:]
        assert 0.3 < encoder.mean() < 0.7 and 0.3 < decoder.mean() < 0.7, name
        both = (decoder.amax(1) > decoder.amin(1)).float().mean()
        assert both > 0.5, f"{name}: steps whose rows take both paths, which is what costs"
    for name, states in heard.items():
        torch.testing.assert_close(states, heard[inference.PLAIN], atol=1e-4, rtol=1e-4, msg=name)
    spoken = systems["eight in every batch"].inputs["decode, batch 8"][2][:, 1]
    assert len(set(spoken.tolist())) == 8
