/**
 * Paths as a published page names them: from the project's folder on, and nothing of the machine around it.
 * @module
 */
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

/** An absolute path of at least two parts that no word, dot or slash stands before. */
const ABSOLUTE = /(?<![\w.…/<>-])(?:file:\/\/)?\/(?:[^\s/"'`()|;:,]+\/)+[^\s/"'`()|;:,]*/g;

/**
 * A text without the machine's paths: those in the project become relative to it, those in `folders` (which may lie
 * elsewhere) begin with `…/` and the folder's own name, and of all others the last part is kept after `…/`.
 */
export function withoutMachinePaths(text: string, folders: readonly string[] = []): string {
  let local = text.replaceAll(`file://${PROJECT}/`, "").replaceAll(`${PROJECT}/`, "");
  for (const folder of folders.map((f) => resolve(f))) {
    // One in the project has been made relative already.
    if (folder.startsWith(`${PROJECT}/`)) continue;
    local = local.replaceAll(`${folder}/`, `…/${basename(folder)}/`);
  }
  return local.replace(ABSOLUTE, (path) => `…/${path.split("/").findLast((part) => part !== "")}`);
}
