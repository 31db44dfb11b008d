"""Groups of languages: by hours in Whisper's training data (the report's Table 3), and by family (its Table 5)."""

import csv
from functools import cache
from pathlib import Path

# The fewest hours of transcribed speech in Whisper's training data.
RESOURCE_CLASSES = {
    "super high": 5000,
    "high": 1000,
    "mid to high": 500,
    "low to mid": 100,
    "low": 10,
    "extremely low": 0,
}
SUB_FAMILIES = {
    "Slavic": ("bg", "cs", "pl", "sk", "sl", "uk", "ru", "be", "bs", "hr", "mk", "sr"),
    "Romance": ("ca", "gl", "ro", "es", "fr", "it", "pt", "oc"),
    "Germanic": ("af", "da", "de", "en", "fo", "is", "lb", "nl", "nn", "no", "sv", "yi"),
    "Uralic": ("et", "fi", "hu"),
    "Austronesian and Austroasiatic": ("haw", "id", "jw", "km", "mg", "mi", "ms", "su", "tl", "vi"),  # one in Table 5
    "Dravidian": ("kn", "ml", "ta", "te"),
    "Kra-Dai": ("lo", "th"),
    "Indo-Aryan": ("as", "bn", "gu", "hi", "mr", "ne", "pa", "sa", "sd", "si", "ur"),
}


@cache
def transcription_hours() -> dict[str, float]:
    """Hours of transcribed speech in Whisper's training data, by language (Radford et al., 2023, appendix E)."""
    with open(Path(__file__).with_name("whisper_hours.csv"), newline="", encoding="utf-8") as file:
        return {row["language"]: float(row["transcription_hours"]) for row in csv.DictReader(file)}


def resource_class(language: str) -> str:
    """One of `RESOURCE_CLASSES`, or "unknown" for a language that is not in Whisper's training data.

    Example:
        >>> resource_class("gl"), resource_class("eo")
        ('extremely low', 'unknown')
    """
    hours = transcription_hours().get(language)
    if hours is None:
        return "unknown"
    return next(name for name, fewest in RESOURCE_CLASSES.items() if hours >= fewest)


def sub_family(language: str) -> str:
    """One of `SUB_FAMILIES`, or "other".

    Example:
        >>> sub_family("gl"), sub_family("eu")
        ('Romance', 'other')
    """
    return next((name for name, members in SUB_FAMILIES.items() if language in members), "other")
