"""Short texts in six languages: dates, durations, measures, places. The names come from the Unicode locale data."""

import datetime
import random
import re

from babel import Locale
from babel.dates import format_date, format_skeleton, format_timedelta
from babel.lists import format_list
from babel.units import format_unit
from num2words import num2words

from modeling_distilwhisper.evaluation.normalization import keep_marks

SERVED = ("en", "es")
UNDER_SERVED = ("ca", "hu", "uk")
LANGUAGES = (*SERVED, *UNDER_SERVED)
UNKNOWN = ("eo",)  # Whisper has no token for it, and neither model has heard it

MEASURES = (
    *("length-kilometer", "length-meter", "mass-kilogram", "volume-liter", "temperature-celsius"),
    *("duration-minute", "duration-hour", "duration-week", "duration-month"),
)
PLACES = (
    *("AL", "AR", "AT", "BR", "CL", "CN", "CU", "DE", "DK", "EG", "ES", "FI"),
    *("FR", "GR", "HR", "HU", "IE", "IN", "IT", "JP", "MX", "NO", "PL", "UA"),
)
LANGUAGE_NAMES = ("ar", "ca", "de", "en", "es", "fr", "hu", "it", "ja", "pl", "pt", "uk")
PHRASES = {
    "en": ("today is {weekday}", "the train leaves {ahead}", "it happened {ago}", "{place} is far away"),
    "es": ("hoy es {weekday}", "el tren sale {ahead}", "ocurrió {ago}", "{place} está muy lejos"),
    "ca": ("avui és {weekday}", "el tren surt {ahead}", "va passar {ago}", "{place} és molt lluny"),
    "hu": ("ma {weekday} van", "a vonat {ahead} indul", "ez {ago} történt", "{place} nagyon messze van"),
    "uk": ("сьогодні {weekday}", "потяг вирушає {ahead}", "це сталося {ago}", "{place} дуже далеко"),
    "eo": (
        *("hodiaŭ estas {weekday}", "la trajno ekveturas {ahead}"),
        *("tio okazis {ago}", "{place} estas tre malproksima"),
    ),
}


def make_texts(language: str, count: int, seed: int, without: frozenset[str] = frozenset()) -> list[str]:
    """`count` different texts in lower case without punctuation, none of them in `without`."""
    generator = random.Random(f"{language} {seed}")
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = _make_text(language, generator)
        if text not in without:
            texts[text] = None
    return list(texts)


def _make_text(language: str, generator: random.Random) -> str:
    locale = Locale(language)
    day = datetime.date(2023, 1, 1) + datetime.timedelta(days=generator.randrange(365))
    weekday = format_date(day, "EEEE", locale=locale)
    places = [locale.territories[code] for code in generator.sample(PLACES, 2)]
    languages = [locale.languages[code] for code in generator.sample(LANGUAGE_NAMES, 2)]
    # Not 1 or 2 at the end: in some languages these agree in gender with the noun, and number words do not.
    number = generator.choice([n for n in range(3, 100) if n % 10 > 2 or n in (10, 11, 12, 20, 30, 40, 50)])
    measure = generator.choice(MEASURES)
    measured = format_unit(number, measure, locale=locale)
    if measure in measured:
        raise ValueError(f"The locale data have no word for {measure} in {language!r}. Remove it from MEASURES.")
    unit, seconds = generator.choice((("minute", 60), ("hour", 3600), ("day", 86400)))
    ahead, ago = (
        format_timedelta(
            datetime.timedelta(seconds=sign * seconds * number),
            granularity=unit,
            threshold=1000,
            add_direction=True,
            locale=locale,
        )
        for sign in (1, -1)
    )
    text = generator.choice(
        (
            generator.choice(PHRASES[language]).format(weekday=weekday, ahead=ahead, ago=ago, place=places[0]),
            f"{weekday} {format_skeleton('MMMMd', day, locale=locale)}",
            measured,
            f"{places[0]} {measured}",
            format_list(places, generator.choice(("standard", "or")), locale=locale),
            format_list(languages, generator.choice(("standard", "or")), locale=locale),
            f"{number} {weekday}",
        )
    )
    words = re.sub(r"\d+\.?", lambda digits: num2words(int(digits[0].rstrip(".")), lang=language), text)
    return keep_marks(words, language)
