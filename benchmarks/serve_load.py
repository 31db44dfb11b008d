"""Load on `distilwhisper serve`: many clients against one at a time, and against a process for each language.

    python benchmarks/serve_load.py distilwhisper-quickstart load.json --languages ca en es hu uk gl fr ru \\
        --recordings examples/quickstart/in_domain/*/test --requests 200 --clients 16

Starts the server on this machine and asks it with OpenAI's client; request n has recording n and language n of their
lists, again from the first at the end. In each round the same requests are sent by one client, one after the other,
then by all clients. `--separate` adds processes without a server, one for each language, which take their recordings
one by one. Then every transcript is compared with the one that `generate` gives for the recording alone. Memory is PSS,
of a process and all that it started. Settings behind `--` go to the server. Untrained experts cost what trained do:

    python -c "from modeling_distilwhisper import DistilWhisperForConditionalGeneration as M; \\
        M.from_whisper('openai/whisper-base', languages=['ca', 'en']).save_experts('experts')"
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import soundfile
from machine import commit, machine, versions
from openai import OpenAI

from modeling_distilwhisper import BatchTranscriber, Silero, load_model, load_processor, read_audio
from modeling_distilwhisper.runs.files import write_atomically

SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".opus"}
NAME = "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or Hub id")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--recordings", nargs="+", type=Path, required=True, help="files and folders")
    parser.add_argument("--languages", nargs="+", required=True)
    parser.add_argument("--experts", nargs="+", default=[], help="folders of more experts")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--separate", action="store_true", help="also a process for each language")
    own, server_settings = sys.argv[1:], []
    if "--" in own:
        own, server_settings = own[: own.index("--")], own[own.index("--") + 1 :]
    arguments = parser.parse_args(own)
    files = [file for path in arguments.recordings for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [file for file in files if file.suffix.lower() in SUFFIXES]
    jobs = [
        (files[number % len(files)], arguments.languages[number % len(arguments.languages)])
        for number in range(arguments.requests)
    ]
    seconds = sum(len(read_audio(file)) for file, _ in jobs) / 16_000
    systems: dict[str, list[dict]] = {"one at a time": [], f"{arguments.clients} clients": []}
    texts: set[tuple[Path, str, str]] = set()
    with server(arguments.model, arguments.experts, server_settings) as (client, pid):
        for file, language in dict.fromkeys(zip(files, arguments.languages, strict=False)):
            ask(client, file, language)  # loads experts
        for _ in range(arguments.rounds):
            for name, clients in zip(systems, (1, arguments.clients), strict=True):
                result, said = load(client, jobs, clients, pid)
                systems[name].append(result)
                texts |= said
                print(name, result, flush=True)
    if arguments.separate:
        systems["a process for each language"] = [separate(arguments, jobs) for _ in range(arguments.rounds)]
    differing = differences(arguments.model, arguments.experts, texts)
    medians = {name: median(rounds) for name, rounds in systems.items()}
    first = medians["one at a time"]["seconds"]
    content = {
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "settings": {**vars(arguments), "server": server_settings},
        "audio_seconds": seconds,
        "rounds": systems,
        "medians": medians,
        "throughput against one at a time": {name: first / values["seconds"] for name, values in medians.items()},
        "transcripts": len(texts),
        "that differ from generate alone": differing,
    }
    write_atomically(arguments.output, json.dumps(content, indent=2, default=str) + "\n")
    print(json.dumps({name: content[name] for name in [*content][-4:]}, indent=2))


@contextmanager
def server(model: str, experts: list[str], settings: list[str]):
    """A client of a server that is started for it, and the server's process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "modeling_distilwhisper", "serve", model, "--name", NAME, "--port", port]
    command += ["--experts", *experts] if experts else []
    process = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            print(line, end="", file=sys.stderr)
            if line.startswith("Serving "):
                break
        threading.Thread(target=lambda: [*(process.stderr or ())], daemon=True).start()
        yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def ask(client: OpenAI, file: Path, language: str) -> str:
    return client.audio.transcriptions.create(model=NAME, file=file, language=language).text


def load(client: OpenAI, jobs: list, clients: int, pid: int) -> tuple[dict, set]:
    """Sends all requests; returns times and memory, and what was said."""
    latencies, said = [], set()

    def one(job) -> None:
        begun = time.perf_counter()
        text = ask(client, *job)
        latencies.append(time.perf_counter() - begun)
        said.add((*job, text))

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, jobs))
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(latencies, n=20)
    return {"seconds": seconds, "p50": cuts[9], "p95": cuts[18], "memory_mb": memory(pid)}, said


def separate(arguments: argparse.Namespace, jobs: list) -> dict:
    """The same requests by a process for each language, all at the same time."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(set(arguments.languages)) + 1)
    processes = []
    for language in dict.fromkeys(arguments.languages):
        files = [file for file, code in jobs if code == language]
        work = (arguments.model, arguments.experts, files, language, len(set(arguments.languages)), start)
        processes.append(context.Process(target=take, args=work))
        processes[-1].start()
    start.wait()
    begun, used = time.perf_counter(), 0.0
    while any(process.is_alive() for process in processes):
        used = max(used, memory(os.getpid()) - memory(os.getpid(), family=False))
        time.sleep(0.2)
    return {"seconds": time.perf_counter() - begun, "memory_mb": used}


def take(model: str, experts: list[str], files: list[Path], language: str, count: int, start) -> None:
    """Transcribes recordings of one language, one by one, by a share of the cores."""
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    loaded, processor = with_experts(model, experts, [language]), load_processor(model)
    start.wait()
    for file in files:
        alone(loaded, processor, read_audio(file), language)


def alone(model, processor, samples, language: str) -> str:
    """The text of a recording that goes through the model alone."""
    ((_, transcript),) = BatchTranscriber(model, processor, Silero(), batch_size=1)([("it", samples, language)])
    return transcript.text


def with_experts(model: str, experts: list[str], languages: list[str]):
    """A model with the experts of these languages, wherever they are."""
    from modeling_distilwhisper import DistilWhisperForConditionalGeneration
    from modeling_distilwhisper.repository_distilwhisper import languages_in
    from modeling_distilwhisper.runs.any_whisper import expert_languages
    from modeling_distilwhisper.runs.precision import precision_settings

    if not experts or expert_languages(model):
        loaded = load_model(model, languages=languages)
    else:
        loaded = DistilWhisperForConditionalGeneration.from_whisper(model, languages=[], **precision_settings("auto"))
    for place in experts:
        for language in set(languages) & set(languages_in(place)):
            loaded.load_experts(place, language)
    return loaded


def differences(model: str, experts: list[str], texts: set) -> int:
    """How many transcripts are not those of `generate` for the recording alone."""
    loaded = with_experts(model, experts, sorted({language for _, language, _ in texts}))
    processor = load_processor(model)
    count = 0
    for file, language, text in texts:
        count += alone(loaded, processor, read_audio(file), language) != text
    return count


def memory(pid: int, family: bool = True) -> float:
    """MB of a process, and of all that it started: PSS, in which shared memory counts once."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    members = {pid}
    while family and (more := {child for child, parent in parents.items() if parent in members} - members):
        members |= more
    total = 0
    for member in members:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1000


def median(rounds: list[dict]) -> dict:
    return {name: statistics.median(values[name] for values in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main()
