import { assert, assertEquals } from "@std/assert";
import type { KernelSpec } from "../../gpu/kernel.ts";
import { KEPT_TEXTURE, kernelText } from "../../gpu/kernel.ts";
import { bundleText } from "../../shaders/make_bundle.ts";
import { SHADERS } from "../../shaders/bundle.ts";
import { fitted, REDUCERS } from "../../shaders/values.ts";

const FOLDER = new URL("../../shaders/", import.meta.url);

Deno.test("bundle.ts holds the .wgsl files beside it", async () => {
  const kept = await Deno.readTextFile(new URL("bundle.ts", FOLDER));
  assertEquals(kept, await bundleText(FOLDER), "run `deno task bundle`");
});

Deno.test("no .wgsl text has a string hole", () => {
  for (const [name, text] of Object.entries(SHADERS)) assert(!text.includes("${"), name);
});

/** Every kernel that the modules of shaders/ export: alone, in a record, or as a function of the head size. */
async function kernels(): Promise<KernelSpec[]> {
  const found = new Set<KernelSpec>();
  const look = (x: any): void => {
    if (typeof x !== "object" || x === null) return;
    if (typeof x.source === "string" && typeof x.entry === "string") {
      for (const width of [1, 4]) for (const adapter of REDUCERS) found.add(fitted(x, width, adapter));
    } else Object.values(x).forEach(look);
  };
  for await (const { name } of Deno.readDir(FOLDER)) {
    if (!name.endsWith(".ts") || name === "bundle.ts" || name === "make_bundle.ts") continue;
    for (const [key, value] of Object.entries<any>(await import(new URL(name, FOLDER).href))) {
      look(typeof value === "function" && key.startsWith("attention") ? value(32) : value);
    }
  }
  return [...found];
}

interface Variable {
  readonly name: string;
  readonly binding: number;
  readonly space: string;
  readonly type: string;
}

const withoutComments = (text: string): string => text.replace(/\/\/.*$/gm, "");

function variables(text: string): Variable[] {
  const pattern = /@group\(0\)\s*@binding\((\d+)\)\s*var(?:<([^>]*)>)?\s*(\w+)\s*:\s*([^;]+);/g;
  return [...text.matchAll(pattern)].map(([, binding, space, name, type]) => ({
    name,
    binding: Number(binding),
    space: space?.replace(/\s/g, "") ?? "texture",
    type: type.trim(),
  }));
}

/** The texts of the functions that `entry` reaches. */
function reached(text: string, entry: string): string[] {
  const bodies = new Map<string, string>();
  for (const match of text.matchAll(/\bfn\s+(\w+)\s*\(/g)) {
    let depth = 0;
    let end = text.indexOf("{", match.index);
    do {
      if (text[end] === "{") depth++;
      else if (text[end] === "}") depth--;
      end++;
    } while (depth > 0);
    bodies.set(match[1], text.slice(match.index + 2, end));
  }
  assert(bodies.has(entry), `no function ${entry}`);
  const names = new Set([entry]);
  for (const name of names) {
    for (const [word] of bodies.get(name)!.matchAll(/\w+/g)) if (bodies.has(word)) names.add(word);
  }
  return [...names].map((name) => bodies.get(name)!);
}

/** Whether a function uses the module's variable `name`: not a member, not a parameter or variable of its own. */
function uses(body: string, name: string): boolean {
  return new RegExp(`(?<![.\\w])${name}\\b`).test(body) &&
    !new RegExp(`\\b(let|var)\\s+${name}\\b|[(,]\\s*${name}\\s*:`).test(body);
}

Deno.test("every kernel's bindings and dims are those of its WGSL", async () => {
  const all = await kernels();
  assert(all.length >= 40, `only ${all.length} kernels found`);
  for (const kernel of all) {
    const text = withoutComments(kernelText(kernel));
    const bodies = reached(text, kernel.entry);
    const used = variables(text).filter(({ name }) => bodies.some((body) => uses(body, name)));
    const what = `${kernel.name} (${kernel.entry})`;

    const uniform = used.filter(({ space }) => space === "uniform");
    // An entry may do without its sizes; a text that has none at all is not a kernel of this house.
    assert(uniform.every(({ binding }) => binding === 0), `${what}: uniforms stand at binding 0`);
    if (uniform.length === 0) uniform.push(...variables(text).filter(({ space }) => space === "uniform"));
    assertEquals(uniform.length, 1, `${what}: one uniform`);
    const struct = new RegExp(`struct\\s+${uniform[0].type}\\s*\\{([^}]*)\\}`).exec(text)?.[1] ?? "";
    const fields = struct.split(",").map((field) => field.trim()).filter((field) => field !== "")
      .map((field) => field.split(/\s*:\s*/));
    assertEquals(fields, Object.entries(kernel.dims), `${what}: the dims`);

    const storage = used.filter(({ space }) => space !== "uniform");
    const access = Object.values(kernel.bindings);
    assertEquals(
      new Set(storage.map(({ binding }) => binding)).size,
      storage.length,
      `${what}: a binding used twice`,
    );
    for (const { name, binding, space, type } of storage) {
      if (binding > KEPT_TEXTURE) {
        assertEquals(
          [space, type, access[binding - KEPT_TEXTURE - 1]],
          ["texture", "texture_storage_2d<rgba32float, write>", "kept"],
          `${what}: access of ${name}`,
        );
        continue;
      }
      const expected = access[binding - 1];
      assert(expected !== undefined, `${what}: ${name} at binding ${binding} is not in the spec`);
      assertEquals(space === "storage,read", expected === "read", `${what}: access of ${name}`);
      assertEquals(space === "texture", expected === "texture", `${what}: access of ${name}`);
    }
    const textures = access.filter((a) => a === "kept").length;
    assertEquals(storage.length, access.length + textures, `${what}: number of bindings`);
  }
});
