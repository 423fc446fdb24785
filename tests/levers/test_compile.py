"""compile and compile-vae: what they need and ask for, and evidence that cannot be faked."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.levers import compile as lever
from autotune.levers import compile_vae, load_levers, start_up_s
from autotune.levers.base import Seen, Target
from autotune.levers.mechanisms import compiler
from autotune.records import Stage
from tests.levers.built import built, card, observed, proof, reasons
from tests.levers.views import View, loaded
from tests.trial.bench import CPU, SMALL, tiny_model

COMPILED = tuple(lever._WAYS)
REGIONAL = tuple(id for id in COMPILED if id.startswith("regional"))


@pytest.fixture(autouse=True)
def _settings_as_before() -> Iterator[None]:
    import torch._dynamo
    from torch.fx.experimental import _config

    settings: Any = torch._dynamo.config
    limits = ("recompile_limit", "accumulated_recompile_limit")
    kept = {name: getattr(settings, name) for name in limits}
    with (
        settings.patch(capture_dynamic_output_shape_ops=False, **kept),
        _config.patch(use_duck_shape=True),
    ):
        yield
    torch._dynamo.reset()


def target_of(module: Any, **changes: Any) -> Target:
    """A pipeline of one module, the denoiser."""
    target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL, **changes)
    target.pipe = SimpleNamespace(transformer=module, components={"transformer": module})
    return target


# --------------------------------------------------------------------------------- what it needs


def test_without_a_compiler_nothing_is_compiled_and_the_reason_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = reasons("compile", CPU)
    assert found["none"] is found["jit-trace"] is None
    expected = "compiling for a CPU needs a C++ compiler, and g++ is not found"
    assert {found[id] for id in COMPILED} == {expected}
    assert reasons("compile-vae", CPU) == {"off": None, "on": expected}
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not found" in str(reasons("compile", CPU)["full"])


def test_without_the_headers_of_python_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiler.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "Python.h is not found" in str(reasons("compile", CPU)["regional"])


def test_on_a_card_triton_must_be_there_and_know_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "triton"
    monkeypatch.syspath_prepend(tmp_path)
    if importlib.util.find_spec("triton") is None:
        assert "triton" in str(reasons("compile", card("8.9"))["full"])
        package.mkdir()
        (package / "__init__.py").touch()
        importlib.invalidate_caches()
    assert set(reasons("compile", card("8.9")).values()) == {None}
    assert set(reasons("compile", card(None, kind="rocm")).values()) == {None}
    old = reasons("compile", card("6.1"))
    assert old["full"] == "Triton needs compute capability 7.0, this card has 6.1"
    assert old["jit-trace"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Triton needs a C compiler" in str(reasons("compile", card("8.9"))["full"])


def test_cuda_graphs_are_for_cards_only() -> None:
    found = reasons("compile", CPU)
    for id in ("full-reduce-overhead", "full-max-autotune"):
        assert found[id] == ("CUDA graphs do not exist on cpu, there it is the same without them")
    assert found["full-max-autotune-nographs"] is None


def test_classes_that_cannot_be_compiled_are_named() -> None:
    import torch

    class WanAnimateTransformer3DModel(torch.nn.Module):
        pass

    view = View(denoiser=WanAnimateTransformer3DModel(), record=tiny_model("flux"))
    found = reasons("compile", CPU, view)
    assert all(
        "WanAnimateTransformer3DModel" in str(found[id])
        for id in COMPILED
        if not (lever._WAYS[id].records)
    )
    plain = View(denoiser=torch.nn.Linear(1, 1), record=tiny_model("flux"))
    found = reasons("compile", CPU, plain)
    assert {found[id] for id in REGIONAL} == {"Linear does not name its repeated blocks"}
    assert found["full"] is None
    assert reasons("compile-vae", CPU, plain)["on"] == "the pipeline has no VAE"


def test_compiling_is_given_time() -> None:
    assert start_up_s({"dtype": "bf16", "compile": "none", "compile-vae": "off"}) == 0
    one, other = start_up_s({"compile": "regional"}), start_up_s({"compile-vae": "on"})
    assert start_up_s({"compile": "regional", "compile-vae": "on"}) == one + other
    assert one > 60
    assert other > 60
    assert start_up_s({"compile": "jit-trace", "unknown": "x"}) > 0


# ------------------------------------------------------------------------------- what it asks for


def test_no_choice_asks_for_one_graph_or_for_fixed_sizes() -> None:
    import torch

    class Broken(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            x = x.view(-1)
            torch._dynamo.graph_break()
            return x.view(1, -1)

    for id in ("full", "full-dynamic", "full-max-autotune-nographs"):
        torch._dynamo.reset()
        target = target_of(Broken())
        lever.apply(target, id)
        for length in range(2, 14):  # more sizes than dynamo's own limit
            assert target.denoiser(torch.zeros(length)).shape == (1, length)
    assert {way.dynamic for way in lever._WAYS.values()} == {None, True}


def test_hooks_raise_the_limits_of_dynamo() -> None:
    import torch
    from diffusers.hooks import HookRegistry

    settings: Any = torch._dynamo.config
    module = torch.nn.Sequential(torch.nn.Linear(1, 1))
    lever.apply(target_of(module), "full")
    plain = settings.recompile_limit
    assert 8 < plain < 1000, "one function stands for all compiled modules"
    HookRegistry.check_if_exists_or_initialize(module[0])
    lever.apply(target_of(torch.nn.Sequential(module)), "full")
    assert (settings.recompile_limit, settings.accumulated_recompile_limit) == (1000, 1000)
    settings.recompile_limit = 5000
    lever.apply(target_of(torch.nn.Sequential(module)), "full")
    assert settings.recompile_limit == 5000, "a limit of the user is not lowered"


def test_int8_of_bitsandbytes_lets_shapes_depend_on_data() -> None:
    import torch

    bitsandbytes = pytest.importorskip("bitsandbytes")
    settings: Any = torch._dynamo.config
    lever.apply(target_of(torch.nn.Sequential(torch.nn.Linear(4, 4))), "full")
    assert settings.capture_dynamic_output_shape_ops is False
    lever.apply(target_of(torch.nn.Sequential(bitsandbytes.nn.Linear8bitLt(4, 4))), "full")
    assert settings.capture_dynamic_output_shape_ops is True


def test_sizes_that_are_equal_by_chance_are_kept_apart_if_any_size_is_meant() -> None:
    import torch
    from torch.fx.experimental import _config

    lever.apply(target_of(torch.nn.Linear(1, 1)), "full")
    assert _config.use_duck_shape is True
    lever.apply(target_of(torch.nn.Linear(1, 1)), "full-dynamic")
    assert _config.use_duck_shape is False


def test_what_is_compiled_is_kept_with_the_study_whatever_its_folder_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    import torch

    own = str(tmp_path / "own")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", own)
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    lever.apply(target_of(torch.nn.Linear(1, 1)), "full")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == own
    for name in ("plain", 'Ann\'s "study" $(x)'):
        folder = tmp_path / name
        lever.apply(target_of(torch.nn.Linear(1, 1), prepared=folder), "full")
        place = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert place.resolve() == folder.resolve() / "inductor"
        assert not set(" '\"$()") & set(str(place))


def test_a_link_that_somebody_else_made_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, other = tmp_path / "a b", tmp_path / "other"
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    link = compiler.plain_folder(folder)
    assert link is not None
    assert link.resolve() == folder
    link.unlink()
    link.symlink_to(other)
    assert compiler.plain_folder(folder) is None


def test_no_regional_choice_records_cuda_graphs() -> None:
    for id in REGIONAL:
        target = loaded("flux", SMALL)
        lever.apply(target, id)
        parts = compiler.compiled_parts(target.denoiser)
        assert parts
        assert not any(compiler.compiler_setting(part, "triton.cudagraphs") for part in parts)
    lever.apply(target := loaded("flux", SMALL), "full-reduce-overhead")
    assert compiler.compiler_setting(target.denoiser, "triton.cudagraphs") is True


def test_every_denoiser_is_compiled() -> None:
    target = loaded("wan", SMALL, twin=True)
    lever.apply(target, "regional")
    assert [len(compiler.compiled_parts(one)) for one in target.denoisers.values()] == [2, 2]
    target.denoisers["transformer_2"].blocks[0]._compiled_call_impl = None
    assert lever.engaged(target, "regional").detail == "nothing is compiled in: transformer_2"


def test_compiling_comes_after_everything_that_changes_what_is_compiled() -> None:
    stages = [one.stage for one in load_levers().values()]
    first = stages.index(Stage.COMPILE)
    assert Stage.CALL not in stages[:first]
    assert set(stages[first:]) <= {Stage.COMPILE, Stage.CALL}
    names = {name for name, one in load_levers().items() if one.stage is Stage.COMPILE}
    assert names == {"compile", "compile-vae"}


# ----------------------------------------------------------------------------------- its evidence


def test_a_compile_of_the_whole_is_not_taken_for_regional() -> None:
    target = loaded("flux", SMALL)
    lever.apply(target, "regional")
    assert lever.engaged(target, "regional").engaged
    assert not lever.engaged(target, "full").engaged
    assert not lever.engaged(target, "regional-max-autotune").engaged
    assert lever.engaged(target, "none").detail == "compiled: transformer"
    target.denoiser.compile()
    assert not lever.engaged(target, "regional").engaged
    assert lever.engaged(target, "full").engaged


@pytest.mark.parametrize("choice", ["regional", "full"])
def test_marks_without_graphs_are_no_evidence(choice: str) -> None:
    target = loaded("flux", SMALL)
    lever.apply(target, choice)
    target.seen = {"transformer": Seen(calls=2, widest_output=(), graphs=0)}
    assert not lever.engaged(target, choice).engaged
    target.seen = {"transformer": Seen(calls=2, widest_output=(), graphs=2)}
    assert lever.engaged(target, choice).engaged
    target.seen = {"transformer": Seen(calls=0, widest_output=(), graphs=0)}
    assert not lever.engaged(target, choice).engaged
    for part in compiler.compiled_parts(target.denoiser):
        part._compiled_call_impl = None
    assert not lever.engaged(target, choice).engaged
    assert lever.engaged(target, "none").engaged


def test_a_twin_that_is_not_called_need_not_have_run() -> None:
    target = loaded("wan", SMALL, twin=True)
    lever.apply(target, "full")
    ran, idle = Seen(calls=4, widest_output=(), graphs=4), Seen(calls=0, widest_output=())
    target.seen = {"transformer": ran, "transformer_2": idle}
    assert lever.engaged(target, "full").engaged
    target.seen = {"transformer": ran, "transformer_2": Seen(calls=1, widest_output=())}
    assert not lever.engaged(target, "full").engaged


@pytest.mark.trials
def test_magcache_hides_every_block_from_a_regional_compile() -> None:
    workload = SMALL.but(steps=8)
    target = built("flux", workload, cache="magcache-6", compile="regional")
    observed(target)
    found = proof(target, "compile", "regional")
    assert not found.engaged
    assert found.detail == "transformer: 2 compiled; 0 graphs in 8 calls"


def test_only_the_decoder_is_compiled_because_a_whole_vae_is_never_called() -> None:
    target = loaded("sd15", SMALL)
    target.vae.compile()
    assert not compile_vae.engaged(target, "on").engaged
    assert compile_vae.engaged(target, "off").engaged
    compile_vae.apply(target, "on")
    assert compiler.compiled_parts(target.vae)[1:] == [target.vae.decoder]
    assert compile_vae.engaged(target, "on").engaged
    assert not compile_vae.engaged(target, "off").engaged
    target.seen = {"vae.decoder": Seen(calls=1, widest_output=(), graphs=0)}
    assert not compile_vae.engaged(target, "on").engaged


def test_what_only_a_card_shows_is_called_as_the_library_names_it() -> None:
    import inspect

    from torch._inductor import cudagraph_trees as trees

    wanted = inspect.signature(trees.get_manager).parameters
    assert next(iter(wanted)) == "device_index"
    assert "create_if_none_exists" in wanted
    assert "self.roots: dict" in inspect.getsource(trees.CUDAGraphTreeManager.__init__)
    assert compiler.recorded_graphs() == 0
