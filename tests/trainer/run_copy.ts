/**
 * Copies of a run's folder with other generations: what the report reads, without a GPU's work for each.
 * @module
 */

type Json = Record<string, any>;

/** The records of a run's generations.jsonl. */
export async function generationsOf(folder: string): Promise<Json[]> {
  const text = await Deno.readTextFile(`${folder}/generations.jsonl`);
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

/** A copy of a run with these generations, and without its checkpoints and models. */
export async function copyRun(from: string, to: string, generations: readonly Json[]): Promise<string> {
  await Deno.mkdir(to, { recursive: true });
  for (const name of ["config.yaml", "metrics.jsonl", "summary.json"]) {
    await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
  await Deno.writeTextFile(
    `${to}/generations.jsonl`,
    generations.map((r) => JSON.stringify(r) + "\n").join(""),
  );
  return to;
}

/** The rollouts of training over and over, as groups of later iterations, until there are so many. */
export function repeated(generations: readonly Json[], count: number): Json[] {
  const rollouts = generations.filter((r) => r.stage === "aepo" && r.tokens);
  const last = Math.max(...rollouts.map((r) => r.step));
  return Array.from({ length: count }, (_, i) => {
    const r = rollouts[i % rollouts.length];
    return { ...r, step: r.step + last * Math.floor(i / rollouts.length) };
  });
}
