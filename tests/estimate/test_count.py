"""Counting on the meta device, held to what torch computes and allocates on real tensors."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from autotune.estimate.count import Counted, count
from autotune.estimate.values import hollow
from tests import tiny

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class Of(torch.nn.Module):
    """A module that does what a function says."""

    def __init__(self, does: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = does


def counted(module: Any, *args: Any, method: str = "forward", **named: Any) -> Counted:
    """A copy of the module without weights, with inputs without values."""
    there = copy.deepcopy(module).to("meta").eval()
    return count(there, getattr(there, method), tree_map(hollow, (args, named)), {})[0]


def result_of(does: Callable[..., Any], *args: Any) -> Any:
    return count(Of(does), does, (tuple(hollow(one) for one in args), {}), {})[1]


def bytes_of(values: Any) -> int:
    found = {id(one): one.nbytes for one in tree_leaves(values) if isinstance(one, torch.Tensor)}
    return sum(found.values())


# --------------------------------------------------------------------------------- operations


def test_products_with_weights_are_two_operations_for_each_pair() -> None:
    found = counted(torch.nn.Linear(64, 32), torch.ones(3, 5, 64))
    assert (found.linear, found.attention, found.convolution) == (2 * 15 * 64 * 32, 0, 0)


@pytest.mark.parametrize(
    ("kind", "size", "axes"),
    [
        (torch.nn.Conv2d(8, 16, 3, padding=1), (2, 8, 10, 12), 2),
        (torch.nn.Conv2d(8, 16, 3, padding=1, groups=4), (2, 8, 10, 12), 2),
        (torch.nn.Conv3d(8, 16, 3, padding=1), (2, 8, 3, 10, 12), 3),
        (torch.nn.ConvTranspose2d(8, 16, 2, stride=2), (2, 8, 10, 12), 2),
    ],
)
def test_convolutions_are_counted_as_torch_counts_them(
    kind: Any, size: tuple[int, ...], axes: int
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as real, torch.no_grad():
        kind(torch.ones(size))
    found = counted(kind, torch.ones(size))
    moved = 4 * (math.prod(size) + kind(torch.ones(size)).numel())
    assert (found.flat_bytes, found.deep_bytes) == ((moved, 0) if axes == 2 else (0, moved))
    if getattr(kind, "groups", 1) == 1:
        assert found.convolution == real.get_total_flops()
    else:  # which torch's own counter takes for one
        assert found.convolution == 2 * (2 * 16 * 10 * 12) * (9 * 8 // 4)


def by_hand(query: Any, key: Any, value: Any) -> Any:
    return torch.softmax(query @ key.transpose(-1, -2), -1) @ value


ATTENTIONS: dict[str, Callable[..., Any]] = {
    "torch's own": torch.nn.functional.scaled_dot_product_attention,
    "torch's own, by names": lambda query, key, value: (
        torch.nn.functional.scaled_dot_product_attention(
            query=query, key=key, value=value, is_causal=True
        )
    ),
    "products": by_hand,
    "einsum": lambda query, key, value: torch.einsum(
        "bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", query, key).softmax(-1), value
    ),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_is_counted_whatever_kernel_makes_it(name: str) -> None:
    query, other = torch.ones(2, 4, 100, 16), torch.ones(2, 4, 60, 16)
    found = counted(Of(ATTENTIONS[name]), query, other, other)
    assert found.attention == 4 * (2 * 4) * 100 * 60 * 16
    assert found.scores == 2 * 4 * 100 * 60
    assert found.linear == 0


def test_attention_of_a_layer_of_torch_is_counted() -> None:
    layer, row = torch.nn.MultiheadAttention(64, 4, batch_first=True), torch.ones(1, 100, 64)
    found = counted(layer, row, row, row, need_weights=False)
    assert found.attention == 4 * 100 * 100 * 64
    assert found.linear == 2 * 100 * 4 * 64 * 64


def test_a_fused_kernel_writes_no_scores_and_is_one_operation() -> None:
    heads = torch.ones(1, 4, 1000, 16)
    found = counted(Of(ATTENTIONS["torch's own"]), heads, heads, heads)
    assert found.other_bytes == 4 * heads.nbytes
    assert (found.operations, found.moved_bytes) == (1, 4 * heads.nbytes)


def test_what_only_looks_at_a_tensor_costs_nothing() -> None:
    found = counted(Of(lambda one: one.view(4, -1).t()[1:].unsqueeze(0)), torch.ones(8, 8))
    assert (found.operations, found.moved_bytes) == (0, 0)


def test_what_is_read_and_written_is_moved_and_weights_are_not() -> None:
    found = counted(torch.nn.Linear(64, 32, bias=False), torch.ones(5, 64))
    assert found.moved_bytes == 4 * (5 * 64 + 5 * 32)
    seen_often = counted(Of(lambda one: one.expand(100, 64) + 1), torch.ones(1, 64))
    assert seen_often.moved_bytes == 4 * (64 + 100 * 64)


# ------------------------------------------------------------------- what lies in memory at once


def allocated(module: Any, inputs: Inputs) -> int:
    """Most bytes of real tensors beside the weights, as torch's profiler saw its allocator."""
    from torch.profiler import ProfilerActivity, profile

    module.eval()
    args, named = inputs
    with torch.no_grad():
        module(*args, **named)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            module(*args, **named)
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    now = most = bytes_of(inputs)
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


