import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { throughTextures } from "../../gpu/through_textures.ts";

const TEXT = `@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;
fn f(i: u32) { y[ids[i]] = y[i] + x[ids[i] + 1u] * t.x[i]; } // x[i] stays in a comment`;

Deno.test("through textures: a text that mirrors nothing stays as it is", () => {
  assertEquals(throughTextures(TEXT, ["read", "read", "inout"]), TEXT);
});

Deno.test("through textures: reads of a mirrored vector become texels, with their indices; members and comments stay", () => {
  const [x, ids, y, f] = throughTextures(TEXT, ["texture", "read", "inout"]).split("\n");
  assertEquals(x, "@group(0) @binding(1) var x: Mirror;");
  assertEquals([ids, y], TEXT.split("\n").slice(1, 3));
  assertEquals(
    f,
    "fn f(i: u32) { y[ids[i]] = y[i] + texel(x, ids[i] + 1u) * t.x[i]; } // x[i] stays in a comment",
  );
});

Deno.test("through textures: an index within an index; one that runs on is refused", () => {
  const declared = "@group(0) @binding(1) var<storage, read> x: array<Value>;\n";
  assertStringIncludes(
    throughTextures(`${declared}fn f(i: u32) -> bool { return x[u32(x[i].x)].x == x[0].x; }`, ["texture"]),
    "return texel(x, u32(texel(x, i).x)).x == texel(x, 0).x;",
  );
  assertThrows(() => throughTextures(declared + "a = x[i +\n1u];", ["texture"]), GpuError, "does not end");
});
