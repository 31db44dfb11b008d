"""What the user reads in place of a traceback: what was expected, what came, what to do."""

import errno
from types import TracebackType

import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from ..runs.extras import EXTRAS, MissingLibraryError, missing

TRACEBACK = "DISTILWHISPER_TRACEBACK"  # the environment variable: 1 shows the traceback of every error
FULL = "The disk is full. Make room and start the command again."
SENTENCES = {
    errno.ENOENT: "There is no such file or folder. Check the path.",
    errno.EACCES: "You may not read or write here. Change the permissions, or give another path.",
    errno.EPERM: "You may not read or write here. Change the permissions, or give another path.",
    errno.EROFS: "Nothing can be written here, since the disk is read-only. Give another path.",
    errno.ENOTDIR: "A part of this path is a file, where a folder is expected. Give another path.",
    errno.EEXIST: "A file is here, where a folder is expected. Give another path.",
    errno.EISDIR: "Expected a file, got a folder. Check the path.",
    errno.ENAMETOOLONG: "The path is too long: a name may have 255 bytes. Give a shorter one.",
    errno.ELOOP: "The link leads back to itself. Check the path.",
    errno.ENOSPC: FULL,
    errno.EDQUOT: "Your share of the disk is full. Make room and start the command again.",
    errno.EFBIG: "The file is larger than may be written here. Give another path.",
    errno.EIO: "The disk cannot be read or written. Check it, or give another path.",
    errno.EMFILE: "Too many files are open. Raise the limit: ulimit -n 4096.",
}
MODEL = "Expected the folder or Hub id of a complete Whisper. If its files are damaged, save or download it again."


def message_of(error: Exception) -> str | None:
    """The line for an error that the user can mend; `None` for a bug, whose traceback is worth more."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "The memory does not suffice. Give a smaller --batch_size, or a smaller model."
    location = _model_that_was_read(error.__traceback__)
    if location is not None and isinstance(error, OSError) and error.errno is None:
        return f"{error} {MODEL}"  # Transformers says what the folder lacks
    if location is not None and not _is_ours(error) and not isinstance(error, ImportError):
        return f"{location} cannot be read as a model ({type(error).__name__}: {error}). {MODEL}"
    if isinstance(error, SafetensorError):
        return FULL if "os error 28" in str(error) else f"A file of weights is damaged, or cannot be written: {error}."
    if isinstance(error, HfHubHTTPError) or type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
        return (
            f"The Hub did not answer as expected: {error}. Check the name, your login (hf auth login) and the network."
        )
    if isinstance(error, yaml.YAMLError):
        return f"A file is no YAML: {error}"
    if isinstance(error, OSError) and (sentence := SENTENCES.get(error.errno or 0)) and error.filename is not None:
        path = error.filename2 if error.filename2 is not None else error.filename
        return f"{path}: {sentence}"
    if isinstance(error, OSError) and error.errno in SENTENCES:
        return SENTENCES[error.errno]
    if isinstance(error, OSError | MissingLibraryError) or type(error) is ValueError:
        return str(error)
    if isinstance(error, ImportError) and (library := (error.name or "").partition(".")[0]) in EXTRAS:
        return missing(library)
    if isinstance(error, ValueError | ImportError):
        # A kind that no message to a user has, such as `UnicodeDecodeError`.
        return f"{type(error).__name__}: {error} ({TRACEBACK}=1 shows where.)"
    return None


def _model_that_was_read(traceback: TracebackType | None) -> str | None:
    """What `from_pretrained` was reading when the error was raised. Damaged files raise errors of any kind there."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "from_pretrained":
            names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
            first = [frame.f_locals.get(name) for name in names if name not in ("cls", "self")][:1]
            return str(first[0]) if first else "This"
        traceback = traceback.tb_next
    return None


def _is_ours(error: Exception) -> bool:
    """Whether this library raised the error with a message for users."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback is not None else ""
    return type(error) is ValueError and "distilwhisper" in module
