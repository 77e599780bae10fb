// Prelude: a kernel over Value handles four f32 at a time; widths that are multiples of 4.
alias Value = vec4f;
const LANES = 4u;
fn total(v: Value) -> f32 { return v.x + v.y + v.z + v.w; }
