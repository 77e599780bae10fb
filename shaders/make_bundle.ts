/**
 * Writes shaders/bundle.ts: the text of every .wgsl file as a TypeScript module, since JSR does not carry text imports.
 * @module
 */

/** The text of bundle.ts for the .wgsl files in `folder`. */
export async function bundleText(folder: URL): Promise<string> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) if (entry.name.endsWith(".wgsl")) names.push(entry.name);
  const rows: string[] = [];
  for (const name of names.sort()) {
    const text = await Deno.readTextFile(new URL(name, folder));
    rows.push(`  ${name.slice(0, -5)}: ${"`"}${text.replace(/[`\\$]/g, "\\$&")}${"`"},\n`);
  }
  return `// Made by \`deno task bundle\` from the .wgsl files beside it; do not edit.\n` +
    `// deno-fmt-ignore-file\n\n/** WGSL texts by file name. */\n` +
    `export const SHADERS: Readonly<Record<${
      names.map((n) => `"${n.slice(0, -5)}"`).join(" | ") || "string"
    }, string>> = {\n${rows.join("")}};\n`;
}

if (import.meta.main) {
  const folder = new URL("./", import.meta.url);
  const text = await bundleText(folder);
  const target = new URL("bundle.ts", folder);
  // Through a neighbour file, so that a reader never sees half a bundle.
  await Deno.writeTextFile(new URL("bundle.ts.tmp", folder), text);
  await Deno.rename(new URL("bundle.ts.tmp", folder), target);
}
