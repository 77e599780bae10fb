/**
 * `generate`: one answer from any checkpoint folder, streamed.
 * @module
 */
import { IMAGE_MARK } from "../data/picture.ts";
import { UserError } from "../gpu/errors.ts";
import { loadConfig } from "../trainer/config.ts";
import { Policy } from "../trainer/policy.ts";
import type { GenerateArgs } from "./arguments.ts";
import { openTuned } from "./tuned_gpu.ts";

/** Runs the command. */
export async function generate(args: GenerateArgs): Promise<number> {
  const { config } = loadConfig();
  const text = args.prompt ?? (await new Response(Deno.stdin.readable).text()).trim();
  if (text === "") throw new UserError("no prompt: give --prompt, or write it to standard input");
  const gpu = await openTuned(args, { say: console.error });
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    const policy = await Policy.load(gpu, args.model ?? config.worker.actor.model.model_path, {
      trainable: false,
      prompts: {
        ...config.data,
        format_prompt: null,
        max_prompt_length: 1 << 20,
        max_response_length: args.maxTokens,
      },
      micro_batch_tokens: 1,
      micro_batch_patches: config.worker.actor.micro_batch_patches,
      recompute: false,
      max_num_seqs: 1,
      block_size: config.worker.rollout.block_size,
      chunk: 16,
    });
    const { writer, generation } = policy;
    if (args.raw && args.image.length > 0) {
      throw new UserError("--raw takes no --image: pictures need the chat template");
    }
    // Pictures without marks in the prompt stand in front of it.
    const marks = text.split(IMAGE_MARK).length - 1;
    const marked = IMAGE_MARK.repeat(Math.max(0, args.image.length - marks)) + text;
    const { ids, patches } = args.image.length > 0
      ? await writer.promptWithPictures(marked, args.image, args.system ?? null)
      : {
        ids: args.raw
          ? writer.tokenizer.encode(text, { addSpecialTokens: true })
          : writer.prompt(text, args.system ?? null),
        patches: undefined,
      };
    const greedy = args.greedy || (args.temperature === undefined && !generation.do_sample);
    const stream = writer.tokenizer.stream({ skipSpecialTokens: true });
    const out = (piece: string) => Deno.stdout.writeSync(new TextEncoder().encode(piece));
    await policy.engine.generate([{ ids, images: patches && (() => Promise.resolve(patches)) }], {
      temperature: greedy ? 0 : args.temperature ?? generation.temperature,
      top_p: greedy ? 1 : args.topP ?? generation.top_p,
      top_k: greedy ? 0 : Math.max(0, args.topK ?? generation.top_k),
      min_p: 0,
      repetition_penalty: generation.repetition_penalty,
      max_tokens: args.maxTokens,
      stop: generation.eos_token_id,
      seed: args.seed,
      signal: stop.signal,
      onChunk: (p) => {
        for (const f of p.fresh) for (const id of f.tokens) out(stream.push(id));
      },
    });
    out(`${stream.end()}\n`);
    return stop.signal.aborted ? 130 : 0;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    gpu.close();
  }
}
