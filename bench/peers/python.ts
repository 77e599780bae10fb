/**
 * What the Python scripts share, as text for whatever interpreter is named: the conversation of serve.ts and the numbers
 * of work.ts over again, for they share nothing with this project but text.
 * @module
 */

/** Comes first in every script. */
export const PRELUDE = String.raw`
import json, math, os, sys, time

try:
    import numpy as np
    import torch
except ImportError as error:
    print("@peer " + json.dumps({"kind": "unavailable", "reason": "not under this Python: %s" % error}), flush=True)
    sys.exit(1)

work = json.loads(sys.argv[1])
# Some builds start with one thread.
torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
device = "cuda" if torch.cuda.is_available() else "cpu"
card = torch.cuda.get_device_name() if device == "cuda" else "cpu, %d threads" % torch.get_num_threads()
# 32-bit products are of 32-bit numbers: TF32 would round them to 19.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.set_float32_matmul_precision("highest")
half = sys.argv[2:] == ["bfloat16"]
STEP, SECONDS, TOP_P = 0.6180339887, 1, 0.99
LR, BETAS, EPS, DECAY, MAX_NORM = 1e-4, (0.9, 0.99), 1e-8, 0.01, 1.0
CLIP, KL = 0.2, 0.05
what = "PyTorch %s, %s, %s" % (torch.__version__, card, "bf16" if half else "float32, TF32 off")


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def say(**answer):
    print("@peer " + json.dumps(answer), flush=True)


def fail(error):
    if isinstance(error, ModuleNotFoundError):
        say(kind="unavailable", reason="not under this Python: %s" % error)
    else:
        say(kind="error", reason="%s: %s" % (type(error).__name__, error))
    sys.exit(1)


def serve(opens):
    """Opens the work and answers each line with the time of a run."""
    try:
        run = opens[work["kind"]]()
        values = []

        def timed(repeats):
            # Launches return before the card is done, and nobody's clock may run into another's work.
            wait()
            start = time.perf_counter()
            values.append(run(repeats))
            wait()
            return time.perf_counter() - start

        if timed(1) < 10:
            timed(1)
        repeats, seconds = 1, timed(1)
        first = list(values)
        while seconds < SECONDS and repeats < 4096:
            repeats *= 2
            seconds = timed(repeats)
        say(kind="ready", what=what, values=first)
        for line in sys.stdin:
            if line.strip() == "run":
                say(kind="time", seconds=timed(repeats) / repeats)
    except Exception as error:
        fail(error)


def spread(size):
    return torch.from_numpy((np.arange(size) * STEP % 1 - 0.5).astype(np.float32)).to(device)


def token_ids(count, vocabulary):
    return torch.from_numpy((np.arange(count) * 7919 + 13) % vocabulary).to(device)


def weights(name, shape):
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return torch.zeros(shape)
    seed = 0
    for c in name:
        seed = (seed * 31 + ord(c)) % 2**32
    h = (np.arange(math.prod(shape), dtype=np.uint64) * 0x9E3779B1 + seed) % 2**32
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B)) % np.uint64(2**32)
    h = ((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35)) % np.uint64(2**32)
    h = h ^ (h >> np.uint64(16))
    values = (h / 2**32 - 0.5) * (2 * math.sqrt(3) * 0.02)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def fill(module, prefix):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name != "lm_head.weight":
                parameter.copy_(weights(prefix + name, tuple(parameter.shape)))
    return module.to(device)


def transformers_qwen2():
    """Hugging Face's model with the work's weights; nothing is downloaded."""
    from transformers import Qwen2Config, Qwen2ForCausalLM
    config = {key: value for key, value in work["model"].items() if key != "head_dim"}
    return fill(Qwen2ForCausalLM(Qwen2Config(
        **config, max_position_embeddings=256, tie_word_embeddings=True, eos_token_id=None, bos_token_id=None)), "")
`;