class Storages(TorchDispatchMode):
    """Most bytes of real tensors: convolutions on a CPU take room that others do not."""

    def __init__(self, known: dict[int, int]) -> None:
        super().__init__()
        self.known = known
        self.now = self.most = sum(known.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self.take(one.untyped_storage())
        return result

    def take(self, storage: Any) -> None:
        if storage._cdata not in self.known:
            weakref.finalize(storage, self.drop, storage._cdata)
            self.known[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def drop(self, key: int) -> None:
        self.now -= self.known.pop(key)


def flux() -> tuple[Any, Inputs]:
    import diffusers

    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    named = {
        "hidden_states": torch.ones(1, 1024, 16),
        "encoder_hidden_states": torch.ones(1, 64, 32),
        "pooled_projections": torch.ones(1, 32),
        "timestep": torch.ones(1),
        "guidance": torch.ones(1),
        "img_ids": torch.zeros(1024, 3),
        "txt_ids": torch.zeros(64, 3),
        "return_dict": False,
    }
    return transformer, ((), named)


def text() -> Inputs:
    return (torch.randint(0, 60, (1, 77)),), {}


MODULES: dict[str, Callable[[], tuple[Any, Inputs]]] = {
    "a transformer": flux,
    "CLIP": lambda: (tiny._clip(), text()),
    "T5": lambda: (tiny._t5(width=32), text()),
}


@pytest.mark.parametrize("name", MODULES)
def test_as_much_lies_in_memory_at_once_as_torch_allocates(name: str) -> None:
    module, inputs = MODULES[name]()
    found = counted(module, *inputs[0], **inputs[1])
    assert found.narrow_bytes == 0
    assert found.other_bytes == pytest.approx(allocated(module, inputs), rel=0.01)


def test_as_much_lies_in_memory_while_a_vae_decodes_as_its_tensors_take() -> None:
    vae, latents = tiny._vae(latent_channels=4).eval(), torch.ones(1, 4, 16, 16)
    weights = {one.untyped_storage()._cdata: 0 for one in vae.parameters()}
    known = {**weights, latents.untyped_storage()._cdata: latents.nbytes}
    with torch.no_grad(), Storages(known) as real:
        vae.decode(latents)
    found = counted(vae, latents, method="decode")
    assert found.other_bytes == pytest.approx(real.most, rel=0.01)


def in_place(one: Any) -> Any:
    double = one * 2
    return double.add_(1).mul_(3)


def looked_at(one: Any) -> Any:
    double = one * 2
    part = double[:1]
    del double
    return part, one + 1  # all of it is still there


def resized(one: Any) -> Any:
    large = torch.empty(0, device=one.device)
    return large.resize_(3, *one.shape).fill_(0.0)


def let_go(one: Any) -> Any:
    for _ in range(5):
        one = one + 1
    return one


@pytest.mark.parametrize(
    ("does", "times"),
    [(in_place, 2), (looked_at, 3), (resized, 4), (let_go, 3), (lambda one: one, 1)],
)
def test_a_storage_is_counted_once_for_as_long_as_something_sees_it(
    does: Callable[..., Any], times: int
) -> None:
    row = torch.ones(256, 256)
    assert counted(Of(does), row).other_bytes == times * row.nbytes


def test_bytes_of_16_bit_floats_are_told_from_others() -> None:
    found = counted(Of(lambda one: one.float()), torch.ones(100, dtype=torch.bfloat16))
    assert (found.narrow_bytes, found.other_bytes) == (200, 400)


def test_what_a_module_makes_on_the_host_takes_nothing_of_the_device() -> None:
    def does(one: Any) -> Any:
        made = [torch.zeros(1000) for _ in range(3)]
        assert {each.device.type for each in made} == {"cpu"}
        return one

    row = torch.ones(4)
    assert counted(Of(does), row).other_bytes == row.nbytes


# ------------------------------------------------------------------------ values that shapes need


MASK = torch.tensor([True, False, True, True])


@pytest.mark.parametrize(
    "does",
    [
        lambda mask, row: row[mask],
        lambda mask, row: row[~mask],
        lambda mask, row: row.masked_select(mask[:, None]),
        lambda mask, row: mask.nonzero(),
        lambda mask, row: torch.where(mask)[0],
        lambda mask, row: row[: mask.sum()],
        lambda mask, row: row[: int(mask.long().cumsum(0)[-1])],
        lambda mask, row: [row[one.long() :] for one in mask],
        lambda mask, row: row.repeat_interleave(mask.long() + 1, dim=0),
        lambda mask, row: row.split([*mask.long().add(0).tolist()[:1], 3]),
        lambda mask, row: row[torch.stack([mask, ~mask]).any(0)],
        lambda mask, row: row.new_zeros(mask.long().cpu().numpy().sum() + 1),
        lambda mask, row: row[mask.long().bincount()[1] :],
    ],
)
def test_shapes_that_depend_on_values_are_those_of_the_real_values(
    does: Callable[..., Any],
) -> None:
    row = torch.ones(4, 3)
    real, found = does(MASK, row), result_of(does, MASK, row)
    assert [one.shape for one in tree_leaves(found)] == [one.shape for one in tree_leaves(real)]


def test_sizes_that_a_model_writes_down_are_read_back() -> None:
    def does(row: Any) -> Any:
        sizes = torch.tensor([2, 6], device=row.device).unsqueeze(0).repeat(2, 1)
        return [row[: height * width] for height, width in sizes]

    assert [one.shape[0] for one in result_of(does, torch.ones(20))] == [12, 12]


def test_what_is_written_into_values_is_remembered_by_all_that_see_them() -> None:
    def does(mask: Any, row: Any) -> Any:
        mask[1:3] = False
        return row[mask]

    mine = MASK.clone()
    assert result_of(does, mine, torch.ones(4)).shape == (2,)
    assert mine.equal(MASK)  # and not written to by counting


def test_what_is_overwritten_by_something_unknown_is_known_no_longer() -> None:
    def does(mask: Any, row: Any) -> Any:
        mask[:] = row > 0
        return row[mask]

    assert result_of(does, MASK.clone(), torch.ones(4)).shape == (4,)


def test_a_mask_without_values_is_whole() -> None:
    row = torch.ones(4, 3)
    assert result_of(lambda one: one[one[:, 0] > 0], row).shape == (4, 3)
    assert result_of(lambda one: (one > 0).nonzero(), row).shape == (12, 2)
    assert result_of(lambda one: one if (one > 0).all() else None, row) is not None


def test_large_tensors_of_numbers_are_never_made() -> None:
    large = 1 << 40

    def does(row: Any) -> Any:
        return torch.zeros(large, dtype=torch.bool, device=row.device).logical_not()

    assert result_of(does, torch.ones(1)).shape == (large,)


def test_what_was_seen_before_is_a_tensor_of_its_own() -> None:
    def does(row: Any) -> Any:
        return [row + 1 for _ in range(3)]

    row = torch.ones(64, 32).t()
    assert counted(Of(does), row).other_bytes == 4 * row.nbytes
    assert {one.stride() for one in result_of(does, row)} == {(1, 32)}
