/** Hugging Face transformers: its `generate`. @module */

/** The script, without what all of them share. */
export const TRANSFORMERS = String.raw`
def generate():
    global what
    from transformers import __version__
    what += ", transformers " + __version__
    n, prompt, fresh = work["sequences"], work["prompt"], work["fresh"]
    ids = token_ids(n * prompt, work["model"]["vocab_size"]).view(n, prompt)
    model = transformers_qwen2().eval()

    def run(repeats):
        for _ in range(repeats):
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0,
                                 top_p=TOP_P, top_k=0, max_new_tokens=fresh, pad_token_id=0)
        wait()
        return out.shape[0] * (out.shape[1] - prompt)
    return run


serve({"generate": generate})
`;
