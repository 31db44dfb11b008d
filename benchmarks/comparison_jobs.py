"""What the comparison on real prompts trains: systems, learning rates to search, ablations; the most useful first."""

from dataclasses import dataclass, field, replace
from itertools import product
from statistics import mean

LANGUAGES = ("ru", "fr", "es")
SEEDS = (0, 1, 2)
SEARCHED_IN = "ru"  # learning rates are chosen on the validation split of this language alone
REPORTED = {"skip_gate_prob": 0.2}
DISTILLED = {"teacher": "WEIGHTS", "teacher_precision": "float32"}  # from the student as it was before training

# What differs in the settings of `distilwhisper train`, and the three learning rates to search.
SYSTEMS: dict[str, tuple[dict, tuple[float, float, float]]] = {
    "fine-tuning": ({"method": "finetune"}, (5e-6, 1e-5, 3e-5)),
    "DistilWhisper": (DISTILLED | REPORTED, (5e-5, 1e-4, 2e-4)),
    "CLSR-FT": (REPORTED, (5e-5, 1e-4, 2e-4)),
    "LoRA 32": ({"method": "lora", "lora_rank": 32}, (2e-4, 5e-4, 1e-3)),
    "LoRA 416": ({"method": "lora", "lora_rank": 416}, (5e-5, 1e-4, 2e-4)),  # as many parameters as full experts
    "DistilWhisper rank 128": ({**DISTILLED, **REPORTED, "expert_rank": 128}, (2e-4, 5e-4, 1e-3)),
    "LoRA 135": ({"method": "lora", "lora_rank": 135}, (1e-4, 2e-4, 5e-4)),  # as many as experts of rank 128
}

# Of DistilWhisper in Russian, with the learning rate that was chosen for it.
ABLATIONS: dict[str, dict] = {
    "soft gates": {"gate_training": "soft"},
    "budget 0.3": {"gate_budget": 0.3},
    "budget 0.7": {"gate_budget": 0.7},
    # All tokens take the expert. "no gates", of an earlier version, took the lowest logit of a batch as threshold.
    "budget 1": {"gate_budget": 1, "skip_gate_prob": 0},
    "beta 10": {"kd_beta": 10},
    "skip 0": {"skip_gate_prob": 0},
    "KL": {"kd_divergence": "kl"},
    "tau 3": {"kd_temperature": 3},
    "beta 0.5": {"kd_beta": 0.5},
    "soft gates, budget 0.3": {"gate_training": "soft", "gate_budget": 0.3},
    "soft gates, budget 0.7": {"gate_training": "soft", "gate_budget": 0.7},
}
RANKS = (64, 16)  # ablations of "DistilWhisper rank 128", with its learning rate
BETTER_TEACHER = "fine-tuned teacher"

# Systems with changed recordings in training, as the candidates below, and whose learning rate they take.
AUGMENTED = {"augment": ["tempo", "noise", "codec", "gaps"]}
AUGMENTED_SYSTEMS = {f"{name}, augmented": name for name in ("LoRA 135", "fine-tuning")}

# What LoRA 135 is, but in an expert of its own: no gates, about as many weights, its start and its learning rate. LoRA
# doubles its update; with Adam that is a step sqrt(2) times as long in both matrices, so the rate is 5e-4 times that.
ONE_PATH = "rank 128 without gates"
ONE_PATH_SETTINGS = {"expert_rank": 128, "skip_gate_prob": 0, "gate_budget": 1, "learning_rate": 7e-4}

