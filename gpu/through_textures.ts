/**
 * One WGSL text for two ways of reading: from storage buffers as it stands, or through the textures that mirror them.
 * @module
 */
import { GpuError } from "./errors.ts";
import type { Access } from "./kernel.ts";

/** The texture of an updated tensor is bound so many places after the tensor. */
export const BEFORE = 16;

/** What the texture of an updated variable is called. */
const before = (name: string): string => `${name}_before`;

const DECLARATION =
  /@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> (\w+): array<(?:Value|vec4f)>;/;

/**
 * Rewrites the declarations and the reads of all vectors whose binding is a `texture` or an `update` of the kernel:
 * ```wgsl
 * @group(0) @binding(1) var<storage, read> x: array<vec4f>;          // texture
 * @group(0) @binding(2) var<storage, read_write> y: array<vec4f>;    // update
 * y[i] = y[i] + x[i];
 * ```
 * becomes
 * ```wgsl
 * @group(0) @binding(1) var x: Mirror;
 * @group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
 * @group(0) @binding(18) var y_before: Mirror;
 * y[i] = texel(y_before, i) + texel(x, i);
 * ```
 * The text brings `Mirror` and `texel` along. A read and its index stand on one line.
 * @throws GpuError for `y[i] += …` of an updated variable, which would read the buffer
 */
export function throughTextures(text: string, access: readonly Access[]): string {
  if (!access.some((a) => a === "texture" || a === "update")) return text;
  const sources = new Map<string, string>();
  const declared = text.split("\n").map((line) => {
    const [all, binding, mode, name] = DECLARATION.exec(line) ?? [];
    if (!all) return line;
    const how = access[Number(binding) - 1];
    if (how === "texture" && mode === "read") {
      sources.set(name, name);
      return line.replace(all, `@group(0) @binding(${binding}) var ${name}: Mirror;`);
    }
    if (how === "update" && mode === "read_write") {
      sources.set(name, before(name));
      const texture = `@group(0) @binding(${Number(binding) + BEFORE}) var ${before(name)}: Mirror;`;
      return line.replace(all, `${all}\n${texture}`);
    }
    return line;
  });
  if (sources.size === 0) return text;
  const read = new RegExp(`(?<![.\\w])(${[...sources.keys()].join("|")})\\[`, "g");
  return declared.map((line) => {
    const comment = line.indexOf("//");
    const code = comment < 0 ? line : line.slice(0, comment);
    return rewritten(code, read, sources) + (comment < 0 ? "" : line.slice(comment));
  }).join("\n");
}

function rewritten(code: string, read: RegExp, sources: ReadonlyMap<string, string>): string {
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
    const index = rewritten(code.slice(open, end - 1), new RegExp(read), sources);
    const rest = code.slice(end);
    const written = sources.get(name) !== name;
    if (written && /^\s*[-+*/%&|^]=/.test(rest)) {
      throw new GpuError(
        `${name} is updated through a texture, write ${name}[i] = ${name}[i] …: ${code.trim()}`,
      );
    }
    const stored = written && /^\s*=(?!=)/.test(rest);
    out += code.slice(from, match.index) +
      (stored ? `${name}[${index}]` : `texel(${sources.get(name)}, ${index})`);
    from = end;
  }
}
