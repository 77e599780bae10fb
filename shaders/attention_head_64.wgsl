// Four rows of 64 values in registers, for attention_registers.wgsl: written out, since loops over private arrays are
// not unrolled by every driver. Each matrix holds 4 of the values; its columns are the rows.
struct Head {
  d0: mat4x4f, d1: mat4x4f, d2: mat4x4f, d3: mat4x4f, d4: mat4x4f, d5: mat4x4f, d6: mat4x4f, d7: mat4x4f,
  d8: mat4x4f, d9: mat4x4f, d10: mat4x4f, d11: mat4x4f, d12: mat4x4f, d13: mat4x4f, d14: mat4x4f, d15: mat4x4f,
}

fn head_qkv(at: vec4u) -> Head {
  return Head(
    load_qkv(at + 0u), load_qkv(at + 1u), load_qkv(at + 2u), load_qkv(at + 3u),
    load_qkv(at + 4u), load_qkv(at + 5u), load_qkv(at + 6u), load_qkv(at + 7u),
    load_qkv(at + 8u), load_qkv(at + 9u), load_qkv(at + 10u), load_qkv(at + 11u),
    load_qkv(at + 12u), load_qkv(at + 13u), load_qkv(at + 14u), load_qkv(at + 15u));
}

fn head_dout(at: vec4u) -> Head {
  return Head(
    load_dout(at + 0u), load_dout(at + 1u), load_dout(at + 2u), load_dout(at + 3u),
    load_dout(at + 4u), load_dout(at + 5u), load_dout(at + 6u), load_dout(at + 7u),
    load_dout(at + 8u), load_dout(at + 9u), load_dout(at + 10u), load_dout(at + 11u),
    load_dout(at + 12u), load_dout(at + 13u), load_dout(at + 14u), load_dout(at + 15u));
}

fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  store_dqkv(at + 0u, (*h).d0);
  store_dqkv(at + 1u, (*h).d1);
  store_dqkv(at + 2u, (*h).d2);
  store_dqkv(at + 3u, (*h).d3);
  store_dqkv(at + 4u, (*h).d4);
  store_dqkv(at + 5u, (*h).d5);
  store_dqkv(at + 6u, (*h).d6);
  store_dqkv(at + 7u, (*h).d7);
  store_dqkv(at + 8u, (*h).d8);
  store_dqkv(at + 9u, (*h).d9);
  store_dqkv(at + 10u, (*h).d10);
  store_dqkv(at + 11u, (*h).d11);
  store_dqkv(at + 12u, (*h).d12);
  store_dqkv(at + 13u, (*h).d13);
  store_dqkv(at + 14u, (*h).d14);
  store_dqkv(at + 15u, (*h).d15);
}

// x_r . y_c of every row r of x and c of y, in column c, row r.
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  return transpose((*x).d0) * (*y).d0 + transpose((*x).d1) * (*y).d1 +
    transpose((*x).d2) * (*y).d2 + transpose((*x).d3) * (*y).d3 +
    transpose((*x).d4) * (*y).d4 + transpose((*x).d5) * (*y).d5 +
    transpose((*x).d6) * (*y).d6 + transpose((*x).d7) * (*y).d7 +
    transpose((*x).d8) * (*y).d8 + transpose((*x).d9) * (*y).d9 +
    transpose((*x).d10) * (*y).d10 + transpose((*x).d11) * (*y).d11 +
    transpose((*x).d12) * (*y).d12 + transpose((*x).d13) * (*y).d13 +
    transpose((*x).d14) * (*y).d14 + transpose((*x).d15) * (*y).d15;
}

// o_c += sum_r w[c][r] x_r.
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  (*o).d0 += (*x).d0 * w;
  (*o).d1 += (*x).d1 * w;
  (*o).d2 += (*x).d2 * w;
  (*o).d3 += (*x).d3 * w;
  (*o).d4 += (*x).d4 * w;
  (*o).d5 += (*x).d5 * w;
  (*o).d6 += (*x).d6 * w;
  (*o).d7 += (*x).d7 * w;
  (*o).d8 += (*x).d8 * w;
  (*o).d9 += (*x).d9 * w;
  (*o).d10 += (*x).d10 * w;
  (*o).d11 += (*x).d11 * w;
  (*o).d12 += (*x).d12 * w;
  (*o).d13 += (*x).d13 * w;
  (*o).d14 += (*x).d14 * w;
  (*o).d15 += (*x).d15 * w;
}
