/**
 * PyTorch: products, and the loops that one would write by hand around a plain Qwen2. In bf16 as one would: products of
 * bf16 matrices; training under `autocast`, weights and moments in float32; sampling with a model and a cache in bf16.
 * @module
 */

/** The script, without what all of them share. */
export const PYTORCH = String.raw`
import copy
import torch.nn.functional as F


def mixed():
    return torch.autocast(device, dtype=torch.bfloat16, enabled=half)


def halved(model):
    return model.bfloat16() if half else model


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


def matmul():
    m, k, n = work["m"], work["k"], work["n"]
    a, b = spread(m * k).view(m, k), spread(k * n).view(k, n)
    if half:
        a, b = a.bfloat16(), b.bfloat16()

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
            with mixed():
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
    what += ", lean Qwen2"
    model = halved(fill(Model(c, prompt + fresh), "model.").eval())

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
    zeros = lambda: torch.zeros(shape, device=device, dtype=model.embed_tokens.weight.dtype)
    caches = [(zeros(), zeros()) for _ in model.layers]
    tokens, made = ids, []
    for step in range(fresh):
        h = model(tokens, caches, 0 if step == 0 else prompt + step - 1)
        tokens = sample((h[:, -1] @ model.embed_tokens.weight.T).float())
        made.append(tokens)
    return torch.cat(made, 1)


def logps(model, ids, prompt):
    """log-probabilities of everything after the prompt."""
    logits = model(ids)[:, prompt - 1:-1] @ model.embed_tokens.weight.T
    return logits.float().log_softmax(-1).gather(-1, ids[:, prompt:, None])[..., 0]


def grpo():
    global what
    what += ", lean loop"
    c, prompt, fresh = work["model"], work["prompt"], work["fresh"]
    model = fill(Model(c, prompt + fresh), "model.")
    reference = halved(fill(Model(c, prompt + fresh), "model."))
    sampler = halved(copy.deepcopy(model)) if half else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    ids = token_ids(work["prompts"] * prompt, c["vocab_size"]).view(-1, prompt)
    ids = ids.repeat_interleave(work["rollouts"], 0)
    # As in every group here: each second rollout is right.
    advantage = torch.tensor([2.0 * (i % 2) - 1 for i in range(len(ids))], device=device)[:, None]

    def run(repeats):
        for _ in range(repeats):
            if half:
                with torch.no_grad():
                    for mine, its in zip(sampler.parameters(), model.parameters()):
                        mine.copy_(its)
            whole = torch.cat([ids, rollouts(sampler, ids, fresh)], 1)
            with torch.no_grad(), mixed():
                old = logps(model, whole, prompt)
            with torch.no_grad():
                ref = logps(reference, whole, prompt)
            # Two contexts: autocast keeps the weights that it casts, and those of the first have no gradient.
            with mixed():
                new = logps(model, whole, prompt)
            ratio = (new - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
            gap = ref - new
            loss = (KL * (gap.exp() - gap - 1) - gain).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            loss.item()
        return new.numel()
    return run


serve({"matmul": matmul, "train": train, "generate": generate, "grpo": grpo})
`;
