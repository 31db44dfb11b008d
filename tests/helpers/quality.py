"""What `distilwhisper benchmark quality` writes, of systems as one likes."""


def content(systems: dict[str, tuple[float, float, float]], width: float = 0.05) -> dict:
    """Systems by name, each with its WER, megabytes to fetch, and seconds of computing for an hour of speech."""
    rows = []
    for name, (wer, megabytes, seconds) in systems.items():
        row = {"system": name, "kind": "language experts", "wer": wer, "wer_low": wer - width, "wer_high": wer + width}
        row |= {"words": 200, "unit": "words", "normalizer": "marks-2", "hits": 150}
        row |= {"download": megabytes * 1e6, "another language": 25e6, "weights": megabytes * 1e6}
        row |= {"memory": 9e8, "memory_before": 4e8}
        times = {"clips, batch 1": seconds, "packed, batch 1": seconds / 8}
        row["seconds"] = {task: [value * 0.05 * factor for factor in (0.98, 1, 1.04)] for task, value in times.items()}
        row["seconds per hour"] = times
        if rows:
            row["less first"] = {"difference": wer - rows[0]["wer"], "low": -0.2, "high": 0.05, "real": False}
        rows.append(row)
    return {
        "settings": {"device": "cpu", "precision": "float32", "rounds": 3},
        "machine": "2 cores of a Xeon",
        "threads": 2,
        "minutes": 30.4,
        "window seconds": 30,
        "packed windows": 7,
        "data": [{"data_set": "prompts", "split": "test", "language": "ru", "rows": 45, "hours": 0.05}],
        "systems": rows,
    }
