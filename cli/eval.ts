/**
 * `eval`: pass@1 and avg@k of a model with 95 % intervals, by difficulty or source, as tables and as JSON.
 * @module
 */
import { microRows } from "../data/micro/world.ts";
import { readRows } from "../data/rows.ts";
import { loadModelConfig } from "../models/config.ts";
import { writeAtomically } from "../trainer/atomic_write.ts";
import { loadConfig } from "../trainer/config.ts";
import { evaluate, type GroupFigures } from "../trainer/evaluate.ts";
import { Policy } from "../trainer/policy.ts";
import { microFamilies } from "../trainer/run_rows.ts";
import type { EvalArgs } from "./arguments.ts";
import { familyTable } from "./evaluation_tables.ts";
import { Progress } from "./progress.ts";
import { renderTable } from "./table.ts";
import { openTuned } from "./tuned_gpu.ts";

async function evalCommand(args: EvalArgs): Promise<number> {
  const { config } = loadConfig();
  const progress = new Progress();
  const folder = args.model ?? config.worker.actor.model.model_path;
  const families = microFamilies(config.data.micro, (await loadModelConfig(folder)).vision !== undefined);
  const rows = args.data === undefined
    ? [
      ...microRows({
        seed: config.data.seed,
        count: config.data.micro.val_count,
        split: "heldout",
        families,
      }),
    ]
    : await read(args.data, progress);
  const gpu = await openTuned(args, progress);
  try {
    const max_response_length = args.maxTokens ?? config.data.max_response_length;
    const policy = await Policy.load(gpu, folder, {
      trainable: false,
      prompts: { ...config.data, max_prompt_length: 1 << 20, max_response_length },
      micro_batch_tokens: 1,
      micro_batch_patches: config.worker.actor.micro_batch_patches,
      recompute: false,
      ...config.worker.rollout,
    });
    // A prompt has to leave room for the response within the model's context.
    const room = policy.model.config.max_position_embeddings - max_response_length;
    const { problems: sighted, leftOut } = await policy.writer.problems(
      rows.slice(0, args.limit),
      room,
      config.worker.actor.micro_batch_patches,
    );
    for (const l of leftOut) progress.say(`${l.count} left out: ${l.reason}`);
    const problems = args.blind ? sighted.map((p) => policy.writer.blind(p)) : sighted;
    if (args.blind && !sighted.some((p) => p.images)) {
      progress.say("--blind changes nothing: no problem has a picture");
    }
    const n = args.greedy ? 1 : args.samples;
    const result = await evaluate(
      policy,
      problems,
      {
        n,
        temperature: args.greedy ? 0 : args.temperature,
        top_p: args.topP,
        max_tokens: max_response_length,
        seed: args.seed,
        window: config.aepo.window,
        quantile: config.aepo.quantile,
      },
      progress,
      `evaluating ${folder}${args.blind ? " with gray pictures" : ""}`,
    );
    progress.close();
    const by = args.by ?? (Object.keys(result.byLevel).length > 0 ? "level" : "source");
    const groups = by === "level" ? result.byLevel : result.bySource;
    const pictured = result.withPictures && { "with pictures": result.withPictures };
    console.log(table({ ...groups, ...pictured, all: result.all }, n));
    console.log(
      `N_HE: tokens inside windows of entropy above τ = ${
        result.threshold.toFixed(3)
      } nats, this evaluation's own`,
    );
    const byFamily = familyTable({ model: result });
    if (byFamily !== undefined) console.log(byFamily);
    if (args.json !== undefined) {
      const { responses, ...figures } = result;
      const samples = responses.map((r) => ({
        index: r.problem.row.id,
        question: r.problem.row.problem,
        answer: r.problem.row.answer,
        category: r.problem.row.level ?? r.problem.row.source,
        sample: r.sample,
        prediction: r.text,
        correct: r.correct,
        length: r.length,
        n_he: r.highEntropy,
      }));
      await writeAtomically(
        args.json,
        JSON.stringify(
          {
            model: folder,
            data: args.data ?? "micro-world, held out",
            k: n,
            blind: args.blind,
            ...figures,
            samples,
          },
          null,
          1,
        ),
      );
      console.log(`written: ${args.json}`);
    }
    return 0;
  } finally {
    gpu.close();
  }
}

async function read(path: string, progress: Progress) {
  const { rows, skipped } = await readRows(path);
  for (const s of skipped) progress.say(`${path}: ${s.count} rows skipped: ${s.reason}`);
  return rows;
}

function table(groups: Readonly<Record<string, GroupFigures>>, k: number): string {
  const percent = (x: number) => (100 * x).toFixed(1);
  const range = ([low, high]: readonly [number, number]) => `${percent(low)} – ${percent(high)}`;
  return renderTable(
    ["", "problems", "pass@1", "95 %", `avg@${k}`, "95 %", "length", "N_HE", "cut"],
    Object.entries(groups).map(([name, f]) => [
      name,
      f.problems,
      percent(f.passAt1),
      range(f.passAt1Interval),
      percent(f.accuracy),
      range(f.interval),
      f.length.toFixed(1),
      f.highEntropy.toFixed(2),
      percent(f.clipped),
    ]),
  );
}

export { evalCommand as eval };
