"""The form of a request, and the forms of an answer: json, text, srt, vtt and verbose_json, as OpenAI has them."""

import json
import math
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ..runs.language_codes import as_own, language_code
from ..transcription.doubts import compression_ratio
from ..transcription.segments import Segment, Transcript
from ..transcription.subtitles import to_srt, to_vtt
from .errors import ApiError
from .items import Settings

MAX_FIELD = 16_384  # bytes of a field that is no file: a prompt has a few hundred
MAX_FIELDS = 32
LISTS = ("timestamp_granularities",)  # fields that may come several times, each with [] behind its name


class Fields(BaseModel):
    """The fields of a request besides the file."""

    model_config = ConfigDict(extra="forbid")

    model: str
    language: str | None = None
    prompt: str = ""
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    temperature: float = Field(default=0.0, ge=0, le=1)
    stream: bool = False
    timestamp_granularities: list[Literal["segment", "word"]] = []
    chunking_strategy: Literal["auto"] | None = None  # recordings are always cut here

    def settings(self, task: str) -> Settings:
        """How the windows of the recording are decoded."""
        return Settings(task, self.prompt, self.temperature, self.response_format == "verbose_json")


def read_fields(form: FormData) -> tuple[UploadFile, Fields]:
    """The file and the fields of a form.

    Raises:
        ApiError: one is missing, unknown or has a value that it cannot have; the error names it.
    """
    values: dict[str, Any] = {}
    for name in form.keys():
        plain = name.removesuffix("[]")
        given = [value for value in form.getlist(name) if value != ""]
        if name == "file" or not given:
            continue
        if any(isinstance(value, UploadFile) for value in given):
            raise _invalid(plain, "expected a text, got a file")
        if plain not in LISTS and len(given) > 1:
            raise _invalid(plain, f"expected one value, got {len(given)}")
        values[plain] = given if plain in LISTS else given[0]
    files = form.getlist("file")
    if len(files) != 1 or not isinstance(files[0], UploadFile):
        raise _invalid("file", "expected one recording, as a file of a multipart/form-data request")
    try:
        fields = Fields(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(["file", *Fields.model_fields])
            raise _invalid(str(first["loc"][0])[:100], f"there is no such field; there are {known}") from None
        raise _invalid(str(first["loc"][0]), f"{first['msg'].lower()}, got {str(first['input'])[:100]!r}") from None
    _check(fields)
    return files[0], fields


def _check(fields: Fields) -> None:
    if "<|" in fields.prompt:
        raise _invalid("prompt", "expected plain text, got special tokens (<|...|>)")
    if fields.timestamp_granularities and fields.response_format != "verbose_json":
        raise _invalid("timestamp_granularities", "they need response_format=verbose_json")
    if fields.stream and fields.response_format not in ("json", "text"):
        raise _invalid("stream", f"expected response_format json or text with it, got {fields.response_format}")


def read_language(written: str | None, known: tuple[str, ...]) -> str | None:
    """The name of a language that a client asks for; `None` to detect it.

    A name that the model knows, such as de-CH, is that one. Of others the region is dropped: de.

    Raises:
        ApiError: the model does not know it.
    """
    if written is None:
        return None
    try:
        code = language_code(as_own(written[:100], known))
    except ValueError:
        code = ""
    if code not in known:
        raise _invalid("language", f"expected a code such as en, got {written[:100]!r}, which the model does not know")
    return code


def answer(transcript: Transcript, fields: Fields, task: str) -> Response:
    """A transcript in the format that was asked for."""
    if fields.response_format == "text":
        return PlainTextResponse(transcript.text + "\n")
    if fields.response_format == "srt":
        return PlainTextResponse(to_srt(transcript))
    if fields.response_format == "vtt":
        return PlainTextResponse(to_vtt(transcript))
    if fields.response_format == "json":
        return JSONResponse({"text": transcript.text, "usage": usage(transcript)})
    return JSONResponse(verbose(transcript, fields, task))


def verbose(transcript: Transcript, fields: Fields, task: str) -> dict[str, Any]:
    """The content of `verbose_json`."""
    content: dict[str, Any] = {
        "task": task,
        "language": LANGUAGES.get(transcript.language, transcript.language),
        "duration": round(transcript.seconds, 2),
        "text": transcript.text,
        "usage": usage(transcript),
    }
    if "word" in fields.timestamp_granularities:
        words = [segment.words for segment in transcript.segments]
        if None in words:
            raise _invalid("timestamp_granularities", "this model cannot time words; expected segment")
        content["words"] = [asdict(word) for of_segment in words for word in of_segment or ()]
    if "segment" in fields.timestamp_granularities or not fields.timestamp_granularities:
        content["segments"] = [
            _segment(number, part, fields.temperature) for number, part in enumerate(transcript.segments)
        ]
    return content


def _segment(number: int, part: Segment, temperature: float) -> dict[str, Any]:
    """A segment as OpenAI has it, without what only its own decoder knows (`seek`, `tokens`)."""
    content: dict[str, Any] = {"id": number, "start": part.start, "end": part.end, "text": part.text}
    content |= {"temperature": temperature, "compression_ratio": round(compression_ratio(part.text), 3)}
    if part.avg_logprob is not None:
        content["avg_logprob"] = round(part.avg_logprob, 4)
    if part.no_speech_prob is not None:
        content["no_speech_prob"] = round(part.no_speech_prob, 4)
    return content


def usage(transcript: Transcript) -> dict[str, Any]:
    """What a client is charged for elsewhere."""
    return {"type": "duration", "seconds": math.ceil(transcript.seconds)}


def event(content: dict[str, Any]) -> str:
    """An event of a stream (server-sent events)."""
    name = f"event: {content['type']}\n" if "type" in content else ""
    return f"{name}data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _invalid(param: str, reason: str) -> ApiError:
    return ApiError(400, f"{param}: {reason}.", "invalid_value", param=param)
