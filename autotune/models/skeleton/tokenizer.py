"""A tokenizer built here: a token a word, so that a prompt is about as long as in print."""

from __future__ import annotations

from pathlib import Path

#: A message's text, whichever of the two forms of content a pipeline uses.
_CHAT = (
    "{% for m in messages %}"
    "{{ m['content'] if m['content'] is string else m['content'][0]['text'] }} "
    "{% endfor %}"
)
#: Words that have a number of their own; all others share one.
_WORDS = "a the of in and on with at to photo red fox fresh snow sunrise pine trees behind it"


def write_tokenizer(folder: Path, *, longest: int) -> None:
    """Write a tokenizer that cuts at ``longest`` tokens where a pipeline leaves it to it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    words = {word: number for number, word in enumerate([*special, *_WORDS.split()])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    # An empty prompt has a token too.
    core.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=longest,
    )
    tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(folder)
