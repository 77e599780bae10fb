import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BadRow } from "../../data/bad_row.ts";
import { placeImages } from "../../data/image_marks.ts";

const place = (problem: string, ...images: string[]): [string, ...string[]] => {
  const placed = placeImages(problem, images);
  return [placed.problem, ...placed.images as string[]];
};

Deno.test("marks: numbered ones become plain, pictures follow the order of the text", () => {
  assertEquals(place("a <image1> b", "x"), ["a <image> b", "x"]);
  assertEquals(place("<image 2> or <image1>?", "x", "y"), ["<image> or <image>?", "y", "x"]);
  assertEquals(place("<image>, <image>", "x", "y"), ["<image>, <image>", "x", "y"]);
  assertEquals(place("<image1>, again <image1>", "x"), ["<image>, again <image>", "x", "x"]);
});

Deno.test("marks: a picture without one goes in front, and text without pictures stays as it is", () => {
  assertEquals(place("what?", "x"), ["<image>what?", "x"]);
  assertEquals(place("what?", "x", "y"), ["<image><image>what?", "x", "y"]);
  assertEquals(place("see <image2>", "x", "y"), ["<image>see <image>", "x", "y"]);
  assertEquals(place("<images> < image > $<image>".replace("<image>", "")), ["<images> < image > $"]);
});

Deno.test("marks: one without a picture is refused", () => {
  for (
    const [problem, ...images] of [["<image>"], ["<image><image>", "x"], ["<image3>", "x", "y"], [
      "<image0>",
      "x",
    ]]
  ) {
    const error = assertThrows(() => placeImages(problem, images), BadRow);
    assertEquals(error.reason, "mark without picture");
    assertStringIncludes(error.detail, `with ${images.length} pictures`);
  }
});

Deno.test("marks: as many as pictures, none lost, and placing twice changes nothing", () => {
  const part = fc.oneof(
    fc.constantFrom("<image>", " is ", "\n", "<"),
    fc.nat(3).map((n) => `<image${n + 1}>`),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), fc.nat(5), (parts, count) => {
      const images = Array.from({ length: count }, (_, i) => `${i}.png`);
      let placed;
      try {
        placed = placeImages(parts.join(""), images);
      } catch (error) {
        if (error instanceof BadRow) return;
        throw error;
      }
      assertEquals(placed.problem.split("<image>").length - 1, placed.images.length);
      assertEquals(new Set(placed.images), new Set(images));
      assertEquals(placeImages(placed.problem, placed.images), placed);
    }),
    { seed: 9, numRuns: 500 },
  );
});
