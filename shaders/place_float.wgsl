// Prelude: column (x) and row (y) of item i in rows of n items, both below 2^31, without a division of integers: software
// adapters do that lane by lane. The first quotient is off by up to 2^-21 of itself, the second by one.
fn place(i: u32, n: u32) -> vec2u {
  let rough = u32(f32(i) / f32(n));
  let rest = i32(i - rough * n);
  let step = i32(floor(f32(rest) / f32(n)));
  let row = i32(rough) + step;
  let column = rest - step * i32(n);
  if (column < 0) { return vec2u(u32(column) + n, u32(row) - 1u); }
  if (column >= i32(n)) { return vec2u(u32(column) - n, u32(row) + 1u); }
  return vec2u(u32(column), u32(row));
}
