/**
 * Loops of a WGSL text that are written out before it is compiled: not every driver unrolls a loop over a private array,
 * and one that does not keeps the array in memory, several times slower.
 * @module
 */
import { GpuError } from "./errors.ts";

/**
 * Writes out every block
 * ```wgsl
 * //# for r in ROWS
 *   let x$r = row[m + $r];
 * //# end
 * ```
 * once for each r below ROWS, a number or one of `consts`, with `$r` replaced by it. Blocks nest.
 * @throws GpuError for a block without end, an end without block, or a count that is not known
 */
export function unroll(text: string, consts: Readonly<Record<string, number>> = {}): string {
  if (!text.includes("//#")) return text;
  const open: { name: string; count: number; lines: string[] }[] = [{ name: "", count: 1, lines: [] }];
  for (const line of text.split("\n")) {
    const directive = /^\s*\/\/#\s*(.*)$/.exec(line)?.[1].trim();
    if (directive === undefined) open.at(-1)!.lines.push(line);
    else if (directive === "end") {
      const { name, count, lines } = open.pop()!;
      if (open.length === 0) throw new GpuError("unrolling: `//# end` without its `//# for`");
      const mark = new RegExp(`\\$${name}\\b`, "g");
      for (let i = 0; i < count; i++) open.at(-1)!.lines.push(...lines.map((l) => l.replace(mark, `${i}`)));
    } else {
      const [, name, limit] = /^for (\w+) in (\w+)$/.exec(directive) ?? [];
      const count = Number(limit in consts ? consts[limit] : limit);
      if (!name || !Number.isInteger(count)) {
        throw new GpuError(`unrolling: cannot read \`//# ${directive}\``);
      }
      open.push({ name, count, lines: [] });
    }
  }
  if (open.length > 1) throw new GpuError(`unrolling: \`//# for ${open.at(-1)!.name}\` has no end`);
  return open[0].lines.join("\n");
}
