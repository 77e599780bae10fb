/**
 * Micro-world rows as files: the format in which users bring their own problems.
 * @module
 */
import { UserError } from "../../gpu/errors.ts";
import { encodePng } from "../png.ts";
import type { MicroRow } from "./world.ts";

/** What was written. */
export interface Exported {
  /** The JSONL file. */
  path: string;
  /** Its lines. */
  rows: number;
  /** PNG files. */
  pictures: number;
}

/**
 * Writes `problems.jsonl` (columns `id`, `problem`, `images`, `answer`, `candidates`, `source`, `level`) and the
 * pictures as PNG files in `images/`, to which `images` points from the JSONL file's folder. `readRows` gives the same
 * problems back.
 * @throws UserError where the folder has a `problems.jsonl` already: nothing is overwritten
 */
export async function exportRows(rows: Iterable<MicroRow>, folder: string): Promise<Exported> {
  const path = `${folder.replace(/[\\/]*$/, "")}/problems.jsonl`;
  const exists = await Deno.stat(path).then(() => true, () => false);
  if (exists) throw new UserError(`${path} exists already; give another folder, or remove it first`);
  const lines: string[] = [];
  let pictures = 0;
  await Deno.mkdir(folder, { recursive: true });
  for (const { id, problem, images: drawn, answer, candidates, source, level } of rows) {
    const images: string[] = [];
    for (const [i, picture] of (drawn ?? []).entries()) {
      const name = `images/${id}${i === 0 ? "" : `-${i + 1}`}.png`;
      await Deno.mkdir(`${folder}/images`, { recursive: true });
      await Deno.writeFile(`${folder}/${name}`, encodePng(picture));
      images.push(name);
      pictures++;
    }
    lines.push(
      JSON.stringify({
        id,
        problem,
        ...(images.length > 0 && { images }),
        answer,
        candidates,
        source,
        level,
      }),
    );
  }
  // Last, so that a JSONL file is there only with all its pictures.
  await Deno.writeTextFile(path, lines.join("\n") + "\n");
  return { path, rows: lines.length, pictures };
}
