"""LoRA, which experts are compared with."""

from transformers import WhisperForConditionalGeneration


def with_lora(model: WhisperForConditionalGeneration, rank: int, alpha: int | None = None, dropout: float = 0.0):
    """The model with LoRA on the feed-forward layers, where experts are too.

    Args:
        model: a plain Whisper.
        rank: of the update of each matrix.
        alpha: the update is scaled by alpha / rank. By default it is twice the rank.
        dropout: on the input of the update, in training.
    """
    from peft import LoraConfig, get_peft_model  # it takes seconds to import, and is an extra

    alpha = 2 * rank if alpha is None else alpha
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=["fc1", "fc2"])
    return get_peft_model(model, config)
