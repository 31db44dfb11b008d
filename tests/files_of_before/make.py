"""Writes the files beside it with an earlier version of the library, so that tests can load them with this one.

    git worktree add ../before f636a96
    PYTHONPATH=../before python tests/files_of_before/make.py ../before

The version is the last one whose modules lay flat in one folder. All files go into `files.tar.xz`, which
`tests/helpers/before.py` unpacks.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import before, speech, tiny

LANGUAGES = ("gl", "ca")
SHARED = """student: student
teacher_cache: teacher-cache
languages: [gl]
data: ["recordings/{language}"]
output_dir: run
expert_rank: 4
num_train_epochs: 2
per_device_train_batch_size: 2
learning_rate: 3e-3
generation_max_length: 12
logging_steps: 1
report_to: none
use_cpu: true
disable_tqdm: true
normalizer: paper
save_backbone: false
"""
COMPARISON = """settings: shared.yaml
output_dir: comparison
systems:
  DistilWhisper: {}
"""


def main(checkout: Path) -> None:
    from modeling_distilwhisper import DistilWhisperForConditionalGeneration
    from modeling_distilwhisper.compression import compress_experts  # in this version there is no such module
    from modeling_distilwhisper.export import save_processor

    torch.set_num_threads(1)
    processor = tiny.make_processor()
    tiny.make_whisper(processor, d_model=16).save_pretrained("student")
    save_processor(processor, "student")
    for language in LANGUAGES:
        speech.write_folder(Path("recordings", language), language, rows=4)

    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper("student", languages=list(LANGUAGES)).eval()
    tiny.unsettle(model)
    model.save_pretrained("checkpoint")
    save_processor(processor, "checkpoint")
    model.save_experts("experts/full", languages=["ca"])
    model.save_experts("experts/int8", languages=["ca"], int8=True)
    outputs = {"checkpoint": logits(model, processor)}
    model.remove_language("ca")
    model.load_experts("experts/int8", "ca")
    outputs["int8"] = logits(model, processor)
    model.remove_language("ca")
    model.load_experts("experts/full", "ca")
    compress_experts(model, 4, ["ca"])
    model.save_experts("experts/low-rank", languages=["ca"])
    outputs["low-rank"] = logits(model, processor)
    save_file(outputs, "logits.safetensors")

    cache = ["--student", "student", "--teacher", "checkpoint", "--languages", "gl", "--data", "recordings/{language}"]
    start(checkout, "run_cache_teacher.py", *cache, "--k", "4", "--output_dir", "teacher-cache", "--device", "cpu")
    Path("shared.yaml").write_text(SHARED)
    Path("comparison.yaml").write_text(COMPARISON)
    start(checkout, "compare.py", "comparison.yaml")

    for name in ("runs", ".lock", "training_args.bin"):  # of no use to anyone who goes on
        for path in list(Path().rglob(name)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    Path("made.json").write_text(json.dumps({"cpu": before.cpu(), "torch": torch.__version__}, indent=2) + "\n")
    with tarfile.open(before.ARCHIVE, "w:xz", preset=9) as archive:
        for path in sorted(Path().iterdir()):
            archive.add(path, filter=lambda entry: None if "__pycache__" in entry.name else entry)


def logits(model, processor) -> torch.Tensor:
    """Of one utterance in each language, and one in a language without an expert."""
    with torch.no_grad():
        return model(**before.inputs(processor)).logits[..., : before.LETTERS].contiguous()


def start(checkout: Path, script: str, *arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, str(checkout / "examples" / script), *arguments], env=environment, check=True)


if __name__ == "__main__":
    checkout = Path(sys.argv[1]).resolve()
    Path(before.FOLDER).mkdir()
    os.chdir(before.FOLDER)
    main(checkout)
    shutil.rmtree(before.FOLDER)
