"""LoRA, which experts are compared with."""

from transformers import WhisperForConditionalGeneration


def with_lora(model: WhisperForConditionalGeneration, rank: int):
    """The model with LoRA on the feed-forward layers, where experts are too; alpha is twice the rank."""
    from peft import LoraConfig, get_peft_model  # it takes seconds to import, and is an extra

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["fc1", "fc2"]))
