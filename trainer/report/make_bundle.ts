/**
 * Writes trainer/report/bundle.ts: the page's script and style as a TypeScript module, since JSR does not carry text
 * imports. The script's modules become one text: each after those it imports, without import and export.
 * @module
 */

/** The text of bundle.ts for the files in `folder`. */
export async function bundleText(folder: URL): Promise<string> {
  const modules = new Map<string, string>();
  const add = async (name: string): Promise<void> => {
    if (modules.has(name)) return;
    const text = await Deno.readTextFile(new URL(name, folder));
    for (const [, imported] of text.matchAll(/^import \{[^}]*\} from "\.\/(\w+\.js)";$/gm)) {
      await add(imported);
    }
    modules.set(name, text.replace(/^import \{[^}]*\} from "[^"]*";\n/gm, "").replace(/^export /gm, ""));
  };
  await add("viewer.js");
  const script = `"use strict";\n{\n${[...modules.values()].join("\n")}}\n`;
  const style = await Deno.readTextFile(new URL("style.css", folder));
  const quoted = (text: string) => `${"`"}${text.replace(/[`\\$]/g, "\\$&")}${"`"}`;
  return `// Made by \`deno task bundle\` from the .js and .css files beside it; do not edit.\n` +
    `// deno-fmt-ignore-file\n\n/** What a report's page brings along. */\n` +
    `export const PAGE_PARTS: Readonly<Record<"script" | "style", string>> = {\n` +
    `  script: ${quoted(script)},\n  style: ${quoted(style)},\n};\n`;
}

if (import.meta.main) {
  const folder = new URL("./", import.meta.url);
  const text = await bundleText(folder);
  // Through a neighbour file, so that a reader never sees half a bundle.
  await Deno.writeTextFile(new URL("bundle.ts.tmp", folder), text);
  await Deno.rename(new URL("bundle.ts.tmp", folder), new URL("bundle.ts", folder));
}
