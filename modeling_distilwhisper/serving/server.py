"""Starts Ray Serve with the replicas, and the HTTP server before them.

The HTTP server is not Ray Serve's: that one takes in a request's body as fast as the client sends it, before any code
of ours can refuse it, and answers a crashed replica in its own words. Nor are the batches (gathering.py). The replicas
and their restarts are Ray Serve's, on one machine or on several.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.voice import all_of_it, find_detector
from ..repository_distilwhisper import languages_in
from ..runs.any_whisper import load_processor
from .api import Api, Limits
from .cluster import call_of, is_running, started_replicas
from .http import answer_requests, listen
from .metrics import Metrics
from .recogniser import Recogniser

KEY = "DISTILWHISPER_API_KEY"  # the environment variable


@dataclass(frozen=True)
class ServerSettings:
    """What a server is started with.

    Attributes:
        model: folder or Hub id.
        name: of the model, as clients write it.
        experts: folders and Hub ids of more experts.
        expert_memory: MB that loaded experts may take in a replica.
        host: the address of this machine where it listens.
        port: likewise.
        device: of the replicas.
        precision: of the model.
        batch_size: the most windows in a batch.
        replicas: processes with the model.
        threads: of each.
        candidate_languages: among which languages are detected where a request names none; `None`: all.
        detection: "whisper" or "trained".
        vad: the voice activity detector, as for `find_detector`.
        max_minutes: the longest recording.
        limits: what a client may ask for.
        key: that clients have to send; `None`: none.
        ray_address: of a cluster that is running already; `None`: Ray is started here.
    """

    model: str
    name: str
    experts: tuple[str, ...]
    expert_memory: float
    host: str
    port: int
    device: str
    precision: str
    batch_size: int
    replicas: int
    threads: int
    candidate_languages: list[str] | None
    detection: str
    vad: str
    max_minutes: float
    limits: Limits
    key: str | None
    ray_address: str | None


def read_key(file: Path | None) -> str | None:
    """The key that clients have to send: from a file, or else from the environment, from where it is taken out.

    Raises:
        ValueError: the file is empty, or it has more than one line.
        OSError: it cannot be read.
    """
    given = os.environ.pop(KEY, None)
    if file is None:
        return given or None
    key = file.read_text(encoding="utf-8").strip()
    if not key or len(key.split()) > 1:
        raise ValueError(f"{file}: expected a key, one word on one line.")
    return key


def run_server(settings: ServerSettings) -> None:
    """Serves until the process is told to stop.

    Raises:
        ValueError: the address cannot be had, or the model cannot be loaded.
        OSError: there is no such model.
    """
    torch.set_num_threads(1)  # of this process, which leaves the cores to the replicas
    detector = find_detector(settings.vad) or all_of_it
    model, *experts = (_complete(location) for location in (settings.model, *settings.experts))
    load_processor(model)  # what is wrong with a name is said here, before minutes of starting
    for location in experts:
        if not languages_in(location):
            raise ValueError(f"{location} has no experts. Expected a place with expert.<language>.safetensors.")
    engine: dict[str, Any] = {"model": model, "experts": experts, "expert_memory": int(settings.expert_memory * 1e6)}
    engine |= {"precision": settings.precision, "device": settings.device}
    engine |= {"candidate_languages": settings.candidate_languages, "detection": settings.detection}
    replicas = started_replicas(
        engine,
        batch_size=settings.batch_size,
        replicas=settings.replicas,
        threads=settings.threads,
        device=settings.device,
        address=settings.ray_address,
    )
    with listen(settings.host, settings.port) as listening, replicas as handle:
        recogniser = Recogniser(
            call_of(handle, _log),
            handle.describe.remote().result(),
            detector,
            at_once=settings.batch_size * settings.replicas,
            minutes=settings.max_minutes,
            metrics=Metrics(),
            log=_log,
        )
        api = Api(recogniser, settings.name, settings.limits, settings.key, is_running)
        experts_of = ", ".join(recogniser.description.experts) or "no language"
        _log(f"Serving {settings.name}, with experts of {experts_of}, at http://{settings.host}:{settings.port}/v1")
        answer_requests(api.app(), listening)


def _complete(location: str) -> str:
    """A folder's complete path: replicas start elsewhere."""
    return str(Path(location).resolve()) if Path(location).is_dir() else location


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