# What might make experts as robust as LoRA: low-rank experts without a teacher, no gates closed at random, changed
# training recordings. They are scored on validation recordings alone, clean and shifted.
LOW_RANK = {"expert_rank": 128, "skip_gate_prob": 0, "gate_budget": 0.9, "learning_rate": 5e-4}
FULL = {"skip_gate_prob": 0, "learning_rate": 2e-4}
# The mean of the weights of the last four checkpoints, which are five steps apart.
AVERAGED = {"averaged": 4, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 4}
AVERAGED |= {"load_best_model_at_end": False}
# Trained in all languages. The one with the lowest mean validation WER becomes the system `CHOSEN`.
CANDIDATES: dict[str, dict] = {
    "rank 128": LOW_RANK,
    "rank 128, augmented": LOW_RANK | AUGMENTED,
    "rank 128, budget 1": LOW_RANK | {"gate_budget": 1},
    "rank 128, budget 1, augmented": LOW_RANK | {"gate_budget": 1} | AUGMENTED,
    "rank 128, budget 0.5, augmented": LOW_RANK | {"gate_budget": 0.5} | AUGMENTED,
    "rank 128, augmented, distilled": LOW_RANK | AUGMENTED | DISTILLED,  # from the recordings as they are
    "rank 128, augmented, average": LOW_RANK | AUGMENTED | AVERAGED,
    "full, budget 1, augmented": FULL | {"gate_budget": 1} | AUGMENTED,
}
CHOSEN = "chosen experts"
# Trained in Russian, to see what each setting does.
SINGLE_CHANGES: dict[str, dict] = {
    "rank 128, budget 0.7": LOW_RANK | {"gate_budget": 0.7},
    "rank 128, budget 0.5": LOW_RANK | {"gate_budget": 0.5},
    "rank 128, rate 1e-3": LOW_RANK | {"learning_rate": 1e-3},
    "rank 128, soft gates": LOW_RANK | {"gate_training": "soft"},
    **{f"rank 128, {kind}": LOW_RANK | {"augment": [kind]} for kind in AUGMENTED["augment"]},
    "rank 128, average": LOW_RANK | AVERAGED,
    "full, skip 0": FULL,
    "full, skip 0, augmented": FULL | AUGMENTED,
    "full, skip 0, budget 0.9, augmented": FULL | AUGMENTED | {"gate_budget": 0.9},
}

TRAINING = {
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 64,
    "normalizer": "report",
    "logging_steps": 5,
    "report_to": "none",
    "disable_tqdm": True,
    "save_only_model": True,
    "save_backbone": False,
}
EPOCHS = {
    "search": {"num_train_epochs": 1, "warmup_epochs": 0.25},
    "train": {"num_train_epochs": 2, "warmup_epochs": 0.5},
}


@dataclass(frozen=True)
class Job:
    """One training, or the untrained model in one language.

    Attributes:
        name: of its files.
        kind: "smoke", "plain", "search" (scored on validation alone), "candidate" (on validation and its shifts),
            "train" or "ablation".
        system: a key of `SYSTEMS`, or what the ablation is called.
        rate_of: the key of `SYSTEMS` whose chosen learning rate it takes; `None` where the settings name one.
        of_chosen: whether it takes the settings of the candidate that did best.
        settings: of `distilwhisper train`; "WEIGHTS" stands for the folder of the untrained model. And "averaged": of
            how many checkpoints the weights are the mean.
        teacher_job: the name of the training whose model is the teacher.
        keep: whether another job needs its weights.
    """

    name: str
    kind: str
    system: str
    language: str
    seed: int = 0
    rate_of: str | None = None
    of_chosen: bool = False
    settings: dict = field(default_factory=dict)
    teacher_job: str | None = None
    keep: bool = False


def all_jobs() -> list[Job]:
    """In the order in which they are started."""
    jobs = [_smoke(system) for system in ("fine-tuning", "LoRA 32", "DistilWhisper")]
    jobs += [Job(f"plain.{code}", "plain", "plain", code) for code in LANGUAGES]
    jobs += [_search(system, rate) for system, (_, rates) in SYSTEMS.items() for rate in rates]
    candidates = [_candidate(name, code) for name, code in product(CANDIDATES, LANGUAGES)]
    systems = (*SYSTEMS, ONE_PATH, CHOSEN, *AUGMENTED_SYSTEMS)
    main = [_main(system, code, seed) for seed, system, code in product(SEEDS, systems, LANGUAGES)]
    ablations = [_ablation(name, seed) for seed in SEEDS for name in (*ABLATIONS, *_others())]
    return jobs + candidates + main + [_candidate(name, SEARCHED_IN) for name in SINGLE_CHANGES] + ablations


def _others() -> list[str]:
    return [BETTER_TEACHER, *(f"rank {rank}" for rank in RANKS)]


def _settings(system: str, kind: str, language: str, seed: int) -> dict:
    return {**TRAINING, **EPOCHS[kind], **SYSTEMS[system][0], "languages": [language], "seed": seed}


