"""Optional libraries: which extra of this package brings each, and the message where one is missing."""

import importlib

# The extra (setup.cfg) that brings an optional library, by the library's import name.
EXTRAS = {
    "matplotlib": "plots",
    "peft": "compare",
    "sacrebleu": "translate",
    "tensorboard": "tensorboard",
    "pandas": "bias",
    "gradio": "demo",
    "ray": "serve",
    "h11": "serve",
    "prometheus_client": "serve",
    "pydantic": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "evaluate": "examples",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "ctranslate2": "export",
    "faster_whisper": "export",
    "pywhispercpp": "whispercpp",
    "bitsandbytes": "quantised",
    "torchao": "quantised",
    "audiomentations": "augment",
    "fast_mp3_augment": "augment",
}


class MissingLibraryError(ImportError):
    """An optional library is not installed. The message says how to install it."""


def missing(library: str, extra: str | None = None) -> str:
    """The message for a library that is not installed: what it is, and how to install it.

    Args:
        library: its import name.
        extra: the extra that brings it; by default that of `EXTRAS`.

    Example:
        >>> missing("peft")
        'this needs peft, which is not installed. Install it: pip install "modeling_distilwhisper[compare]"'
    """
    extra = extra or EXTRAS.get(library)  # none: the package itself requires the library
    command = f'pip install "modeling_distilwhisper[{extra}]"' if extra else f"pip install {library}"
    return f"this needs {library}, which is not installed. Install it: {command}"


def require(*libraries: str, extra: str | None = None) -> None:
    """Checks that optional libraries are installed, before work that needs them.

    Args:
        libraries: their import names.
        extra: the extra that brings all of them; by default, that of the missing one (`EXTRAS`).

    Raises:
        MissingLibraryError: one is not installed.
    """
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            raise MissingLibraryError(missing(library, extra), name=library) from None
