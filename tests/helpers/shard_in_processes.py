"""For `torchrun`: a model whose layers FSDP shards has the loss and gradients of a whole one. Argument: a Whisper."""

import copy
import sys
import warnings

import tiny
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.labels import label_ids

warnings.simplefilter("ignore")
torch.set_num_threads(1)
dist.init_process_group("gloo")
torch.manual_seed(0)
whole = DistilWhisperForConditionalGeneration.from_whisper(sys.argv[1], languages=["gl"], skip_gate_prob=0.0).train()
tiny.unsettle(whole)
sharded = copy.deepcopy(whole)
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
for layer in sharded.routed_layers().values():
    fully_shard(layer, mesh=mesh)
fully_shard(sharded, mesh=mesh)

processor = WhisperProcessor.from_pretrained(sys.argv[1])
audio = tiny.make_audio(processor, [1.0, 2.0], seed=dist.get_rank())
labels = torch.tensor([label_ids(processor.tokenizer, "la ri", "gl")] * 2)
for model in (whole, sharded):
    model(**audio, labels=labels).loss.backward()
compared = 0
for (name, ours), theirs in zip(sharded.named_parameters(), whole.parameters(), strict=True):
    assert (ours.grad is None) == (theirs.grad is None) == (not ours.requires_grad), name
    if theirs.grad is not None:
        dist.all_reduce(theirs.grad)
        torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad / dist.get_world_size(), msg=name)
        compared += 1
assert compared > 20
dist.destroy_process_group()
