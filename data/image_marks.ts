/**
 * Where pictures stand in a problem's text.
 * @module
 */
import { BadRow } from "./bad_row.ts";
import { IMAGE_MARK, type RowImage } from "./picture.ts";

/** "<image>", and the numbered marks of MathVision and MMMU: "<image1>", "<image 1>". */
const ANY_MARK = /<image ?(\d*)>/g;

/**
 * Makes every mark `<image>` and orders the pictures as the text shows them. A numbered mark shows that picture (again,
 * where it is named twice), a plain one the next that no plain mark has shown. Pictures that no mark shows go in front
 * of the text, in their order.
 * @returns the text, and one picture for each mark in it
 * @throws BadRow where a mark has no picture
 */
export function placeImages(
  problem: string,
  images: readonly RowImage[],
): { problem: string; images: RowImage[] } {
  const shown: number[] = [];
  let next = 0;
  const text = problem.replace(ANY_MARK, (mark, number: string) => {
    const at = number === "" ? next++ : Number(number) - 1;
    if (at < 0 || at >= images.length) {
      throw new BadRow("mark without picture", `${mark} in a row with ${images.length} pictures`);
    }
    shown.push(at);
    return IMAGE_MARK;
  });
  const unshown = images.map((_, i) => i).filter((i) => !shown.includes(i));
  return {
    problem: IMAGE_MARK.repeat(unshown.length) + text,
    images: [...unshown, ...shown].map((i) => images[i]),
  };
}
