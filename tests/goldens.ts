/**
 * `deno task test:goldens`: compares with a folder of reference numbers (GOLDENS_DIR, else ../shared/goldens) and prints
 * the worst difference of each check beside its fair limit.
 */
import { Gpu } from "../gpu/device.ts";
import { checkAepoStep } from "./goldens/aepo_step.ts";
import { checkAresOfficial } from "./goldens/ares_official.ts";
import { checkAresPaperScalars, checkAresPaperTables } from "./goldens/ares_paper.ts";
import { checkAresPaperGpu } from "./goldens/ares_paper_gpu.ts";
import { checkImages } from "./goldens/images.ts";
import { checkOptimizer } from "./goldens/optimizer.ts";
import { checkQwen2 } from "./goldens/qwen2.ts";
import { checkQwen25VL } from "./goldens/qwen2_5_vl.ts";
import { checkVisionGreedy } from "./goldens/qwen2_5_vl_greedy.ts";
import { type Check, runChecks } from "./goldens/run_checks.ts";
import { checkSampling } from "./goldens/sampling.ts";
import { checkTokenizer } from "./goldens/tokenizer.ts";

const folder = Deno.env.get("GOLDENS_DIR") ?? new URL("../../shared/goldens", import.meta.url).pathname;

const checks: Check[] = [
  ["tokenizer", (_, report) => checkTokenizer(folder, report)],
  ["qwen2", (gpu, report) => checkQwen2(gpu, folder, report)],
  ["vision-language", (gpu, report) => checkQwen25VL(gpu, folder, report)],
  ["qwen2_5_vl greedy", (gpu, report) => checkVisionGreedy(gpu, folder, report)],
  ["sampling", (gpu, report) => checkSampling(gpu, folder, report)],
  ["images", (_, report) => checkImages(folder, report)],
  ["optimizer", (gpu, report) => checkOptimizer(gpu, folder, report)],
  ["ares-official", (_, report) => checkAresOfficial(folder, report)],
  ["ares-paper scalars", (_, report) => checkAresPaperScalars(folder, report)],
  ["ares-paper tables", (_, report) => checkAresPaperTables(folder, report)],
  ["ares-paper on the GPU", (gpu, report) => checkAresPaperGpu(gpu, folder, report)],
  ["aepo-step", (gpu, report) => checkAepoStep(gpu, folder, report)],
];

Deno.exit(await runChecks(folder, checks, await Gpu.open()));
