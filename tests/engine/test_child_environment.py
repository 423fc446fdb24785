"""Trials see one device, no network and no secret of the caller's."""

from __future__ import annotations

import pytest

from autotune.engine.child import child_environment
from autotune.records import DeviceKind
from tests.trial.bench import CPU

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("WANDB_API_KEY", "OPENAI_API_KEY", "GITHUB_TOKEN", "PGPASSWORD", "DATABASE_URL"),
    *("SSH_AUTH_SOCK", "HTTP_PROXY", "HTTPS_PROXY", "NETRC", "PYTHONSTARTUP"),
    *("AUTOTUNE_TOKEN", "TORCH_API_KEY", "XDG_SECRET", "DIFFUSERS_ATTN_BACKEND"),
)


@pytest.mark.fault("T23")
def test_secrets_are_left_out() -> None:
    assert "canary" not in child_environment(CPU, dict.fromkeys(SECRETS, "canary")).values()


def test_what_programs_need_is_kept() -> None:
    needed = {
        "PATH": "/bin",
        "HOME": "/h",
        "LD_LIBRARY_PATH": "/l",
        "AUTOTUNE_CACHE": "/c",
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": "/x",
        "TORCHINDUCTOR_CACHE_DIR": "/t",
    }
    assert needed.items() <= child_environment(CPU, needed).items()
    assert child_environment(CPU, {"PYTHONPATH": "/p"})["PYTHONPATH"].endswith("/p")


def test_trials_are_offline_whatever_the_caller_says() -> None:
    caller = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_ENDPOINT": "http://x"}
    found = child_environment(CPU, caller)
    assert (found["HF_HUB_OFFLINE"], found["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert "HF_ENDPOINT" not in found


@pytest.mark.parametrize(("kind", "visible"), [("cuda", "GPU-7"), ("cpu", "")])
def test_a_trial_sees_its_own_device_by_uuid(kind: DeviceKind, visible: str) -> None:
    device = CPU.but(kind=kind, uuid="GPU-7")
    found = child_environment(device, {"CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert found["CUDA_VISIBLE_DEVICES"] == visible
