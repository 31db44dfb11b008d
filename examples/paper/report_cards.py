"""Writes the model cards of the authors' converted checkpoints. The package contains these cards.

    python examples/paper/report_cards.py

Their figures are the report's (report.csv). The cards say that this package did not measure them.
"""

import argparse
from pathlib import Path

import parameters
import reproduce

from modeling_distilwhisper.export.authors import CARDS
from modeling_distilwhisper.reporting.card_tables import language_name, size_rows
from modeling_distilwhisper.reporting.markdown import Markdown, table_of
from modeling_distilwhisper.reporting.model_card import not_saved_message, render, save_card

# Languages of the report's Table 4, training utterances and hours of its sections 5.1.1 and 5.4, validation utterances
# of the authors' published lists (section 5.1.1 gives the 1,000 of its main setting alone), and the tables of figures.
SETTINGS = {
    "3k": ("bg ca cs fi gl hi hu id pl ro sk sl ta th uk vi", "3,000", "about 4", "500", (8, 12)),
    "10k": ("ca cs gl hu pl ta th uk", "10,000", "about 14", "1,000", (6, 11)),
    "28k": ("ca ta th", "28,000", "about 40", "1,000", (7, 12)),
}
DATA_SETS = {
    "cv13": "Common Voice 13.0 (in domain for trained models)",
    "fleurs": "FLEURS (out of domain, except in rows with + fleurs)",
}
REPORT = """\
These are figures of the report (T. Palmeira Ferraz, *Efficient Compression of Multitask Multilingual Speech
Models*, October 2023, tables {tables}); this package measured none of them. WER in %, with Whisper's basic
normaliser and the report's change for scripts without spaces. The report does not say which of its two
DistilWhispers was published, the one trained on Common Voice alone or the one trained also on FLEURS; its
section 5.8 announces the latter."""
NOTE = """\
Converted from [naver/{name}](https://huggingface.co/naver/{name}), under the licence of the original, by
`python examples/convert_authors_checkpoint.py naver/{name} --output_dir {folder}`. The conversion changes names
and no number. It was compared with the authors' code on small checkpoints that this code saved, not on this
checkpoint."""
TRAINING = """\
According to section 5.1 of the report: the {utterances} utterances of Common Voice 13.0 with the best votes, for
each language ({hours} hours); in rows with `+ fleurs` also the training split of FLEURS. Teacher: {teacher},
by Jensen-Shannon divergence at temperature 1, weight 2. 10 epochs, batches of 16, learning rate 1e-4 with one
epoch of warm-up and linear decay, label smoothing 0.1, gate budget 0.5, gates skipped with probability 0.2;
each model is the best by WER on {validation} validation utterances of Common Voice, as in the authors' list."""
GATES = """\
In training the gates were soft, a sigmoid with rising noise (eq. 4.2); at inference they are hard, with the
threshold 0 (eq. 4.4). The report shows the expert usage only in a figure (Figure 14), without numbers."""
COUNTED = (
    "The size is that of the architecture with gates of width 64. The report's 25 million parameters (10 %) are the "
    "size of such experts on whisper-base; `examples/compress_experts.py --rank 128` gives it on whisper-small."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=CARDS)
    args = parser.parse_args()
    for setting in SETTINGS:
        card = card_of(setting)
        path = args.output_dir / f"{name_of(setting)}.md"
        if not save_card(card, path):
            parser.error(f"{not_saved_message(path)} Or name another --output_dir.")
        print(path)


def name_of(setting: str) -> str:
    return f"multilingual-distilwhisper-{setting}"


def folder_of(setting: str) -> str:
    """The folder of the converted checkpoint in examples/README.md."""
    return f"distilwhisper-{setting}"


def card_of(setting: str):
    codes, utterances, hours, validation, tables = SETTINGS[setting]
    languages = codes.split()
    wers = figures(setting)
    name, teacher = name_of(setting), "openai/whisper-large-v2"
    backbone, expert_parameters = parameters.whisper("small"), parameters.experts("small")
    table_languages = dict.fromkeys(language for row in wers.values() for language in row if language != "avg")
    text = [REPORT.format(tables=" and ".join(map(str, tables)))]
    text += [
        f"**{title}**\n\n{table_of(rows_of(wers, data_set, table_languages))}" for data_set, title in DATA_SETS.items()
    ]
    limits = [worse_than_small(wers, setting), COUNTED]
    if missing := [language_name(code) for code in languages if code not in table_languages]:
        limits.append(f"The report's tables have no column of {', '.join(missing)}, which its Table 4 lists.")
    if setting == "3k":
        limits.append(
            "Common Voice 13.0 has fewer than 3,000 training utterances of Finnish, Slovenian and Vietnamese, and "
            "fewer than 500 validation utterances of Vietnamese."
        )
    return render(
        name=folder_of(setting),
        languages=languages,
        base="openai/whisper-small",
        teacher=teacher,
        data_sets=["mozilla-foundation/common_voice_13_0", "google/fleurs"],
        license="other",
        license_name="as-the-original",
        license_link=f"https://huggingface.co/naver/{name}",
        note=NOTE.format(name=name, folder=folder_of(setting)),
        report=Markdown("\n\n".join(text)),
        training=Markdown(TRAINING.format(utterances=utterances, hours=hours, validation=validation, teacher=teacher)),
        gates=Markdown(GATES),
        backbone=backbone,
        sizes=table_of(size_rows({"each": {"parameters": expert_parameters, "bytes": 4 * expert_parameters}})),
        limits=list(map(Markdown, limits)),
    )


def figures(setting: str) -> dict[tuple[str, str, str], dict[str, str]]:
    """WER in the two tables of a setting: by data set, model and training data, then by language or "avg"."""
    train_sets = {"-", f"cv{setting}", f"cv{setting}+fleurs"}
    wers: dict[tuple[str, str, str], dict[str, str]] = {}
    for table in SETTINGS[setting][-1]:
        for line in reproduce.read_report(table):
            of_28k = line["domain"] == "28k part"  # Table 12 has two parts, with averages over other languages
            if line["train_data"] not in train_sets or (table == 12 and of_28k != (setting == "28k")):
                continue
            row = wers.setdefault((line["data_set"], line["model"], line["train_data"]), {})
            if row.setdefault(line["language"], line["wer"]) != line["wer"]:
                raise ValueError(f"The report has two figures for {line}.")
    return wers


def rows_of(wers: dict, data_set: str, languages: list[str]) -> list[dict[str, str | None]]:
    rows, order = [], [*reproduce.UNTRAINED, *reproduce.SETTINGS]
    for (row_data_set, model, trained_on), row in sorted(wers.items(), key=lambda item: order.index(item[0][1])):
        if row_data_set == data_set:
            first_columns = {"model": model, "trained on": trained_on.replace("+", " + "), "avg": row.get("avg")}
            rows.append(first_columns | {language: row.get(language) for language in sorted(languages)})
    return rows


def worse_than_small(wers: dict, setting: str) -> str:
    """A sentence on the languages where experts raise the WER out of domain."""
    small, ours = wers["fleurs", "whisper-small", "-"], wers["fleurs", "DistilWhisper", f"cv{setting}"]
    worse = [code for code in ours if code != "avg" and float(ours[code]) > float(small[code])]
    listed = "; ".join(f"{language_name(code)} {ours[code]}, not {small[code]}" for code in worse)
    languages = listed if worse else "none of its languages"
    model = "DistilWhisper trained on Common Voice alone"
    return f"Out of domain, on FLEURS, {model} is worse than whisper-small in {languages}."


if __name__ == "__main__":
    main()
