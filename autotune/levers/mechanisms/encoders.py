"""Stand-ins for text encoders: one that runs on the host, one that is gone, and what it had said.

None is a module, so what places the modules of a pipeline passes them by: moving, hooks, devices.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Sequence
from typing import Any

from autotune.errors import BadInput, shorten

#: `OnHost` as code.
ON_HOST = '''
class OnHost:
    """A text encoder on the host: its input goes there, its output to the device.

    It is no module, so what places a pipeline passes it by.
    """

    def __init__(self, encoder, device):
        self.encoder = encoder.to("cpu")
        self.device_of_output = device

    def __call__(self, *args, **kwargs):
        args, kwargs = accelerate.utils.send_to_device((args, kwargs), "cpu")
        output = self.encoder(*args, **kwargs)
        return accelerate.utils.send_to_device(output, self.device_of_output)

    def __getattr__(self, name):
        return getattr(self.__dict__["encoder"], name)
'''


class OnHost:
    """A text encoder on the host: its input is brought there, its output to the device."""

    def __init__(self, encoder: Any, device: str) -> None:
        self.encoder = encoder.to("cpu")
        self._device = device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode."""
        from accelerate.utils import send_to_device

        args, kwargs = send_to_device((args, kwargs), "cpu")
        return send_to_device(self.encoder(*args, **kwargs), self._device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["encoder"], name)


class Gone:
    """The place of a text encoder that was dropped; pipelines still ask what it was like."""

    def __init__(self, encoder: Any) -> None:
        self.config = encoder.config
        self.dtype = encoder.dtype
        self.device = encoder.device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse.

        Raises:
            BadInput: Always.
        """
        raise BadInput(
            "a prompt would have to be encoded, and the text encoders were dropped",
            hint="load the pipeline again with text-encoders=device",
        )


class Memo:
    """Answers ``encode_prompt`` of a pipeline from what the encoders said in its first generation.

    Whatever that generation asks is asked for every prompt of the list at once, so that prompts
    come with the pipeline's own arguments, negative prompts too. At its end the encoders go.
    """

    def __init__(self, pipe: Any, encoders: Sequence[str], prompts: Sequence[str]) -> None:
        self._pipe = pipe
        self._encoders = encoders
        self._prompts = prompts
        self._encode = pipe.encode_prompt
        self._signature = inspect.signature(self._encode)
        self._end = pipe.maybe_free_model_hooks
        self._said: dict[str, Any] = {}
        #: The prompts that can be answered for.
        self.known: dict[str, None] = {}
        #: How often the encoders were not needed.
        self.answered = 0
        pipe.encode_prompt = self
        pipe.maybe_free_model_hooks = self._after_call

    @property
    def dropped(self) -> bool:
        """Whether the encoders are gone."""
        return any(isinstance(getattr(self._pipe, name), Gone) for name in self._encoders)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer.

        Raises:
            BadInput: If the encoders are gone and never said this.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if _holds_tensor(tuple(bound.arguments.values())):
            return self._encode(*args, **kwargs)  # embeddings are given: nothing to encode
        key = repr(bound.arguments)
        if key in self._said:
            self.answered += 1
        elif self.dropped:
            raise self._unknown(bound.arguments.get("prompt"))
        else:
            self._learn(bound)
        return _fresh(self._said[key])

    def withdraw(self) -> None:
        """Give the pipeline its own method back.

        Raises:
            BadInput: If it could do nothing with it.
        """
        if self.dropped:
            raise BadInput(
                "the text encoders were dropped once the prompts were encoded",
                hint="load the pipeline again",
            )
        del self._pipe.encode_prompt, self._pipe.maybe_free_model_hooks

    def _learn(self, bound: inspect.BoundArguments) -> None:
        import torch

        asked = _one(bound.arguments.get("prompt"))
        for prompt in self._prompts if asked in self._prompts else (asked,):
            arguments = {
                name: _exchanged(value, asked, prompt) for name, value in bound.arguments.items()
            }
            again = inspect.BoundArguments(self._signature, arguments)
            with torch.no_grad():
                self._said[repr(arguments)] = self._encode(*again.args, **again.kwargs)
            if prompt is not None:
                self.known[prompt] = None

    def _unknown(self, prompt: Any) -> BadInput:
        listed = ", ".join(shorten(one) for one in self.known)
        one = _one(prompt)
        how = " with these arguments" if one in self.known else ""
        return BadInput(
            f"the prompt {shorten(one or prompt)} was not precomputed{how}; known are {listed}",
            hint="load the pipeline again with text-encoders=device to use any prompt",
        )

    def _after_call(self) -> None:
        self._end()
        if self._said and not self.dropped:
            for name in self._encoders:
                encoder = getattr(self._pipe, name)
                if encoder is not None:
                    replace(self._pipe, name, Gone(encoder))
                del encoder
            gc.collect()  # modules with hooks lie in cycles


def replace(pipe: Any, name: str, part: Any) -> None:
    """Put something in a component's place without changing the pipeline's configuration."""
    pipe.__dict__[name] = part


def _one(prompt: Any) -> str | None:
    """The prompt of a call, if it is one for all its pictures."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, (list, tuple)) and prompt and all(one == prompt[0] for one in prompt):
        return _one(prompt[0])
    return None


def _exchanged(value: Any, old: str | None, new: str | None) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_exchanged(one, old, new) for one in value)
    return new if isinstance(value, str) and value == old else value


def _fresh(said: Any) -> Any:
    """A copy that a pipeline may change."""
    if isinstance(said, (list, tuple)):
        return type(said)(_fresh(one) for one in said)
    return said.clone() if _holds_tensor(said) else said


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensor(one) for one in value)
    return hasattr(value, "untyped_storage")
