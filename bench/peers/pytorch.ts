/**
 * PyTorch, and Hugging Face transformers where the interpreter has them, as a script for whatever Python is named: the
 * conversation of serve.ts and the numbers of work.ts over again, for it shares nothing with this project but text.
 * @module
 */

/** The script. */
export const PYTORCH = String.raw`
import json, math, os, sys, time
import numpy as np
import torch
import torch.nn.functional as F

work = json.loads(sys.argv[1])
# Some builds start with one thread.
torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
device = "cuda" if torch.cuda.is_available() else "cpu"
STEP, SECONDS, TOP_P = 0.6180339887, 0.4, 0.99
LR, BETAS, EPS, DECAY, MAX_NORM = 1e-4, (0.9, 0.99), 1e-8, 0.01, 1.0
what = "PyTorch %s, %s, %d threads" % (torch.__version__, device, torch.get_num_threads())


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def say(**answer):
    print("@peer " + json.dumps(answer), flush=True)


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


class Block(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        width, size = c["hidden_size"], c["head_dim"]
        heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.heads, self.kv, self.size, self.eps = heads, kv, size, c["rms_norm_eps"]
        linear = torch.nn.Linear
        self.self_attn = torch.nn.ModuleDict({
            "q_proj": linear(width, heads * size), "k_proj": linear(width, kv * size),
            "v_proj": linear(width, kv * size), "o_proj": linear(heads * size, width, bias=False)})
        inner = c["intermediate_size"]
        self.mlp = torch.nn.ModuleDict({
            "gate_proj": linear(width, inner, bias=False), "up_proj": linear(width, inner, bias=False),
            "down_proj": linear(inner, width, bias=False)})
        self.input_layernorm = Norm(width, self.eps)
        self.post_attention_layernorm = Norm(width, self.eps)

    def forward(self, x, cos, sin, cache, position):
        batch, length, _ = x.shape
        h = self.input_layernorm(x)
        a = self.self_attn
        split = lambda y, n: y.view(batch, length, n, self.size).transpose(1, 2)
        q = rotate(split(a["q_proj"](h), self.heads), cos, sin)
        k = rotate(split(a["k_proj"](h), self.kv), cos, sin)
        v = split(a["v_proj"](h), self.kv)
        if cache is not None:
            keys, values = cache
            keys[:, :, position:position + length] = k
            values[:, :, position:position + length] = v
            k, v = keys[:, :, :position + length], values[:, :, :position + length]
        k = k.repeat_interleave(self.heads // self.kv, 1)
        v = v.repeat_interleave(self.heads // self.kv, 1)
        y = attention(q, k, v)
        x = x + a["o_proj"](y.transpose(1, 2).reshape(batch, length, -1))
        h = self.post_attention_layernorm(x)
        m = self.mlp
        return x + m["down_proj"](F.silu(m["gate_proj"](h)) * m["up_proj"](h))


def attention(q, k, v):
    causal = q.shape[2] > 1
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        n = q.shape[2]
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), -math.inf)
    return scores.softmax(-1) @ v


class Norm(torch.nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Model(torch.nn.Module):
    def __init__(self, c, context):
        super().__init__()
        self.c = c
        self.embed_tokens = torch.nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = torch.nn.ModuleList([Block(c) for _ in range(c["num_hidden_layers"])])
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        half = c["head_dim"] // 2
        angle = torch.arange(context)[:, None] * c["rope_theta"] ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids, caches=None, position=0):
        x = self.embed_tokens(ids)
        rows = slice(position, position + ids.shape[1])
        for i, layer in enumerate(self.layers):
            x = layer(x, self.cos[rows], self.sin[rows], caches and caches[i], position)
        return self.norm(x)


def transformers_model(c, context):
    """Hugging Face's Qwen2, or None without transformers."""
    try:
        from transformers import Qwen2Config, Qwen2ForCausalLM, __version__
    except ImportError:
        return None
    global what
    what += ", transformers " + __version__
    keys = [k for k in c if k not in ("head_dim",)]
    return Qwen2ForCausalLM(Qwen2Config(**{k: c[k] for k in keys}, max_position_embeddings=256,
                                        tie_word_embeddings=True, eos_token_id=None, bos_token_id=None))


def fill(module, prefix):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name != "lm_head.weight":
                parameter.copy_(weights(prefix + name, tuple(parameter.shape)))
    return module.to(device)


def matmul():
    m, k, n = work["m"], work["k"], work["n"]
    a, b = spread(m * k).view(m, k), spread(k * n).view(k, n)

    def run(repeats):
        for _ in range(repeats):
            c = a @ b
        wait()
        return c[1, 2].item()
    return run


def train():
    global what
    c, length = work["model"], work["length"]
    # The same model whether transformers is there or not.
    model = fill(Model(c, length), "model.")
    what += ", lean Qwen2"
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    ids = token_ids(work["sequences"] * length, c["vocab_size"]).view(-1, length)

    def run(repeats):
        for _ in range(repeats):
            logits = model(ids)[:, :-1] @ model.embed_tokens.weight.T
            loss = F.cross_entropy(logits.reshape(-1, c["vocab_size"]), ids[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            value = loss.item()
        return value
    return run


def sample(logits):
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities.masked_fill(before >= TOP_P, 0)
    return order.gather(-1, torch.multinomial(probabilities, 1))


def generate():
    global what
    c, n, prompt, fresh = work["model"], work["sequences"], work["prompt"], work["fresh"]
    ids = token_ids(n * prompt, c["vocab_size"]).view(n, prompt)
    hugging = transformers_model(c, prompt + fresh)
    if hugging is not None:
        hugging = fill(hugging, "").eval()

        def run(repeats):
            for _ in range(repeats):
                out = hugging.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0,
                                       top_p=TOP_P, top_k=0, max_new_tokens=fresh, pad_token_id=0)
            wait()
            return out.shape[0] * (out.shape[1] - prompt)
        return run
    what += ", lean Qwen2"
    model = fill(Model(c, prompt + fresh), "model.").eval()

    def run(repeats):
        for _ in range(repeats):
            out = rollouts(model, ids, fresh)
        wait()
        return out.numel()
    return run


@torch.no_grad()
def rollouts(model, ids, fresh):
    """New tokens [sequences, fresh]."""
    c, (n, prompt) = model.c, ids.shape
    shape = (n, c["num_key_value_heads"], prompt + fresh, c["head_dim"])
    caches = [(torch.zeros(shape, device=device), torch.zeros(shape, device=device)) for _ in model.layers]
    tokens, made = ids, []
    for step in range(fresh):
        h = model(tokens, caches, 0 if step == 0 else prompt + step - 1)
        tokens = sample(h[:, -1] @ model.embed_tokens.weight.T)
        made.append(tokens)
    return torch.cat(made, 1)


def logps(model, ids, prompt):
    """log-probabilities of everything after the prompt."""
    logits = model(ids)[:, prompt - 1:-1] @ model.embed_tokens.weight.T
    return logits.log_softmax(-1).gather(-1, ids[:, prompt:, None])[..., 0]


def grpo():
    global what
    what += ", lean loop"
    c, prompt, fresh = work["model"], work["prompt"], work["fresh"]
    model = fill(Model(c, prompt + fresh), "model.")
    reference = fill(Model(c, prompt + fresh), "model.")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    ids = token_ids(work["prompts"] * prompt, c["vocab_size"]).view(-1, prompt)
    ids = ids.repeat_interleave(work["rollouts"], 0)
    # As in every group here: each second rollout is right.
    advantage = torch.tensor([2.0 * (i % 2) - 1 for i in range(len(ids))], device=device)[:, None]

    def run(repeats):
        for _ in range(repeats):
            whole = torch.cat([ids, rollouts(model, ids, fresh)], 1)
            with torch.no_grad():
                old, ref = logps(model, whole, prompt), logps(reference, whole, prompt)
            new = logps(model, whole, prompt)
            ratio = (new - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            gap = ref - new
            loss = (0.05 * (gap.exp() - gap - 1) - gain).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            loss.item()
        return new.numel()
    return run

try:
    run = {"matmul": matmul, "train": train, "generate": generate, "grpo": grpo}[work["kind"]]()

    def timed(repeats):
        start = time.perf_counter()
        run(repeats)
        return time.perf_counter() - start

    start = time.perf_counter()
    value = run(1)
    if time.perf_counter() - start < 10:
        run(1)
    repeats, seconds = 1, timed(1)
    while seconds < SECONDS / 2 and repeats < 4096:
        repeats *= 2
        seconds = timed(repeats)
    say(kind="ready", what=what, value=value)
    for line in sys.stdin:
        if line.strip() == "run":
            say(kind="time", seconds=timed(repeats) / repeats)
except Exception as error:
    say(kind="error", reason="%s: %s" % (type(error).__name__, error))
    sys.exit(1)
`;
