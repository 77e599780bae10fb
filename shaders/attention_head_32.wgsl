// Four rows of 32 values in registers, for attention_registers.wgsl: written out, since loops over private arrays are
// not unrolled by every driver. Each matrix holds 4 of the values; its columns are the rows.
struct Head {
  a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f, e: mat4x4f, f: mat4x4f, g: mat4x4f, h: mat4x4f,
}

fn head_qkv(at: vec4u) -> Head {
  return Head(
    load_qkv(at + 0u), load_qkv(at + 1u), load_qkv(at + 2u), load_qkv(at + 3u),
    load_qkv(at + 4u), load_qkv(at + 5u), load_qkv(at + 6u), load_qkv(at + 7u));
}

fn head_dout(at: vec4u) -> Head {
  return Head(
    load_dout(at + 0u), load_dout(at + 1u), load_dout(at + 2u), load_dout(at + 3u),
    load_dout(at + 4u), load_dout(at + 5u), load_dout(at + 6u), load_dout(at + 7u));
}

fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  store_dqkv(at + 0u, (*h).a);
  store_dqkv(at + 1u, (*h).b);
  store_dqkv(at + 2u, (*h).c);
  store_dqkv(at + 3u, (*h).d);
  store_dqkv(at + 4u, (*h).e);
  store_dqkv(at + 5u, (*h).f);
  store_dqkv(at + 6u, (*h).g);
  store_dqkv(at + 7u, (*h).h);
}

// x_r . y_c of every row r of x and c of y, in column c, row r.
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  return transpose((*x).a) * (*y).a + transpose((*x).b) * (*y).b +
    transpose((*x).c) * (*y).c + transpose((*x).d) * (*y).d +
    transpose((*x).e) * (*y).e + transpose((*x).f) * (*y).f +
    transpose((*x).g) * (*y).g + transpose((*x).h) * (*y).h;
}

// o_c += sum_r w[c][r] x_r.
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  (*o).a += (*x).a * w;
  (*o).b += (*x).b * w;
  (*o).c += (*x).c * w;
  (*o).d += (*x).d * w;
  (*o).e += (*x).e * w;
  (*o).f += (*x).f * w;
  (*o).g += (*x).g * w;
  (*o).h += (*x).h * w;
}
