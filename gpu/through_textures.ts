/**
 * One WGSL text for two ways of reading: from storage buffers as it stands, or through the textures that mirror them.
 * @module
 */
import { GpuError } from "./errors.ts";
import type { Access } from "./kernel.ts";

const DECLARATION = /@group\(0\) @binding\((\d+)\) var<storage, read> (\w+): array<(?:Value|vec4f)>;/;

/**
 * Rewrites the declarations and the reads of all vectors whose binding is a `texture` of the kernel:
 * ```wgsl
 * @group(0) @binding(1) var<storage, read> x: array<vec4f>;
 * y[i] = x[i];
 * ```
 * becomes
 * ```wgsl
 * @group(0) @binding(1) var x: Mirror;
 * y[i] = texel(x, i);
 * ```
 * The text brings `Mirror` and `texel` along. A read and its index stand on one line.
 * @throws GpuError for an index that runs on to the next line
 */
export function throughTextures(text: string, access: readonly Access[]): string {
  if (!access.includes("texture")) return text;
  const names: string[] = [];
  const declared = text.split("\n").map((line) => {
    const [all, binding, name] = DECLARATION.exec(line) ?? [];
    if (!all || access[Number(binding) - 1] !== "texture") return line;
    names.push(name);
    return line.replace(all, `@group(0) @binding(${binding}) var ${name}: Mirror;`);
  });
  if (names.length === 0) return text;
  const read = new RegExp(`(?<![.\\w])(${names.join("|")})\\[`, "g");
  return declared.map((line) => {
    const comment = line.indexOf("//");
    const code = comment < 0 ? line : line.slice(0, comment);
    return rewritten(code, read) + (comment < 0 ? "" : line.slice(comment));
  }).join("\n");
}

function rewritten(code: string, read: RegExp): string {
  let out = "";
  let from = 0;
  for (;;) {
    read.lastIndex = from;
    const match = read.exec(code);
    if (!match) return out + code.slice(from);
    const name = match[1];
    const open = match.index + match[0].length;
    let end = open;
    for (let depth = 1; depth > 0; end++) {
      if (end === code.length) {
        throw new GpuError(`${name}[: the index does not end on its line: ${code.trim()}`);
      }
      if (code[end] === "[") depth++;
      else if (code[end] === "]") depth--;
    }
    const index = rewritten(code.slice(open, end - 1), new RegExp(read));
    out += `${code.slice(from, match.index)}texel(${name}, ${index})`;
    from = end;
  }
}
