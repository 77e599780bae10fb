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

Deno.test("through textures: an updated vector is read from what stood there before and written where it stands", () => {
  const text = throughTextures(TEXT, ["read", "read", "update"]);
  assertStringIncludes(text, "@group(0) @binding(3) var<storage, read_write> y: array<Value>;");
  assertStringIncludes(text, "@group(0) @binding(19) var y_before: Mirror;");
  assertStringIncludes(text, "y[ids[i]] = texel(y_before, i) + x[ids[i] + 1u]");
});

Deno.test("through textures: an index within an index, and a comparison that is no store", () => {
  const text = "@group(0) @binding(1) var<storage, read_write> y: array<Value>;\n" +
    "fn f(i: u32) -> bool { return y[u32(y[i].x)].x == y[0].x; }";
  assertStringIncludes(
    throughTextures(text, ["update"]),
    "return texel(y_before, u32(texel(y_before, i).x)).x == texel(y_before, 0).x;",
  );
});

Deno.test("through textures: `+=` of an updated vector and an index that runs on are refused", () => {
  const declared = "@group(0) @binding(1) var<storage, read_write> y: array<Value>;\n";
  assertThrows(() => throughTextures(declared + "y[i] += a;", ["update"]), GpuError, "write y[i] = y[i]");
  assertThrows(() => throughTextures(declared + "a = y[i +\n1u];", ["update"]), GpuError, "does not end");
});