def _smoke(system: str) -> Job:
    settings = _settings(system, "search", SEARCHED_IN, 0) | {"max_rows": 8, "learning_rate": SYSTEMS[system][1][1]}
    return Job(f"smoke.{_file(system)}", "smoke", system, SEARCHED_IN, settings=settings)


def _search(system: str, rate: float) -> Job:
    settings = _settings(system, "search", SEARCHED_IN, 0) | {"learning_rate": rate}
    return Job(f"search.{_file(system)}.{rate:g}", "search", system, SEARCHED_IN, settings=settings)


def _main(system: str, language: str, seed: int) -> Job:
    job = Job(_name(system, language, seed), "train", system, language, seed)
    shared = {**TRAINING, **EPOCHS["train"], "languages": [language], "seed": seed}
    if system == ONE_PATH:
        return replace(job, settings=shared | ONE_PATH_SETTINGS)
    if system == CHOSEN:
        return replace(job, of_chosen=True, settings=shared)
    rate_of = AUGMENTED_SYSTEMS.get(system, system)
    settings = _settings(rate_of, "train", language, seed) | (AUGMENTED if system != rate_of else {})
    keep = (system, language) == ("fine-tuning", SEARCHED_IN)
    return replace(job, rate_of=rate_of, settings=settings, keep=keep)


def _ablation(name: str, seed: int) -> Job:
    system = "DistilWhisper rank 128" if name.startswith("rank ") else "DistilWhisper"
    changed, teacher_job = ABLATIONS.get(name, {}), None
    if name.startswith("rank "):
        changed = {"expert_rank": int(name.removeprefix("rank "))}
    elif name == BETTER_TEACHER:
        teacher_job = _name("fine-tuning", SEARCHED_IN, seed)
    settings = _settings(system, "train", SEARCHED_IN, seed) | changed
    job = f"ablation.{_file(name)}.{SEARCHED_IN}.{seed}"
    return Job(job, "ablation", name, SEARCHED_IN, seed, system, settings=settings, teacher_job=teacher_job)


def _candidate(name: str, language: str) -> Job:
    settings = TRAINING | EPOCHS["train"] | {"languages": [language], "seed": SEEDS[0]} | settings_of(name)
    job = f"candidate.{_file(name)}.{language}.{SEEDS[0]}"
    return Job(job, "candidate", name, language, SEEDS[0], settings=settings)


def settings_of(candidate: str) -> dict:
    """What a candidate, or a single change, sets beyond the settings of all trainings."""
    return {**CANDIDATES, **SINGLE_CHANGES}[candidate]


def _name(system: str, language: str, seed: int) -> str:
    return f"train.{_file(system)}.{language}.{seed}"


def _file(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def chosen_rate(system: str, validation: dict[str, float]) -> float | None:
    """The learning rate with the lowest validation WER, the smaller of equal ones.

    Args:
        validation: WER by name of job, of the searches that ended well.

    Returns:
        The middle one of the three if no search ended well.
    """
    rates = SYSTEMS[system][1]
    scores = {rate: validation[name] for rate in rates if (name := _search(system, rate).name) in validation}
    return min(scores, key=lambda rate: (scores[rate], rate)) if scores else rates[1]


def searches(system: str) -> list[str]:
    """The names of the jobs that choose a system's learning rate."""
    return [_search(system, rate).name for rate in SYSTEMS[system][1]]


def chosen_candidate(records: dict[str, dict]) -> str | None:
    """The candidate with the lowest mean, over languages, of its WER on clean and on shifted validation recordings.

    Clean and all shifted recordings weigh the same.

    Args:
        records: by name of job.

    Returns:
        `None` if no candidate has run in all languages. Of equal ones, the first.
    """
    means = {}
    for name in CANDIDATES:
        runs = [records.get(_candidate(name, code).name) for code in LANGUAGES]
        if None not in runs:
            means[name] = mean(validation_wer(run) for run in runs)
    return min(means, key=means.get) if means else None


def validation_wer(record: dict) -> float:
    """The mean of a candidate's WER on clean validation recordings and of its mean WER over their shifts."""
    domains = {row["domain"]: row["wer"] for row in record["counts"]}
    clean = domains.pop("clean")
    return (clean + mean(domains.values())) / 2


def candidates() -> list[str]:
    """The names of the jobs among which one is chosen."""
    return [_candidate(name, code).name for name, code in product(CANDIDATES, LANGUAGES)]
