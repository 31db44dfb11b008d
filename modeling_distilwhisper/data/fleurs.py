"""FLEURS (Conneau et al., 2022), from its raw files or from the parquet revision on the Hub."""

from collections import Counter
from pathlib import Path

from datasets import Dataset

from ..runs.language_codes import chosen_language
from .archives import unpack
from .hub import read_hub
from .rows import check_split, make_rows, one_line, path_inside, require_inside
from .tables import OUTSIDE, SHIFTED, Row, read_tsv

HUB_ID, REVISION = "google/fleurs", "refs/convert/parquet"
FILES = {"train": "train", "validation": "dev", "test": "test"}
COLUMNS = ("id", "file_name", "raw_transcription", "transcription", "characters", "samples", "gender")
TEXTS = ("transcription", "raw_transcription")
RENAMED = {"cmn": "zh", "fil": "tl", "jv": "jw", "nb": "no"}
# FLEURS' codes of the languages that Whisper knows, and in the last lines of others.
_CODES = """
af_za am_et ar_eg as_in az_az be_by bg_bg bn_in bs_ba ca_es cmn_hans_cn cs_cz cy_gb da_dk de_de el_gr en_us es_419 et_ee
fa_ir fi_fi fil_ph fr_fr gl_es gu_in ha_ng he_il hi_in hr_hr hu_hu hy_am id_id is_is it_it ja_jp jv_id ka_ge kk_kz km_kh
kn_in ko_kr lb_lu ln_cd lo_la lt_lt lv_lv mi_nz mk_mk ml_in mn_mn mr_in ms_my mt_mt my_mm nb_no ne_np nl_nl oc_fr pa_in
pl_pl ps_af pt_br ro_ro ru_ru sd_in sk_sk sl_si sn_zw so_so sr_rs sv_se sw_ke ta_in te_in tg_tj th_th tr_tr uk_ua ur_pk
uz_uz vi_vn yo_ng yue_hant_hk
ast_es ceb_ph ckb_iq ff_sn ga_ie ig_ng kam_ke kea_cv ky_kg lg_ug luo_ke nso_za ny_mw om_et or_in umb_ao wo_sn xh_za
zu_za
"""
CODES = {RENAMED.get(code.split("_")[0], code.split("_")[0]): code for code in _CODES.split()}


def read_fleurs(
    location: str | Path,
    split: str,
    language: str,
    text: str = "transcription",
    *,
    left_out: Counter[str] | None = None,
) -> Dataset:
    r"""Reads a split of one language.

    A row of the raw files is left out, with a warning that names its line, if it does not have seven cells with a
    number of samples in the sixth, or if its file is outside `location`, also by a link.

    Args:
        location: a folder with the raw files of the Hub, `data/<code>/test.tsv` and `data/<code>/audio/test.tar.gz` (or
            audio/test/); or the Hub id "google/fleurs", whose parquet revision is then downloaded.
        split: "train", "validation" ("dev" in FLEURS) or "test".
        language: Whisper's code or name.
        text: "transcription" (lower case, no punctuation) or "raw_transcription" (the sentence that was read out).
        left_out: gets the number of rows left out, by reason.

    Returns:
        Rows (`FEATURES`). Recordings of one sentence share a `sentence_id`, in all languages. Audio is not opened.

    Raises:
        ValueError: FLEURS lacks the language; `text` is neither of the two; or the listing is not UTF-8 or has no row
            that can be read.
        FileNotFoundError: the folder lacks the listing.

    Example:
        >>> import pathlib, tempfile
        >>> from modeling_distilwhisper import read_fleurs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     listing = pathlib.Path(folder, "data/gl_es/test.tsv")
        ...     listing.parent.mkdir(parents=True)
        ...     _ = listing.write_text("7\ta.wav\tBoas noites!\tboas noites\tb o a s\t32000\tFEMALE\n")
        ...     rows = read_fleurs(folder, "test", "gl")
        >>> rows["text"][:], rows["sentence_id"][:], rows["gender"][:]
        (['boas noites'], ['7'], ['female'])
    """
    check_split(split)
    language = chosen_language(language)
    if language not in CODES:
        raise ValueError(f"FLEURS has no language {language!r}. Expected one of {', '.join(sorted(CODES))}.")
    if text not in TEXTS:
        raise ValueError(f"FLEURS has no text {text!r}. Expected one of {', '.join(TEXTS)}.")
    code = CODES[language]
    constants = {"language": language, "data_set": "fleurs", "split": split}
    if str(location) == HUB_ID and not Path(location).exists():
        return read_hub(
            HUB_ID, split, language, data_dir=code, revision=REVISION, text=text, id="path", sentence_id="id"
        )
    folder = next(filter(Path.is_dir, (Path(location, "data", code), Path(location, code))), Path(location, code))
    name = FILES[split]
    listing, audio = folder / f"{name}.tsv", folder / "audio" / name
    if not listing.is_file():
        raise FileNotFoundError(f"There is no {listing}. Expected data/{code}/{name}.tsv in {location}, or {HUB_ID!r}.")
    require_inside(listing, location)
    table = read_tsv(listing, COLUMNS)

    def reason_of(row: Row) -> str | None:
        if row["samples"] and not row["samples"].isdecimal():
            return SHIFTED
        return OUTSIDE if row["file_name"] and not path_inside(audio, row["file_name"], location) else None

    table.check(reason_of)
    table.report(left_out)
    archive = audio.with_suffix(".tar.gz")
    if not audio.is_dir() and archive.is_file():
        location = unpack(archive, [f"{name}/{row['file_name']}" for row in table.rows if row["file_name"]])
        audio = location / name
    return make_rows(
        {
            "audio": path_inside(audio, row["file_name"], location),
            "text": one_line(row[text]),
            "id": row["file_name"],
            "sentence_id": row["id"],
            "gender": row["gender"].lower(),
            **constants,
        }
        for row in table.rows
    )
