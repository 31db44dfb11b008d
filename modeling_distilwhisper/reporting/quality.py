"""WER against size and time as a page of Markdown, from what `distilwhisper benchmark quality` measured."""

from collections.abc import Mapping
from typing import Any

from .markdown import Markdown, as_markdown, table_of


def quality_page(content: Mapping[str, Any]) -> str:
    """Two tables, quality with sizes and times, and what they were measured on.

    Args:
        content: of `quality.json`.
    """
    first = as_markdown(content["systems"][0]["system"])
    return "\n\n".join(
        [
            about(content),
            f"In bold: 0 is outside of the 95 % interval of the difference from {first}. MB of weights: fetched to run "
            "it, and for one language more; in memory; and the most that its process used.",
            quality_table(content),
            f"Seconds of computing for an hour of speech: medians, and times those of {first}.",
            time_table(content),
        ]
    )


def about(content: Mapping[str, Any]) -> str:
    """What was measured, on what."""
    settings, systems = content["settings"], content["systems"]
    clips, hours = (sum(part[key] for part in content["data"]) for key in ("rows", "hours"))
    names = ", ".join(f"{part['data_set']} {part['split']} {part['language']}" for part in content["data"])
    baseline = min(system["memory_before"] for system in systems) / 1e6
    sentences = [
        f"{names}: {clips} clips of {3600 * hours / clips:.1f} s in the mean, {60 * hours:.1f} minutes. Whisper "
        f"computes {content['window seconds']} s for each; packed, they are {content['packed windows']} windows.",
        f"{content['machine']}; {content['threads']} threads, {settings['device']}, {settings['precision']}, "
        f"{settings['rounds']} round{'' if settings['rounds'] == 1 else 's'}, {content['minutes']:.0f} minutes.",
        f"WER by the normaliser {systems[0]['normalizer']}, of {systems[0]['words']} {systems[0]['unit']}.",
    ]
    if baseline:
        sentences.append(f"Python and its libraries take {baseline:.0f} MB of memory before a model is loaded.")
    return Markdown(" ".join(map(as_markdown, sentences)))


def quality_table(content: Mapping[str, Any]) -> str:
    """WER, its difference from the first system's, and sizes: a row for each system."""
    first = content["systems"][0]["system"]
    rows = []
    for system in content["systems"]:
        rows.append(
            {
                "": system["system"],
                "WER": system["wer"],
                "95 % interval": interval(system["wer_low"], system["wer_high"]),
                f"less that of {first}": difference(system.get("less first")),
                "download MB": megabytes(system["download"]),
                "one language more MB": megabytes(system["another language"]),
                "weights MB": megabytes(system["weights"]),
                "peak memory MB": megabytes(system["memory"]),
            }
        )
    return table_of(rows, ".3f")


def time_table(content: Mapping[str, Any]) -> str:
    """Seconds of computing for an hour of speech, and the ratio to those of the first system."""
    plain = content["systems"][0]["seconds per hour"]
    rows = []
    for system in content["systems"]:
        times = system["seconds per hour"]
        cells = {task: f"{seconds:.0f} ({seconds / plain[task]:.2f})" for task, seconds in times.items()}
        rows.append({"": system["system"], **cells})
    return table_of(rows)


def interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.3f} to {high:.3f}"


def difference(values: Mapping[str, Any] | None) -> str | None:
    """A difference with its interval, in bold if the interval does not hold 0."""
    if values is None:
        return None
    text = f"{values['difference']:.3f} ({interval(values['low'], values['high'])})"
    return Markdown(f"**{text}**") if values["real"] else text


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}" if size < 100e6 else f"{size / 1e6:.0f}"
